"""``reverie collect``, ``data show`` and ``data check``, as they are typed."""

from pathlib import Path

import cv2
import pytest

from reverie.cli.main import main
from reverie.data.store import EpisodeStore

WORDS = ["toy-paint", "toy-fall", "--policies", "random", "noop=1", "--episodes", "2"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "episodes"
    words = ["collect", *WORDS, "--out", str(path), "--size-px", "24"]
    assert main([*words, "--workers", "0"]) == 0
    return path


def test_the_same_command_again_finds_all_of_it(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", *WORDS, "--out", str(path), "--size-px", "24"]
    assert main([*words, "--workers", "0"]) == 0
    assert "4 of 4 episodes; 0 new" in " ".join(capsys.readouterr().out.split())


def test_the_sheet_shows_a_row_for_every_episode_asked(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["data", "show", str(path), "--out", str(sheet), "--columns", "4"]) == 0
    picture = cv2.imread(str(sheet))
    assert picture.shape == (4 * 118, 404, 3)
    assert picture.std() > 10
    out = capsys.readouterr().out
    assert "toy-fall" in out and "noop" in out


def test_a_sheet_that_is_no_png_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(path), "--out", "sheet.gif"]) == 2
    assert "The sheet is written as PNG, got --out sheet.gif." in capsys.readouterr().err


def test_a_good_store_checks_out_and_a_bad_one_exits_with_one(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(path)]) == 0
    assert "good; 4 episodes" in capsys.readouterr().out
    frames = next((path / "shards").glob("*.frames"))
    content = bytearray(frames.read_bytes())
    content[10] ^= 1
    frames.write_bytes(bytes(content))
    assert main(["data", "check", str(path)]) == 1
    assert f"damaged {frames} is damaged" in capsys.readouterr().out
    assert main(["data", "check", str(path), "--repair"]) == 1
    assert main(["data", "check", str(path)]) == 0
    assert len(EpisodeStore.open(path)) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["collect", "toy-pain"], "Unknown task 'toy-pain'. Did you mean 'toy-paint'?"),
        (["collect", "toy-paint", "--policies", "rand"], "Did you mean 'random'?"),
        (["collect", "toy-paint", "--codec", "png"], "Unknown codec 'png'. Choose one of"),
        (["data", "check", "nowhere"], "nowhere is not an episode store"),
        (["data", "show", "nowhere"], "nowhere is not an episode store"),
    ],
)
def test_mistakes_are_answered_on_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
