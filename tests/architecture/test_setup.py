"""What the set-up says where it cannot work."""

import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from tests.support.shared import REPOSITORY

TOOLS = ("bash", "cat", "cksum", "dirname", "grep", "id", "awk", "tee")
LIBRARIES = "libEGL.so.1 libGL.so.1 libglib-2.0.so.0 libvulkan.so.1"


def run_script(
    folder: Path, name: str, *arguments: str, **programs: str
) -> subprocess.CompletedProcess[str]:
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
        [str(programs_folder / "bash"), f"tools/{name}", *arguments],
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
    result = run_script(tmp_path, "system_packages.sh", "browser", id="echo 1000")
    assert result.returncode == 1
    assert "sudo apt-get install -y --no-install-recommends chromium" in result.stderr


def test_who_may_not_install_graphics_libraries_is_told_the_commands(tmp_path: Path) -> None:
    result = run_script(
        tmp_path,
        "system_packages.sh",
        "simulators",
        id="echo 1000",
        ldconfig="echo libGL.so.1",
        **{"dpkg-query": "exit 1"},
    )
    assert result.returncode == 1
    assert "--no-install-recommends libegl1 libglib2.0-0 libvulkan1\n" in result.stderr
    assert "-t bookworm-backports mesa-vulkan-drivers" in result.stderr


def test_where_everything_is_nothing_is_installed(tmp_path: Path) -> None:
    result = run_script(
        tmp_path,
        "system_packages.sh",
        chromium="exit 0",
        ldconfig=f"echo {LIBRARIES}",
        dpkg="exit 0",
        **{"dpkg-query": "echo 25.0.7"},
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def as_root(folder: Path, *groups: str, **programs: str) -> list[str]:
    """Run the script as root with an apt-get that only notes its calls."""
    result = run_script(
        folder,
        "system_packages.sh",
        *groups,
        id="echo 0",
        env='shift; exec "$@"',
        **{"apt-get": f'echo "apt-get $@" >> {folder}/called'},
        **programs,
    )
    assert result.returncode == 0, result.stderr
    return (folder / "called").read_text().splitlines()


def test_root_installs_chromium_quietly(tmp_path: Path) -> None:
    calls = as_root(tmp_path, "browser")
    assert calls[0] == "apt-get update -qq"
    assert calls[1].endswith("install -y -qq --no-install-recommends chromium")


def test_an_old_vulkan_driver_is_replaced_by_a_newer_one_of_the_same_mirror(tmp_path: Path) -> None:
    calls = as_root(
        tmp_path,
        "simulators",
        ldconfig=f"echo {LIBRARIES}",
        # Is 22.3.6, installed or on offer, at least 25? No.
        dpkg="exit 1",
        tee=f"cat > {tmp_path}/sources",
        **{
            "dpkg-query": "echo 22.3.6",
            "apt-cache": "echo '  Candidate: 22.3.6'; . /etc/os-release; "
            'echo " 500 http://mirror.example/debian $VERSION_CODENAME/main amd64 Packages"',
        },
    )
    assert calls[-1].endswith("-backports mesa-vulkan-drivers")
    added = (tmp_path / "sources").read_text()
    assert "http://mirror.example/debian" in added
    assert added.strip().endswith("-backports main")


def test_the_packages_agree_but_for_the_one_that_is_replaced() -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line != "No broken requirements found."]
    assert [line for line in found if "requires opencv-python, which is not" not in line] == []


def test_no_package_stands_beside_the_one_that_replaces_it() -> None:
    names = {name.lower() for item in distributions() if (name := item.metadata["Name"])}
    assert not names & {"opencv-python", "pygame", "torchvision"}
