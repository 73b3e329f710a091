import hashlib

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.errors import StaleStateError
from reverie.nn.attention import KeysValues
from reverie.nn.kv_cache import Cache
from reverie.nn.rope import rotate
from tests.support.dreams import seeded

LAYERS, ROWS, TOKENS, HEADS, LANES, CONTEXT = 2, 3, 5, 1, 4, 6


def frames(count: int, *, rows: int = ROWS, seed: int = 0) -> list[KeysValues]:
    """One entry per layer, axes b n t g c."""
    shape = (2, LAYERS, rows, TOKENS, count, HEADS, LANES)
    keys, values = torch.randn(shape, generator=seeded(seed))
    return [KeysValues(k, v) for k, v in zip(keys, values, strict=True)]


def cut(window: list[KeysValues], start: int, stop: int) -> list[KeysValues]:
    return [KeysValues(x.keys[:, :, start:stop], x.values[:, :, start:stop]) for x in window]


def pick(window: list[KeysValues], rows: list[int]) -> list[KeysValues]:
    return [KeysValues(x.keys[rows], x.values[rows]) for x in window]


def visible(cache: Cache) -> tuple[int, Tensor, Tensor]:
    """Position, and rotated keys and values of each row, layer 1."""
    position, layers = cache.blocks()
    parts = [
        (
            b.keys.permute(0, 1, 4, 2, 3).repeat_interleave(b.group, dim=0),
            b.values.transpose(2, 3).repeat_interleave(b.group, dim=0),
        )
        for b in layers[1]
    ]
    keys, values = (torch.cat(pieces, dim=2) for pieces in zip(*parts, strict=True))
    return position, keys, values


def assert_shows(cache: Cache, window: list[KeysValues], stop: int) -> None:
    """The next frame sees the last C - 1 of the first ``stop`` frames, at positions from 0."""
    start = max(0, stop - (CONTEXT - 1))
    position, keys, values = visible(cache)
    wanted = cut(window, start, stop)[1]
    assert position == stop - start <= CONTEXT - 1
    assert torch.equal(values, wanted.values)
    assert_close(keys, rotate(wanted.keys, torch.arange(stop - start)))


def test_it_shows_the_last_frames_at_positions_that_start_over() -> None:
    window = frames(4 * CONTEXT)
    cache = Cache.from_window(cut(window, 0, 2), CONTEXT)
    for time in range(2, 4 * CONTEXT):
        assert_shows(cache, window, time)
        cache = cache.commit(cut(window, time, time + 1))


@pytest.mark.parametrize("length", [1, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT + 3])
def test_a_window_of_any_length_is_stored_like_its_frames_one_by_one(length: int) -> None:
    window = frames(length)
    assert_shows(Cache.from_window(window, CONTEXT), window, length)


def test_ten_thousand_frames_need_no_more_room_than_twelve() -> None:
    window = frames(CONTEXT)
    cache = Cache.from_window(window, CONTEXT)
    sizes = {}
    for time in range(CONTEXT, 10_001):
        cache = cache.commit(cut(window, time % CONTEXT, time % CONTEXT + 1))
        if time in (2 * CONTEXT, 10_000):
            position, keys, values = visible(cache)
            ring = cache.ring
            sizes[time] = (position, keys.shape, values.shape, ring.keys.shape, ring.values.shape)
    assert cache.num_own == 10_001
    assert sizes[2 * CONTEXT] == sizes[10_000]


def test_forks_share_the_past_and_write_their_own() -> None:
    window, future = frames(8), frames(9, rows=2 * ROWS, seed=1)
    cache = Cache.from_window(window, CONTEXT)
    forked = cache.fork(2)
    assert forked.shared is not None and forked.shared.keys.shape[1] == ROWS
    twice = pick(window, [0, 0, 1, 1, 2, 2])
    joined = [
        KeysValues(torch.cat([a.keys, b.keys], dim=2), torch.cat([a.values, b.values], dim=2))
        for a, b in zip(twice, future, strict=True)
    ]
    for time in range(9):
        assert_shows(forked, joined, 8 + time)
        forked = forked.commit(cut(future, time, time + 1))
    assert_shows(cache, window, 8)


def test_a_fork_of_a_fork_sees_the_whole_past() -> None:
    window, more = frames(8), frames(2, rows=2 * ROWS, seed=1)
    forked = Cache.from_window(window, CONTEXT).fork(2)
    for time in range(2):
        forked = forked.commit(cut(more, time, time + 1))
    again = forked.fork(3)
    expected = visible(forked)
    got = visible(again)
    assert got[0] == expected[0]
    for mine, theirs in zip(got[1:], expected[1:], strict=True):
        assert_close(mine, theirs.repeat_interleave(3, dim=0))


def test_selected_rows_come_in_the_asked_order() -> None:
    window = frames(8)
    cache = Cache.from_window(window, CONTEXT).select([2, 0, 2])
    assert_shows(cache, pick(window, [2, 0, 2]), 8)


def test_a_state_one_frame_old_may_be_forked_and_no_older_one() -> None:
    window = frames(10)
    old = Cache.from_window(cut(window, 0, 8), CONTEXT)
    newer = old.commit(cut(window, 8, 9))
    assert_shows(old.fork(1), window, 8)
    with pytest.raises(StaleStateError, match=r"1 frame\(s\) behind .* call fork\(\)"):
        old.commit(cut(window, 9, 10))
    newer.commit(cut(window, 9, 10))
    for call in (lambda: old.fork(1), lambda: old.select([0]), old.blocks):
        with pytest.raises(StaleStateError, match=r"2 frame\(s\) behind"):
            call()


def test_reading_writes_nothing() -> None:
    cache = Cache.from_window(frames(8), CONTEXT)

    def fingerprint() -> str:
        ring = cache.ring
        return hashlib.sha256(
            ring.keys.numpy().tobytes() + ring.values.numpy().tobytes()
        ).hexdigest()

    before = fingerprint()
    cache.blocks()
    cache.fork(3).commit(frames(1, rows=3 * ROWS))
    cache.select([0]).commit(frames(1, rows=1))
    assert fingerprint() == before
