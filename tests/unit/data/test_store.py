"""What is stored is read back; what is damaged says so; what is not asked for is not decoded."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from reverie.core.errors import ConfigError, DataError, ReverieError, ShapeError
from reverie.core.types import FrameSpec
from reverie.data import store as store_module
from reverie.data.check import check_store, repair_store
from reverie.data.codecs import CODECS
from reverie.data.shards import MAX_EPISODES_PER_SHARD
from reverie.data.store import EpisodeStore
from tests.unit.data.making import assert_same_episode, make_episode

SPEC = FrameSpec(height_px=12, width_px=20)


def _filled(path: Path, *, count: int = 3, codec: str = "zstd") -> EpisodeStore:
    store = EpisodeStore.create(path, SPEC, codec)
    writer = store.writer()
    for number in range(count):
        writer.append(make_episode(steps=20 + number, seed=number), id=f"episode-{number}")
    store.refresh()
    return store


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("steps", [1, 7, 8, 15, 16, 17])
def test_an_episode_comes_back_whole(tmp_path: Path, codec: str, steps: int) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, codec)
    episode = make_episode(steps=steps, terminated=True)
    name = store.writer().append(episode)
    assert_same_episode(EpisodeStore.open(tmp_path / "s").read_episode(name), episode)


def test_frames_of_one_pixel_and_no_steps_are_stored_too(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", FrameSpec(height_px=1, width_px=1))
    episode = make_episode(steps=0, height=1, width=1, lanes=1)
    name = store.writer().append(episode)
    store.refresh()
    assert_same_episode(store.read_episode(name), episode)


@pytest.mark.parametrize("codec", CODECS)
def test_every_window_is_a_slice_of_the_episode(tmp_path: Path, codec: str) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, codec)
    episode = make_episode(steps=18)
    name = store.writer().append(episode)
    store.refresh()
    for length in (1, 5, 8, 19):
        for start in range(20 - length):
            window = store.read_window(name, start, length)
            assert window.frames is not None
            np.testing.assert_array_equal(window.frames, episode.frames[start : start + length])


def test_large_frames_decode_the_same_on_threads(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", FrameSpec(height_px=128, width_px=112))
    episode = make_episode(steps=30, height=128, width=112)
    name = store.writer().append(episode)
    store.refresh()
    np.testing.assert_array_equal(store.read_episode(name).frames, episode.frames)


@pytest.mark.parametrize(
    ("start", "length", "strips"), [(0, 8, 1), (7, 2, 2), (5, 24, 4), (8, 24, 3), (40, 1, 1)]
)
def test_a_window_decodes_only_the_strips_it_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int, length: int, strips: int
) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC)
    name = store.writer().append(make_episode(steps=60))
    store.refresh()
    decoded: list[int] = []

    def counting(content: object, **settings: object) -> np.ndarray:
        decoded.append(1)
        return original(content, **settings)  # type: ignore[arg-type]

    original = store_module.decode_strip
    monkeypatch.setattr(store_module, "decode_strip", counting)
    store.read_window(name, start, length)
    assert len(decoded) == strips
    store.read_window(name, start, length, with_frames=False)
    assert len(decoded) == strips


def test_the_index_does_not_depend_on_who_wrote_first(tmp_path: Path) -> None:
    stores = []
    for folder, order in (("one", (0, 1, 2)), ("two", (2, 0, 1))):
        store = EpisodeStore.create(tmp_path / folder, SPEC, "zstd")
        for number in order:
            writer = store.writer()
            writer.append(make_episode(steps=9, seed=number))
        store.refresh()
        stores.append(store)
    assert [entry.id for entry in stores[0].index] == [entry.id for entry in stores[1].index]


def test_one_id_is_listed_once_however_often_it_is_written(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, "zstd")
    for _ in range(3):
        store.writer().append(make_episode(steps=9), id="same")
    assert store.refresh() == 1
    assert [entry.id for entry in store.index] == ["same"]


def test_readers_that_stay_open_see_what_is_appended_to_the_same_shard(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, "zstd")
    writer, reader = store.writer(), EpisodeStore.open(tmp_path / "s")
    first, second = make_episode(steps=9, seed=1), make_episode(steps=30, seed=2)
    name = writer.append(first)
    assert reader.refresh() == 1
    other = writer.append(second)
    # The reader still holds the old table: its places must stay right.
    assert_same_episode(reader.read_episode(name), first)
    assert reader.refresh() == 1
    assert_same_episode(reader.read_episode(other), second)
    assert reader.refresh() == 0


def test_a_full_shard_is_followed_by_another(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, "zstd")
    writer = store.writer()
    for number in range(MAX_EPISODES_PER_SHARD + 1):
        writer.append(make_episode(steps=1, seed=number))
    assert store.refresh() == MAX_EPISODES_PER_SHARD + 1
    assert len(list((tmp_path / "s" / "shards").glob("*.table"))) == 2


def test_a_writer_goes_on_after_a_failed_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, "zstd")
    writer = store.writer()
    writer.append(make_episode(steps=5, seed=0), id="before")
    with monkeypatch.context() as patch:

        def disk_full(*_: object) -> None:
            raise OSError("No space left on device")

        patch.setattr("reverie.data.shards.write_bytes", disk_full)
        with pytest.raises(OSError, match="No space"):
            writer.append(make_episode(steps=5, seed=1), id="lost")
    writer.append(make_episode(steps=5, seed=2), id="after")
    store.refresh()
    assert [entry.id for entry in store.index] == ["after", "before"]
    assert check_store(store.path).is_good


def test_a_store_travels_to_another_process(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.index == store.index


def _append_some(path: Path, first: int, count: int) -> None:
    writer = EpisodeStore.open(path).writer()
    for number in range(first, first + count):
        writer.append(make_episode(steps=5, seed=number), id=f"{number:04d}")


def test_many_processes_append_at_once_without_a_lock(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, "zstd")
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_append_some, args=(store.path, 25 * rank, 25)) for rank in range(4)
    ]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        store.refresh()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store.refresh()
    assert [entry.id for entry in store.index] == [f"{number:04d}" for number in range(100)]
    assert_same_episode(store.read_episode("0077"), make_episode(steps=5, seed=77))


def _read_all(path: Path) -> list[np.ndarray]:
    store = EpisodeStore.open(path)
    return [store.read_episode(entry.id).frames for entry in store.index]


def test_no_mutation_of_a_shard_goes_unnoticed(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s", codec="webp")
    truth = _read_all(store.path)
    rng = np.random.default_rng(0)
    files = sorted((store.path / "shards").iterdir())
    for round_number in range(100):
        file = files[round_number % len(files)]
        content = file.read_bytes()
        position = int(rng.integers(len(content)))
        if round_number % 5 == 0:
            file.write_bytes(content[:position])
        else:
            flipped = bytearray(content)
            flipped[position] ^= int(rng.integers(1, 256))
            file.write_bytes(bytes(flipped))
        with pytest.raises(DataError) as caught:
            _read_all(store.path)
        assert str(store.path) in str(caught.value)
        assert "\n" not in str(caught.value)
        file.write_bytes(content)
    for frames, expected in zip(_read_all(store.path), truth, strict=True):
        np.testing.assert_array_equal(frames, expected)


def test_a_truncated_shard_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s")
    frames = next((store.path / "shards").glob("*.frames"))
    frames.write_bytes(frames.read_bytes()[:1000])
    with pytest.raises(DataError) as caught:
        EpisodeStore.open(store.path)
    text = str(caught.value)
    assert text.startswith(f"{frames} is truncated: 1000 bytes where ")
    assert f"'reverie data check {store.path} --repair'" in text


def test_a_missing_frames_file_is_named(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s")
    frames = next((store.path / "shards").glob("*.frames"))
    frames.unlink()
    with pytest.raises(DataError, match=r"\.frames is missing\. Copy it again"):
        EpisodeStore.open(store.path)
    with pytest.raises(DataError, match=r"\.frames is missing\. Copy it again"):
        store.read_episode("episode-0")


def test_unlisted_leftovers_are_ignored_and_removed_when_old(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s")
    shards = store.path / "shards"
    (shards / "dead.frames").write_bytes(b"half an episode")
    (shards / ".0123.tmp.table").write_bytes(b"half a table")
    report = check_store(store.path)
    assert report.is_good and report.num_episodes == 3
    assert [item.name for item in report.leftovers] == [".0123.tmp.table", "dead.frames"]
    repair_store(store.path, report)
    assert (shards / "dead.frames").exists(), "a writer may be at work on it"
    repair_store(store.path, report, min_age_s=0.0)
    assert check_store(store.path).leftovers == ()
    assert len(EpisodeStore.open(store.path)) == 3


def test_the_check_names_every_bad_shard_and_repair_moves_them_aside(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC, "zstd")
    for number in range(4):
        store.writer().append(make_episode(steps=12, seed=number), id=f"{number}")
    bad = sorted((store.path / "shards").glob("*.frames"))[:2]
    for file in bad:
        content = bytearray(file.read_bytes())
        content[40] ^= 1
        file.write_bytes(bytes(content))
    report = check_store(store.path)
    assert not report.is_good
    assert [path.with_suffix(".frames") for path in report.bad_tables] == bad
    assert all(str(file) in text for file, text in zip(bad, report.problems, strict=True))
    repair_store(store.path, report)
    assert check_store(store.path).is_good
    assert len(EpisodeStore.open(store.path)) == 2
    assert len(list((store.path / "quarantine").iterdir())) == 4


def test_a_folder_without_a_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not an episode store: it has no store\.json\. Make"):
        EpisodeStore.open(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"version": 1}', '{"version": 9}'])
def test_a_damaged_manifest_is_a_data_error(tmp_path: Path, content: str) -> None:
    store = _filled(tmp_path / "s", count=1)
    (store.path / "store.json").write_text(content)
    with pytest.raises(DataError, match=r"store\.json (is damaged|has version)"):
        EpisodeStore.open(store.path)


def test_a_store_is_not_made_twice(tmp_path: Path) -> None:
    _filled(tmp_path / "s", count=1)
    with pytest.raises(ConfigError, match="already holds a store. Open it"):
        EpisodeStore.create(tmp_path / "s", SPEC)
    with pytest.raises(ConfigError, match="holds 12x20 frames as zstd, asked for 224x224 frames"):
        EpisodeStore.open_or_create(tmp_path / "s", FrameSpec())


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s", count=1)
    with pytest.raises(ShapeError, match=r"holds frames of \(12, 20, 3\), got an episode"):
        store.writer().append(make_episode(steps=3, height=13))


@pytest.mark.parametrize(("start", "length"), [(-1, 3), (0, 0), (15, 7), (21, 1)])
def test_a_window_outside_the_episode_is_refused(tmp_path: Path, start: int, length: int) -> None:
    store = _filled(tmp_path / "s", count=1)
    with pytest.raises(ConfigError, match="has frames 0 to 20, asked for"):
        store.read_window("episode-0", start, length)


def test_an_unknown_episode_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(ReverieError, match="has no episode 'none'"):
        _filled(tmp_path / "s", count=1).read_episode("none")
