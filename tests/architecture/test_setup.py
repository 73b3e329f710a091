"""What the set-up says where it cannot work."""

import shutil
import subprocess
from pathlib import Path

from tests.support.shared import REPOSITORY

TOOLS = ("bash", "cat", "cksum", "dirname", "grep", "id")


def run_script(folder: Path, name: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run a script of tools/ in an empty checkout, with few programs on PATH."""
    (folder / "tools").mkdir()
    for file in (f"tools/{name}", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / file, folder / file)
    programs_folder = folder / "bin"
    programs_folder.mkdir()
    for tool in TOOLS:
        path = shutil.which(tool)
        assert path, tool
        (programs_folder / tool).symlink_to(path)
    for program, text in programs.items():
        path = programs_folder / program
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        path.chmod(0o755)
    return subprocess.run(
        [str(programs_folder / "bash"), f"tools/{name}"],
        cwd=folder,
        env={"PATH": str(programs_folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_fitting_python_the_set_up_names_the_versions(tmp_path: Path) -> None:
    result = run_script(tmp_path, "setup.sh", python3="exit 1")
    assert result.returncode == 1
    assert "needs Python 3.11 or 3.12, and found neither" in result.stderr
    assert "make setup PYTHON=" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_set_up_with_the_same_lock_does_nothing(tmp_path: Path) -> None:
    # The stamp holds a checksum of everything the set-up depends on.
    files = [REPOSITORY / name for name in ("requirements.lock", "pyproject.toml")]
    content = b"".join(path.read_bytes() for path in [*files, REPOSITORY / "tools" / "setup.sh"])
    stamp = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "reverie").write_text("#!/bin/sh\n")
    (tmp_path / ".venv" / "bin" / "reverie").chmod(0o755)
    (tmp_path / ".venv" / ".installed").write_bytes(stamp)
    result = run_script(tmp_path, "setup.sh")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_who_may_not_install_chromium_is_told_the_command(tmp_path: Path) -> None:
    result = run_script(tmp_path, "system_packages.sh", id="echo 1000")
    assert result.returncode == 1
    assert "sudo apt-get install -y --no-install-recommends chromium" in result.stderr


def test_where_chromium_is_nothing_is_installed(tmp_path: Path) -> None:
    result = run_script(tmp_path, "system_packages.sh", chromium="exit 0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_root_installs_chromium_quietly(tmp_path: Path) -> None:
    result = run_script(
        tmp_path,
        "system_packages.sh",
        id="echo 0",
        env='shift; exec "$@"',
        **{"apt-get": f'echo "apt-get $@" >> {tmp_path}/called'},
    )
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "called").read_text().splitlines()
    assert calls[0] == "apt-get update -qq"
    assert calls[1].endswith("install -y -qq --no-install-recommends chromium")
