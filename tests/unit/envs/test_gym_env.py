"""Tasks seen through gymnasium."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.envs.gym_env import GymEnv

SMALL = FrameSpec(height_px=48, width_px=64)


@pytest.mark.parametrize("task", ["pygame-pong", "toy-fall"])
def test_the_checker_of_gymnasium_is_content(task: str) -> None:
    # Its check of rendering needs an environment made by name; the next test renders.
    check_env(GymEnv(task, frame_spec=SMALL), skip_render_check=True)


def test_rendering_shows_the_newest_frame() -> None:
    env = GymEnv("pygame-pong", frame_spec=SMALL)
    np.testing.assert_array_equal(env.reset(seed=1)[0], env.render())
    frame = env.step(env.action_space.sample())[0]
    np.testing.assert_array_equal(frame, env.render())
    assert GymEnv("pygame-pong", frame_spec=SMALL, render_mode=None).render() is None


def test_unseeded_resets_continue_the_stream_of_the_seed() -> None:
    first, again = (GymEnv("pygame-reacher-easy", frame_spec=SMALL) for _ in range(2))
    starts = [[env.reset(seed=3)[0], env.reset()[0]] for env in (first, again)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert (starts[0][0] != starts[0][1]).any()


def test_what_would_be_ignored_is_refused() -> None:
    with pytest.raises(ConfigError, match="no reset options"):
        GymEnv("toy-paint", frame_spec=SMALL).reset(options={"start": 1})
    with pytest.raises(ConfigError, match="render_mode 'human'"):
        GymEnv("toy-paint", frame_spec=SMALL, render_mode="human")
