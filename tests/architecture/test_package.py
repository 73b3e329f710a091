"""What is built for others holds everything that the checkout holds."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.shared import REPOSITORY

LEFT_OUT = {".pyc", ".tmp"}


def test_a_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    shutil.copytree(
        REPOSITORY / "src",
        tmp_path / "src",
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".*"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("reverie/")}
    wanted = {
        path.relative_to(tmp_path / "src").as_posix()
        for path in (tmp_path / "src" / "reverie").rglob("*")
        if path.is_file() and path.suffix not in LEFT_OUT
    }
    assert wanted - packed == set()
