import pytest
import torch
from torch.testing import assert_close

from reverie.core.batch import Batch


def make_batch(rows: int = 2, frames: int = 5, *, with_frames: bool = True) -> Batch:
    count = rows * frames
    return Batch(
        frames=torch.arange(count * 3 * 4 * 3).reshape(rows, frames, 3, 4, 3).to(torch.uint8)
        if with_frames
        else None,
        prev_actions=torch.arange(count * 7, dtype=torch.float32).reshape(rows, frames, 7),
        prev_rewards=torch.arange(count, dtype=torch.float32).reshape(rows, frames),
        action_mask=torch.ones(rows, 7),
        is_first=torch.zeros(rows, frames, dtype=torch.bool),
        is_terminal=torch.zeros(rows, frames, dtype=torch.bool),
        task=tuple(f"task-{row}" for row in range(rows)),
        language=torch.arange(rows * 6, dtype=torch.float32).reshape(rows, 6),
    )


@pytest.mark.parametrize("with_frames", [True, False])
def test_a_slice_in_time_keeps_rows_and_moves_all_lanes_together(with_frames: bool) -> None:
    batch = make_batch(with_frames=with_frames)
    cut = batch.slice_time(1, 4)
    assert (cut.num_rows, cut.num_frames) == (2, 3)
    assert_close(cut.prev_actions, batch.prev_actions[:, 1:4])
    assert_close(cut.prev_rewards, batch.prev_rewards[:, 1:4])
    assert cut.is_first.shape == cut.is_terminal.shape == (2, 3)
    assert cut.task == batch.task
    assert_close(cut.action_mask, batch.action_mask)
    if with_frames:
        assert cut.frames is not None and batch.frames is not None
        assert_close(cut.frames, batch.frames[:, 1:4])
    else:
        assert cut.frames is None


def test_selected_rows_come_in_the_given_order_with_their_task_and_language() -> None:
    batch = make_batch(rows=3)
    picked = batch.select([2, 0, 2])
    assert picked.task == ("task-2", "task-0", "task-2")
    assert_close(picked.prev_actions, batch.prev_actions[[2, 0, 2]])
    assert picked.language is not None and batch.language is not None
    assert_close(picked.language, batch.language[[2, 0, 2]])


def test_a_batch_moves_to_a_device_without_losing_anything() -> None:
    batch = make_batch(with_frames=False)
    moved = batch.to("meta")
    assert moved.prev_actions.device.type == moved.is_first.device.type == "meta"
    assert moved.frames is None
    assert moved.task == batch.task


def test_a_batch_of_one_row_and_one_frame_works() -> None:
    batch = make_batch(rows=1, frames=1)
    assert batch.select([0]).slice_time(0, 1).prev_actions.shape == (1, 1, 7)
