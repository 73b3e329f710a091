"""In CI, a skip that nobody allowed fails the run, wherever it happens."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shared import REPOSITORY
from tests.support.skips import ALLOWED_SKIPS, is_allowed, read_allowed_skips

PLUGIN = """
import sys
sys.path.insert(0, {root!r})
from tests.support import skips
from pathlib import Path
def pytest_configure(config):
    config.pluginmanager.register(skips.SkipWatch(Path({allowed!r})), "skip-watch")
"""
TESTS = {
    "function": "import pytest\ndef test_a(): pytest.skip('no network')\ndef test_b(): pass\n",
    "file": "import pytest\npytest.skip('no network', allow_module_level=True)\n",
}


def run(folder: Path, *, kind: str, allowed: str, ci: str, workers: int) -> tuple[int, str]:
    (folder / "allowed.txt").write_text(allowed)
    plugin = PLUGIN.format(root=str(REPOSITORY), allowed=str(folder / "allowed.txt"))
    (folder / "conftest.py").write_text(plugin)
    (folder / "test_it.py").write_text(TESTS[kind])
    (folder / "test_other.py").write_text("def test_c(): pass\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", str(workers), "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=os.environ | {"CI": ci, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


@pytest.mark.parametrize("kind", ["function", "file"])
@pytest.mark.parametrize("workers", [0, 1])
def test_only_a_skip_on_the_list_passes(tmp_path: Path, kind: str, workers: int) -> None:
    code, output = run(tmp_path, kind=kind, allowed="", ci="true", workers=workers)
    assert code == 1, output
    assert "NOT ALLOWED: test_it.py" in output and "no network" in output
    line = "test_it.py* | no net*  # the build machine is offline"
    code, output = run(tmp_path, kind=kind, allowed=line, ci="true", workers=workers)
    assert code == 0, output
    assert "allowed: test_it.py" in output


def test_outside_ci_a_skip_is_only_listed(tmp_path: Path) -> None:
    code, output = run(tmp_path, kind="function", allowed="", ci="", workers=0)
    assert code == 0
    assert "1 skipped, 1 not allowed" in output


def test_the_list_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "allowed.txt"
    path.write_text("# why\ntests/a.py::* | no GPU*\n\n")
    assert read_allowed_skips(path) == [("tests/a.py::*", "no GPU*")]
    assert is_allowed("tests/a.py::test_b", "no GPU here", read_allowed_skips(path))
    assert not is_allowed("tests/a.py::test_b", "too slow", read_allowed_skips(path))
    path.write_text("tests/a.py\n")
    with pytest.raises(ValueError, match="node id pattern"):
        read_allowed_skips(path)
    assert isinstance(read_allowed_skips(ALLOWED_SKIPS), list)
