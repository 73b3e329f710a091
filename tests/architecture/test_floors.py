import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shared import REPOSITORY


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports; "
    code += "sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy_of_the_package(tmp_path: Path) -> Path:
    shutil.copytree(
        REPOSITORY / "src" / "reverie",
        tmp_path / "src" / "reverie",
        ignore=lambda folder, names: [
            name for name in names if Path(name).suffix != ".py" and Path(folder, name).is_file()
        ],
    )
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_only_go_down() -> None:
    result = lint_imports(REPOSITORY)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("place", "line", "contract"),
    [
        ("nn", "import reverie.models.api", "Floors"),
        ("train", "import reverie.evaluate", "Floors"),
        ("models", "import reverie.data", "Models know neither"),
        ("envs", "import reverie.core.batch", "Simulators start without torch"),
        ("core", "import cv2", "Core needs no simulator"),
    ],
)
def test_an_import_that_goes_elsewhere_is_caught(
    copy_of_the_package: Path, place: str, line: str, contract: str
) -> None:
    intruder = copy_of_the_package / "src" / "reverie" / place / "intruder.py"
    intruder.write_text(f"{line}\n")
    result = lint_imports(copy_of_the_package)
    assert result.returncode == 1
    broken = [row for row in result.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(contract in row for row in broken), result.stdout
