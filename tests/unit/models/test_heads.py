"""What heads are asked for and when: the table of a four-frame window, and its dashes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.data.windows import episode_to_batch
from reverie.envs.domains.toy.paint import decode_frame
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env
from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, RewardHead, ahead, masked_mean
from tests.support.dreams import seeded, stir

WIDTH = 24
CONFIG = HeadsConfig(num_distances=3, num_bins=41, reward_limit=3.0)
HEADS = (RewardHead, ContinueHead)


class Wiggle:
    """Actions that differ at every step."""

    name = "wiggle"

    def start(self, env: object, rng: np.random.Generator) -> dict[str, float]:
        self.rng = rng
        return {}

    def act(self, env: object, step: int) -> np.ndarray:
        return self.rng.uniform(-1, 1, 2).astype(np.float32)

    def behaviour(self) -> str:
        return ""


def make(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(2)
    return stir(kind(WIDTH, CONFIG))


def features(b: int, t: int, g: int) -> Tensor:
    return torch.randn((b, t, g, WIDTH), generator=seeded())


def test_targets_of_a_four_frame_window_are_those_of_the_table() -> None:
    r0, r1, r2 = 0.5, -1.0, 2.0
    lane = torch.tensor([[0.0, r0, r1, r2]])
    seen = torch.tensor([[False, True, True, True]])
    targets, valid = ahead(lane, seen, 3)
    dash = None
    table = [[dash, r0, r1], [r0, r1, r2], [r1, r2, dash], [r2, dash, dash]]
    got = [
        [float(x) if ok else None for x, ok in zip(*pair, strict=True)]
        for pair in zip(targets[0], valid[0], strict=True)
    ]
    assert got == table


@pytest.mark.parametrize("task", ["toy-paint", "toy-fall"])
def test_rewards_and_ends_arrive_with_the_frame_that_shows_them(task: str) -> None:
    """The toy domain paints action and reward into the frame they led to: read the pixels."""
    env = make_env(task, frame_spec=FrameSpec(height_px=64, width_px=64))
    episode = play_episode(env, Wiggle(), seed=3, max_steps=60)
    batch = episode_to_batch(episode, action_width=3)
    assert batch.frames is not None
    painted = [decode_frame(frame.numpy()) for frame in batch.frames[0]]
    actions = torch.from_numpy(np.stack([action for action, _ in painted]))
    rewards = torch.tensor([reward for _, reward in painted])
    assert_close(batch.prev_actions[0, :, :2], actions, atol=0.01, rtol=0)
    targets, valid = ahead(batch.prev_rewards, ~batch.is_first, 3)
    goes_on, _ = ahead(1.0 - batch.is_terminal.float(), ~batch.is_first, 3)
    count = len(painted)
    for frame in range(count):
        for distance in range(3):
            there = frame + distance
            assert bool(valid[0, frame, distance]) == (0 < there < count)
            if 0 < there < count:
                assert float(targets[0, frame, distance]) == pytest.approx(
                    float(rewards[there]), abs=0.01
                )
                is_end = task == "toy-fall" and rewards[there] < 0
                assert float(goes_on[0, frame, distance]) == 1.0 - float(is_end)
    assert episode.terminated == (task == "toy-fall")


@pytest.mark.parametrize("kind", HEADS)
def test_changing_a_masked_entry_changes_no_loss(kind: type[nn.Module]) -> None:
    head, agents = make(kind), features(3, 4, 2)
    is_lane = kind is RewardHead
    lane = torch.randn((3, 4), generator=seeded(1)) if is_lane else torch.zeros(3, 4).bool()
    seen = torch.ones(3, 4, dtype=torch.bool)
    seen[:, 0] = False
    seen[1] = False
    junk = lane.clone()
    junk[~seen] = 77.0 if is_lane else True
    assert torch.equal(head.loss(agents, lane, seen), head.loss(agents, junk, seen))
    real = lane.clone()
    real[0, 3] = 2.5 if is_lane else True
    assert not torch.equal(head.loss(agents, lane, seen), head.loss(agents, real, seen))


@pytest.mark.parametrize("kind", HEADS)
def test_frames_without_any_target_get_no_gradient(kind: type[nn.Module]) -> None:
    head, agents = make(kind), features(1, 5, 2).requires_grad_()
    lane = torch.zeros(1, 5) if kind is RewardHead else torch.zeros(1, 5).bool()
    seen = torch.tensor([[True, False, False, False, True]])
    head.loss(agents, lane, seen).backward()
    assert agents.grad is not None
    moved = agents.grad.abs().sum(dim=(2, 3))[0] > 0
    # Distances 0 to 2: frame 0 has its own, frames 2 to 4 see frame 4; frame 1 has none.
    assert moved.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize("kind", HEADS)
def test_a_batch_without_targets_costs_nothing(kind: type[nn.Module]) -> None:
    head = make(kind)
    lane = torch.zeros(2, 3) if kind is RewardHead else torch.zeros(2, 3).bool()
    loss = head.loss(features(2, 3, 1), lane, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_masked_means_leave_out_what_is_masked() -> None:
    values = torch.tensor([[1.0, 2.0, 9.0]])
    assert float(masked_mean(values, torch.tensor([[True, True, False]]))) == 1.5


def test_a_fresh_reward_head_expects_nothing() -> None:
    torch.manual_seed(1)
    head = RewardHead(WIDTH, HeadsConfig())
    with torch.no_grad():
        assert head.expected(features(2, 3, 2)).abs().max() < 1e-2
        logits = head(features(2, 3, 2))
    assert logits.shape == (2, 3, 8, 255)
    assert float(logits.softmax(dim=-1)[..., 127].min()) > 0.98


def test_a_reward_head_learns_coin_flips_as_one_half() -> None:
    torch.manual_seed(1)
    head, agents = RewardHead(WIDTH, CONFIG), torch.ones(64, 1, 1, WIDTH)
    rewards = (torch.arange(64)[:, None] % 2).float()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(60):
        loss = head.loss(agents, rewards, torch.ones(64, 1, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert float(head.expected(agents).mean()) == pytest.approx(0.5, abs=0.03)


def test_a_continue_head_learns_the_real_rate_of_ends() -> None:
    torch.manual_seed(1)
    head, agents = ContinueHead(WIDTH, CONFIG), torch.ones(40, 1, 1, WIDTH)
    is_terminal = torch.arange(40)[:, None] < 4
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(100):
        loss = head.loss(agents, is_terminal, torch.ones(40, 1, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        rate = float(1 - torch.sigmoid(head(agents)[..., 0]).mean())
    assert rate == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("agents", [1, 4])
def test_heads_read_frames_apart(agents: int) -> None:
    head, x = make(RewardHead), features(2, 3, agents)
    other = x.clone()
    other[:, 1] += 1.0
    with torch.no_grad():
        before, after = head(x), head(other)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_bins": 40}, "an odd num_bins of at least 3, got 8 and 40. Try 8 and 255."),
        ({"num_distances": 0}, "num_distances of at least 1"),
        ({"reward_limit": 0.0}, "reward_limit must be above 0, got 0.0. Try 10."),
    ],
)
def test_heads_that_cannot_be_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HeadsConfig(**change)
    assert text in str(caught.value)
