"""A watched simulator remembers what a dream begins from; a planning policy acts on it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.collect.planner import Decision, PlannerPolicy
from reverie.collect.policies import make_policy
from reverie.collect.watch import Watched
from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.data.windows import episode_to_batch
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env
from reverie.planning.objectives import Objective, discounted, penalised
from reverie.planning.optimisers import SearchConfig
from reverie.planning.plan import PlanConfig
from tests.support.small_world import SIDE_PX, make_small_world

SPEC = FrameSpec(height_px=SIDE_PX, width_px=SIDE_PX)
CONFIG = PlanConfig(
    horizon=3,
    num_executed=2,
    num_dreams=1,
    num_finalists=2,
    search=SearchConfig(num_candidates=4, num_elites=2, num_iterations=1),
)
NUM_REMEMBERED = 4


def watched() -> Watched:
    return Watched(make_env("toy-paint", frame_spec=SPEC), NUM_REMEMBERED)


def play(objective: Objective, *, seed: int = 1, max_steps: int = 5, **more: Any) -> Any:
    policy = PlannerPolicy(make_small_world(), objective=objective, config=CONFIG, **more)
    return play_episode(watched(), policy, seed=seed, max_steps=max_steps)


def zeros(world: Any, context: Any) -> Tensor:
    return torch.zeros(context.before.num_rows)


def lane(world: Any, context: Any) -> Tensor:
    return context.action[:, 0]


def moving(world: Any, context: Any) -> Tensor:
    return context.action[:, 0].abs()


@pytest.mark.parametrize("num_steps", [0, 1, 3, 4, 5, 9])
def test_a_context_is_the_newest_window_of_what_was_played(num_steps: int) -> None:
    env = watched()
    policy = make_policy("random")
    episode = play_episode(env, policy, seed=3, max_steps=max(num_steps, 1))
    if num_steps == 0:
        env.reset(0)
        assert env.context(5).num_frames == 1 and bool(env.context(5).is_first.all())
        return
    got = env.context(5)
    length = min(num_steps + 1, NUM_REMEMBERED)
    wanted = episode_to_batch(episode, num_steps + 1 - length, length, action_width=5)
    kept = slice(got.num_frames - length, None)
    assert got.frames is not None and wanted.frames is not None
    assert torch.equal(got.frames[:, kept], wanted.frames)
    assert torch.equal(got.prev_actions[:, kept], wanted.prev_actions)
    assert torch.equal(got.prev_rewards[:, kept], wanted.prev_rewards)
    assert torch.equal(got.is_first[:, kept], wanted.is_first)
    # A whole short episode may give one frame more; a dream takes the newest ones.
    assert got.num_frames - length in (0, 1)


def test_nothing_is_remembered_across_a_reset_or_a_restored_snapshot() -> None:
    env = watched()
    with pytest.raises(ConfigError, match="Nothing was seen yet"):
        env.context(3)
    env.reset(0)
    env.step(np.zeros(env.spec.action.width, np.float32))
    snapshot = env.save()
    env.step(np.zeros(env.spec.action.width, np.float32))
    assert env.context(3).num_frames == 3
    env.restore(snapshot)
    assert env.context(3).num_frames == 1
    env.reset(1)
    assert env.context(3).num_frames == 1


def test_a_planner_that_cannot_see_says_what_to_wrap() -> None:
    policy = PlannerPolicy(make_small_world(), objective=discounted(zeros), config=CONFIG)
    env = make_env("toy-paint", frame_spec=SPEC)
    with pytest.raises(ConfigError, match=r"wrap the simulator of 'toy-paint' in .*Watched"):
        play_episode(env, policy, seed=0, max_steps=2)


def test_the_same_seed_plays_the_same_episode() -> None:
    first, again, other = (play(discounted(lane), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions, other.actions)


def test_plans_are_renewed_when_their_executed_part_is_used_up() -> None:
    decisions: list[Decision] = []
    episode = play(discounted(lane), on_decision=decisions.append)
    assert [decision.step for decision in decisions] == [0, 2, 4]
    assert episode.parameters["decisions"] == 3 and episode.parameters["abstentions"] == 0
    executed = np.concatenate([d.plan.actions.numpy()[: d.num_executed] for d in decisions])
    assert np.array_equal(episode.actions, executed[:5])
    assert episode.source == "planner"


def test_a_flagged_plan_is_executed_only_up_to_the_flag() -> None:
    def late(world: Any, context: Any) -> Tensor:
        is_second = context.before.num_frames - context_frames(context)
        return torch.full((context.before.num_rows,), 0.9 if is_second else 0.0)

    begun: list[int] = []

    def context_frames(context: Any) -> int:
        # The first step of every dream is the one with the fewest frames.
        begun.append(context.before.num_frames)
        return min(begun[-CONFIG.horizon :])

    decisions: list[Decision] = []
    episode = play(penalised(late, beta=0.0, limit=0.5), on_decision=decisions.append, max_steps=2)
    assert [decision.num_executed for decision in decisions] == [1, 1]
    assert episode.parameters["abstentions"] == 2


def test_a_restless_planner_acts_at_random_where_nothing_beats_doing_nothing() -> None:
    decisions: list[Decision] = []
    episode = play(discounted(zeros), is_restless=True, on_decision=decisions.append)
    assert all(decision.is_random for decision in decisions)
    assert episode.parameters["random_plans"] == 3 and np.abs(episode.actions).min() > 0
    calm = play(discounted(moving), is_restless=True)
    assert calm.parameters["random_plans"] == 0


def test_jitter_moves_what_is_executed_and_leaves_the_plan() -> None:
    decisions: list[Decision] = []
    first = play(discounted(lane), jitter=0.3, on_decision=decisions.append)
    planned = np.concatenate([d.plan.actions.numpy()[: d.num_executed] for d in decisions])[:5]
    difference = first.actions - planned
    assert 0.05 < np.abs(difference).mean() < 0.6 and np.abs(first.actions).max() <= 1
    assert np.array_equal(first.actions, play(discounted(lane), jitter=0.3).actions)


def test_jitter_of_choices_replaces_some_by_others() -> None:
    def play_cart(jitter: float) -> tuple[np.ndarray, np.ndarray]:
        decisions: list[Decision] = []
        policy = PlannerPolicy(
            make_small_world(),
            objective=discounted(lane),
            config=CONFIG,
            jitter=jitter,
            on_decision=decisions.append,
        )
        env = Watched(make_env("CartPole-v1", frame_spec=SPEC), NUM_REMEMBERED)
        episode = play_episode(env, policy, seed=4, max_steps=9)
        planned = np.concatenate([d.plan.actions.numpy()[: d.num_executed] for d in decisions])
        return episode.actions, planned[: len(episode.actions)]

    executed, planned = play_cart(1.0)
    assert np.array_equal(executed.sum(axis=1), np.ones(len(executed)))
    assert not np.array_equal(executed, planned)
    assert np.array_equal(*play_cart(0.0))
