"""Episodes survive the way through Hugging Face's ``datasets`` exactly."""

from pathlib import Path

import numpy as np
import pytest

from reverie.cli.main import main
from reverie.core.errors import DataError
from reverie.core.types import Episode, FrameSpec
from reverie.data.exporters.hf import export_hf, import_hf, read_hf
from reverie.data.store import EpisodeStore

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def write_store(path: Path, lengths: tuple[int, ...] = (5, 1, 9)) -> EpisodeStore:
    rng = np.random.default_rng(0)
    store = EpisodeStore.create(path, FrameSpec(height_px=6, width_px=11), "zstd")
    with store.writer() as writer:
        for number, steps in enumerate(lengths):
            episode = Episode(
                frames=rng.integers(0, 256, (steps + 1, 6, 11, 3), dtype=np.uint8),
                actions=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
                rewards=rng.normal(size=steps).astype(np.float32),
                terminated=number % 2 == 0,
                task="toy-fall",
                source="mixed" if number else "random",
                seed=2**62 + number,
                score=0.25 if number else float("nan"),
                behaviours=tuple("ab"[step % 2] for step in range(steps)) if number else (),
                parameters={"share": 0.5, "names": ["x"]} if number else {},
            )
            writer.append(episode, id=f"round/{number:03d}")
    store.refresh()
    return store


def assert_same(one: EpisodeStore, two: EpisodeStore) -> None:
    assert [entry.id for entry in one.index] == [entry.id for entry in two.index]
    for entry in one.index:
        a, b = one.read_episode(entry.id), two.read_episode(entry.id)
        for lane in ("frames", "actions", "rewards"):
            assert np.array_equal(getattr(a, lane), getattr(b, lane)), lane
        for fact in ("terminated", "task", "source", "seed", "behaviours"):
            assert getattr(a, fact) == getattr(b, fact), fact
        assert dict(a.parameters) == dict(b.parameters)
        assert a.score == b.score or (np.isnan(a.score) and np.isnan(b.score))


def test_what_is_exported_and_imported_again_is_the_same_to_the_bit(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    assert export_hf(store, tmp_path / "out", rows_per_file=9) == 6 + 2 + 10
    assert len(list((tmp_path / "out" / "data").glob("*.parquet"))) == 2
    assert_same(store, import_hf(tmp_path / "out", tmp_path / "again"))


def test_the_library_reads_pictures_actions_and_ends(tmp_path: Path) -> None:
    import datasets

    store = write_store(tmp_path / "store")
    export_hf(store, tmp_path / "out")
    loaded = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(loaded.features["frame"], datasets.Image)
    episode = store.read_episode("round/000")
    rows = [loaded[index] for index in range(6)]
    for step, row in enumerate(rows):
        assert row["episode_id"] == "round/000" and row["step"] == step
        assert np.array_equal(np.asarray(row["frame"].convert("RGB")), episode.frames[step])
    assert np.array_equal(np.float32([row["action"] for row in rows[:-1]]), episode.actions)
    assert rows[-1]["action"] is None and rows[-1]["reward"] is None
    assert [row["terminated"] for row in rows] == [False] * 5 + [True]
    assert loaded[7]["truncated"] is True and loaded[7]["terminated"] is False
    loaded.save_to_disk(str(tmp_path / "saved"))
    assert datasets.load_from_disk(str(tmp_path / "saved")).num_rows == 18


def test_a_folder_that_exists_or_is_not_whole_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    export_hf(store, tmp_path / "out")
    with pytest.raises(DataError, match="exists already. Name a new folder"):
        export_hf(store, tmp_path / "out")
    (tmp_path / "out" / "README.md").unlink()
    with pytest.raises(DataError, match="no whole dataset"):
        next(read_hf(tmp_path / "out"))
    # As if it had been killed before the card: the same command writes it whole.
    assert export_hf(store, tmp_path / "out") == 18
    empty = EpisodeStore.create(tmp_path / "empty", FrameSpec(height_px=4, width_px=4))
    with pytest.raises(DataError, match="has no episodes"):
        export_hf(empty, tmp_path / "nothing")


def test_the_commands_export_and_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path / "store")
    out, again = str(tmp_path / "out"), str(tmp_path / "again")
    assert main(["data", "export", str(tmp_path / "store"), "--out", out]) == 0
    assert "18 rows are in" in capsys.readouterr().out
    assert main(["data", "import-hf", out, "--out", again]) == 0
    assert "3 episodes, 18 frames are in" in capsys.readouterr().out
