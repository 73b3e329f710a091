"""Tasks seen through gymnasium."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reverie.core.errors import ConfigError, MissingDriverError, MissingExtraError
from reverie.core.types import FrameSpec
from reverie.envs.gym_env import GymEnv
from reverie.envs.registry import task_names, task_spec

SMALL = FrameSpec(height_px=48, width_px=64)


ONE_EACH = {task_spec(name).domain: name for name in task_names() if not task_spec(name).assets}
"""Domain → one of its tasks that run without a download."""


@pytest.mark.parametrize("task", ONE_EACH.values(), ids=ONE_EACH.keys())
def test_the_checker_of_gymnasium_is_content(task: str) -> None:
    try:
        env = gymnasium.make(f"reverie.envs.gym:reverie/{task}", frame_spec=SMALL)
    except (MissingExtraError, MissingDriverError) as error:
        pytest.skip(str(error))
    check_env(env.unwrapped)
    env.close()


def test_every_task_has_its_name_in_gymnasium_after_one_import() -> None:
    code = """
import sys
import gymnasium
gymnasium.make("reverie.envs.gym:reverie/toy-paint")
print("mujoco" in sys.modules, *(n for n in gymnasium.registry if n.startswith("reverie/")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, *names = done.stdout.split()
    assert imported == "False"
    assert set(names) == {f"reverie/{name}" for name in task_names()}


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
