"""Controllers in the real simulator: how they explore."""

from itertools import groupby

import numpy as np
import pytest
import torch

from reverie.core.seeds import child_seed
from reverie.core.types import FrameSpec
from reverie.envs.registry import make_env
from reverie.models.classic.controller import ControllerConfig
from reverie.planning.live import Agent, LiveConfig, play_live
from tests.support.classic import make_classic_world
from tests.support.dreams import seeded

TASK = "toy-paint"


def actions_of(config: LiveConfig) -> np.ndarray:
    world = make_classic_world(tasks=(TASK,), terminating=(), action_width=2)
    controller = ControllerConfig(num_features=world.num_features, num_outputs=2)
    parameters = torch.randn(controller.num_parameters, generator=seeded(3))
    env = make_env(TASK, frame_spec=FrameSpec(height_px=16, width_px=16))
    (episode,) = play_live(world, controller, parameters[None], [env], [5], config=config)
    return np.stack(episode.actions)[:, 0]


def test_an_agent_that_is_shown_frame_after_frame_acts_as_in_an_evaluation() -> None:
    world = make_classic_world(tasks=(TASK,), terminating=(), action_width=2)
    controller = ControllerConfig(num_features=world.num_features, num_outputs=2)
    parameters = torch.randn(controller.num_parameters, generator=seeded(3))
    env = make_env(TASK, frame_spec=FrameSpec(height_px=16, width_px=16))
    (episode,) = play_live(
        world, controller, parameters[None], [env], [5], config=LiveConfig(max_steps=12)
    )
    agent = Agent(world, controller, parameters, env.spec)
    frame = env.reset(child_seed(5, "env"))
    for expected in episode.actions:
        action = agent.act(frame)
        assert action == pytest.approx(expected, abs=1e-6)
        frame = env.step(action).frame
    assert len({tuple(action) for action in episode.actions}) > 3


def longest_run(signs: np.ndarray) -> int:
    return max(len(list(group)) for _, group in groupby(signs > 0))


def test_leaning_pushes_to_one_side_for_a_while_and_plain_noise_does_not() -> None:
    noise = actions_of(LiveConfig(random_share=1.0))
    leaning = actions_of(LiveConfig(random_share=1.0, lean_steps=20.0))
    assert len(noise) == len(leaning) > 30
    assert set(np.abs(leaning)) == {1.0} and len(set(np.abs(noise))) > 10
    assert longest_run(leaning) > longest_run(noise)
    assert longest_run(leaning) < len(leaning), "it changes sides"


def test_a_leaning_controller_still_acts_by_itself_most_of_the_time() -> None:
    own = actions_of(LiveConfig())
    leaning = actions_of(LiveConfig(random_share=0.2, lean_steps=20.0))
    pushed = np.abs(leaning) == 1.0
    assert 0 < pushed.mean() < 0.5 and len(own) == len(leaning)
