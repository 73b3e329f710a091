"""Released data becomes our store bit by bit, or not at all."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.cli.main import main
from reverie.core.errors import DataError
from reverie.data.importers.mmbench2 import (
    STAGING,
    ImportItem,
    import_item,
    import_items,
    list_items,
)
from reverie.data.importers.mmbench2_frames import (
    FrameFile,
    list_shards,
    list_strips,
    read_frames,
)
from reverie.data.importers.mmbench2_rows import read_rows
from reverie.data.importers.mmbench2_tasks import read_action_widths
from reverie.data.store import EpisodeStore
from reverie.data.windows import to_batch
from tests.support.release import TASK, TINY
from tests.support.release_data import write_strip, write_task

WIDTH = 5


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(TINY / name) as file:
        return {key: file[key] for key in file.files}


def tiny_item(folder: str = "dataset", **other: Any) -> ImportItem:
    return ImportItem(
        folder=TINY / folder, partition=folder, task=TASK, action_width=WIDTH, **other
    )


def decoded(files: list[FrameFile]) -> np.ndarray:
    return np.concatenate([piece for file in files for piece in read_frames(file)])


def copied(tmp_path: Path) -> ImportItem:
    shutil.copytree(TINY / "dataset", tmp_path / "expert")
    return ImportItem(folder=tmp_path / "expert", partition="expert", task=TASK, action_width=WIDTH)


@pytest.mark.parametrize(
    ("find", "folder"),
    [(list_strips, "dataset"), (list_shards, "shards"), (list_shards, "shards_raw")],
)
def test_every_form_of_frames_reads_back_bit_for_bit(
    find: Callable[[Path, str], list[FrameFile]], folder: str
) -> None:
    frames = decoded(find(TINY / folder, TASK))
    wanted = arrays("frames.npz")["frames"].transpose(0, 2, 3, 1)
    assert len(frames) == (3 if folder == "shards_raw" else len(wanted))
    assert np.array_equal(frames, wanted[: len(frames)])


@pytest.mark.parametrize("folder", ["dataset", "dataset_tensordict"])
def test_plain_and_tensordict_tables_give_the_same_columns(folder: str) -> None:
    rows, wanted = read_rows(TINY / folder / f"{TASK}.pt"), arrays("frames.npz")
    rows.check(WIDTH)
    assert np.array_equal(rows.actions, wanted["action"], equal_nan=True)
    assert np.array_equal(rows.rewards, wanted["reward"], equal_nan=True)
    assert np.array_equal(rows.episodes, wanted["episode"])
    assert np.array_equal(rows.terminated, wanted["terminated"])


@pytest.mark.parametrize("length", [2, 3, 4])
def test_windows_of_the_store_are_those_of_the_release(tmp_path: Path, length: int) -> None:
    wanted, frames = arrays("windows.npz"), arrays("frames.npz")
    rows = read_rows(TINY / "dataset" / f"{TASK}.pt")
    starts = rows.valid_starts(length)
    assert np.array_equal(starts, wanted[f"starts_T{length}"])
    import_item(tiny_item(), tmp_path / "store")
    store = EpisodeStore.open(tmp_path / "store")
    ids = [entry.id for entry in store.index]
    cuts = rows.cuts()
    for index, start in enumerate(starts.tolist()):
        episode = next(i for i, (a, b) in enumerate(cuts) if a <= start < b)
        window = store.read_window(ids[episode], start - cuts[episode][0], length)
        batch = to_batch([window], action_width=16)
        told = wanted[f"model_actions_T{length}"][index]
        assert torch.equal(batch.prev_actions[0, 1:], torch.from_numpy(told[1:]))
        mask = wanted[f"model_act_mask_T{length}"][index]
        assert torch.equal(batch.action_mask.expand(length, -1)[1:], torch.from_numpy(mask[1:]))
        given = wanted[f"rew_T{length}"][index]
        assert torch.equal(batch.prev_rewards[0, 1:], torch.from_numpy(given[:-1]))
        raw = wanted[f"act_T{length}"][index]
        assert np.array_equal(np.nan_to_num(rows.actions[start + 1 : start + length + 1]), raw)
        pictures = frames["frames"][start : start + length].transpose(0, 2, 3, 1)
        assert batch.frames is not None
        assert np.array_equal(batch.frames[0].numpy(), pictures)


@pytest.mark.parametrize(
    "item",
    [tiny_item(), tiny_item("dataset_tensordict"), tiny_item(shards=TINY / "shards")],
    ids=["strips", "tensordict", "shards"],
)
def test_the_store_holds_the_release_shifted_to_look_forward(
    tmp_path: Path, item: ImportItem
) -> None:
    if item.folder.name == "dataset_tensordict":
        shutil.copytree(TINY / "dataset", tmp_path / "both")
        shutil.copy(item.folder / f"{TASK}.pt", tmp_path / "both" / f"{TASK}.pt")
        item = ImportItem(folder=tmp_path / "both", partition="x", task=TASK, action_width=WIDTH)
    result = import_item(item, tmp_path / "store")
    assert (result.num_episodes, result.num_frames, result.num_clamped) == (2, 13, 2)
    store, wanted = EpisodeStore.open(tmp_path / "store"), arrays("frames.npz")
    assert [entry.num_steps for entry in store.index] == [6, 5]
    for entry, (start, stop) in zip(store.index, [(0, 7), (7, 13)], strict=True):
        episode = store.read_episode(entry.id)
        assert np.array_equal(episode.frames, wanted["frames"][start:stop].transpose(0, 2, 3, 1))
        actions = wanted["action"][start + 1 : stop, :WIDTH].clip(-1, 1)
        assert np.array_equal(episode.actions, actions)
        assert np.array_equal(episode.rewards, wanted["reward"][start + 1 : stop])
    assert not (tmp_path / "store" / STAGING).exists()


def test_a_generated_release_keeps_frames_beside_what_led_to_them(tmp_path: Path) -> None:
    """Two partitions, three tasks, strips cut at an odd count; the pixels say who they are."""
    lengths = {"a-run": [25, 25], "b-jump": [50], "c-swim": [100, 3]}
    for partition in ("expert", "zeros"):
        for seed, (task, steps) in enumerate(lengths.items()):
            write_task(tmp_path / "release" / partition, task, steps, seed=seed)
    items = list_items(tmp_path / "release", widths=lambda _: 2)
    assert len(items) == 6
    results = import_items(items, tmp_path / "store", num_workers=2)
    assert all(result.is_new for result in results)
    store = EpisodeStore.open(tmp_path / "store")
    assert len(store) == 10
    for entry in store.index:
        episode = store.read_episode(entry.id)
        red, green, blue = episode.frames[:, -1, -1].astype(int).T
        assert np.array_equal(red[1:], (127 + 100 * episode.actions[:, 0]).astype(int))
        assert np.array_equal(green[1:], (100 + 10 * episode.rewards).astype(int))
        assert np.array_equal(np.diff(blue) % 256, np.ones(entry.num_steps))
    assert {entry.source for entry in store.index} == {"expert", "noop"}
    again = import_items(items, tmp_path / "store")
    assert not any(result.is_new for result in again)


def test_frames_can_be_resampled_on_the_way(tmp_path: Path) -> None:
    import_item(tiny_item(), tmp_path / "store", side_px=64)
    store = EpisodeStore.open(tmp_path / "store")
    assert store.frame_spec.shape == (64, 64, 3)


def test_a_killed_import_goes_on_with_the_episodes_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = copied(tmp_path)
    from reverie.data.importers import mmbench2

    compare, seen = mmbench2._compare, []

    def die_late(*arguments: Any) -> None:
        seen.append(arguments[-1])
        if len(seen) == 2:
            raise KeyboardInterrupt
        compare(*arguments)

    monkeypatch.setattr(mmbench2, "_compare", die_late)
    with pytest.raises(KeyboardInterrupt):
        import_item(item, tmp_path / "store")
    assert not (tmp_path / "store" / "store.json").exists()
    staged = list((tmp_path / "store" / STAGING).glob("*/store/shards/*.frames"))
    sizes = [path.stat().st_size for path in staged]
    import_item(item, tmp_path / "store")
    shards = list((tmp_path / "store" / "shards").glob("*.frames"))
    assert sorted(path.stat().st_size for path in shards) == sorted(sizes)
    assert len(EpisodeStore.open(tmp_path / "store")) == 2


def truncate(path: Path, keep: int = -30) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def flip(path: Path, at: int = 5000) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(bytes(content))


def retable(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    table = torch.load(path, weights_only=True)
    change(table)
    torch.save(table, path)


def poison(row: int, name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    def change(table: dict[str, torch.Tensor]) -> None:
        table[name][row] = float("nan")

    return change


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing strip": (lambda x: (x / f"{TASK}-0.png").unlink(), r"tiny-push-0\.png' is missing"),
    "missing last strip": (
        lambda x: (x / f"{TASK}-1.png").unlink(),
        r"13 rows, but its frames are 8: .*'tiny-push-0\.png': 8",
    ),
    "truncated strip": (lambda x: truncate(x / f"{TASK}-1.png"), r"-1\.png' is truncated"),
    "flipped strip": (lambda x: flip(x / f"{TASK}-1.png"), r"-1\.png' is damaged: a checksum"),
    "strip of another width": (
        lambda x: write_strip(x / f"{TASK}-1.png", np.zeros((5, 224, 200, 3), np.uint8)),
        r"is 1000x224 .* a multiple of that wide",
    ),
    "short column": (
        lambda x: retable(x / f"{TASK}.pt", lambda t: t.update(reward=t["reward"][:-1])),
        r"columns do not fit together: .*'reward': \(12,\)",
    ),
    "NaN inside an episode": (
        lambda x: retable(x / f"{TASK}.pt", poison(3, "reward")),
        r"row 3 \(middle of episode 0\) has reward nan",
    ),
    "no NaN in a first row": (
        lambda x: retable(x / f"{TASK}.pt", lambda t: t["action"][7].fill_(0.0)),
        r"row 7 \(first row of episode 1\) has action",
    ),
    "used padding": (
        lambda x: retable(x / f"{TASK}.pt", lambda t: t["action"][2, 9].fill_(0.5)),
        r"row 2 uses a lane beyond the task's 5",
    ),
    "episode in two pieces": (
        lambda x: retable(x / f"{TASK}.pt", lambda t: t["episode"][12].fill_(0)),
        r"episode 0 comes in two pieces",
    ),
    "no rewards": (
        lambda x: retable(x / f"{TASK}.pt", lambda t: t.pop("reward")),
        r"has no column 'reward'",
    ),
    "truncated table": (lambda x: truncate(x / f"{TASK}.pt"), r"damaged, truncated or no torch"),
    "flipped table": (lambda x: flip(x / f"{TASK}.pt", 1500), r"is damaged"),
    "narrow actions": (
        lambda x: retable(x / f"{TASK}.pt", lambda t: t.update(action=t["action"][:, :7])),
        r"actions of 7 lanes, the task has 5; expected 16",
    ),
}


@pytest.mark.parametrize("name", HARMS)
def test_every_fault_stops_the_import_with_its_own_text_and_leaves_nothing(
    tmp_path: Path, name: str
) -> None:
    item = copied(tmp_path)
    harm, text = HARMS[name]
    harm(item.folder)
    with pytest.raises(DataError, match=text):
        import_item(item, tmp_path / "store")
    assert not (tmp_path / "store").exists()


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, (str(self.mark),))


def test_a_foreign_name_in_a_table_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    torch.save({"action": Evil(mark)}, tmp_path / "bad.pt")
    with pytest.raises(DataError, match=r"wants to run 'posix\.mkdir'"):
        read_rows(tmp_path / "bad.pt")
    assert not mark.exists()


def chunk_file(path: Path, header: dict[str, Any], blobs: bytes) -> Path:
    text = json.dumps(header, separators=(",", ":")).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"WMCHUNK1" + struct.pack("<I", len(text)) + text + blobs)
    return path


EXAMPLE = {
    "format": "wm-chunked",
    "version": 1,
    "codec": "webp",
    "num_frames": 3,
    "H": 2,
    "W": 2,
    "chunk_frames": 2,
    "chunks": [[0, 5, 2], [5, 3, 1]],
}


def test_the_worked_example_of_a_chunk_file_has_its_bytes(tmp_path: Path) -> None:
    content = chunk_file(tmp_path / "x.chunks", EXAMPLE, b"12345678").read_bytes()
    assert content[:12].hex(" ") == "57 4d 43 48 55 4e 4b 31 79 00 00 00"
    assert len(content) == 141


CHUNK_HARMS: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "version": ({"version": 2}, b"12345678", "version is '2', expected 1"),
    "codec": ({"codec": "png"}, b"12345678", "codec is 'png', expected 'webp'"),
    "count": ({"num_frames": 4}, b"12345678", "hold 3 frames, its header says 4"),
    "blob past the end": ({}, b"1234567", "chunk 1 .* lies past the end"),
    "trailing bytes": ({}, b"123456789", "not as long as its header says"),
    "negative size": ({"H": -2}, b"12345678", "sizes or its list of chunks are no numbers"),
    "extra field": ({"evil": 1}, b"12345678", "other fields than"),
    "hole": ({"chunks": [[0, 4, 2], [5, 3, 1]]}, b"12345678", "chunk 1 .* does not follow"),
    "no picture": ({}, b"12345678", "chunk 0 should decode to .* got no lossless WebP"),
}


@pytest.mark.parametrize("name", CHUNK_HARMS)
def test_a_chunk_file_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    change, blobs, text = CHUNK_HARMS[name]
    chunk_file(tmp_path / "t" / "t_shard0000.chunks", EXAMPLE | change, blobs)
    (tmp_path / "t" / "t_index.json").write_text('{"t_shard0000.chunks": 3}')
    with pytest.raises(DataError, match=text):
        decoded(list_shards(tmp_path, "t"))


def test_an_index_that_disagrees_or_is_missing_is_refused(tmp_path: Path) -> None:
    shutil.copytree(TINY / "shards", tmp_path / "shards")
    index = tmp_path / "shards" / TASK / f"{TASK}_index.json"
    listed = json.loads(index.read_text())
    index.write_text(json.dumps({name: count + 1 for name, count in listed.items()}))
    with pytest.raises(DataError, match=r"has 9 frames, its index says 10"):
        list_shards(tmp_path / "shards", TASK)
    index.write_text('{"../../secret": 3}')
    with pytest.raises(DataError, match="does not list file names"):
        list_shards(tmp_path / "shards", TASK)
    index.unlink()
    with pytest.raises(DataError, match="cannot be read .* not complete"):
        list_shards(tmp_path / "shards", TASK)


def test_what_is_asked_for_must_be_there(tmp_path: Path) -> None:
    write_task(tmp_path / "expert", "a-run", [3])
    with pytest.raises(DataError, match="has no task b-run; it has a-run"):
        list_items(tmp_path, widths=lambda _: 2, tasks=("b-run",))
    with pytest.raises(DataError, match="has no partition val; it has expert"):
        list_items(tmp_path, widths=lambda _: 2, partitions=("val",))
    with pytest.raises(DataError, match="is no folder"):
        list_items(tmp_path / "nothing", widths=lambda _: 2)


def test_action_widths_come_from_the_table_of_tasks(tmp_path: Path) -> None:
    assert read_action_widths(TINY / "tasks.json") == {TASK: WIDTH}
    for text in ("[", "[]", '{"a": 3}', '{"a": {"action_dim": 17}}', '{"a": {"action_dim": true}}'):
        (tmp_path / "tasks.json").write_text(text)
        with pytest.raises(DataError, match=r"tasks\.json"):
            read_action_widths(tmp_path / "tasks.json")


def test_the_command_says_what_it_imported_and_what_stopped_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ["--tasks-json", str(TINY / "tasks.json")]
    words = ["data", "import", str(TINY / "dataset"), "--out", str(tmp_path / "store")]
    assert main([*words, *table]) == 0
    assert "dataset/tiny-push: 2 episodes, 13 frames, 2 values clamped" in capsys.readouterr().out
    assert main([*words, *table]) == 0
    assert "there already" in capsys.readouterr().out
    assert main(words) == 2
    assert "How wide the actions of 'tiny-push' are is not known" in capsys.readouterr().err
