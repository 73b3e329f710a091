"""The desk obeys its library, and its library obeys the fence around the global generator."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from reverie.envs.experts import make_expert
from reverie.envs.game_env import GameEnv
from reverie.envs.global_rng import seeded_global_rng
from tests.support.simulators import open_task, undrawn


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[GameEnv]:
    env = open_task(request.param)
    with undrawn(env):
        yield env
    env.close()


def test_making_a_desk_imports_no_old_gym() -> None:
    code = (
        "import sys; from reverie.core.types import FrameSpec; "
        "from reverie.envs.registry import make_env; "
        "make_env('rd-push-green', frame_spec=FrameSpec(height_px=32, width_px=32)).close(); "
        "assert 'gym' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_fence_repeats_its_draws_and_leaves_no_trace() -> None:
    np.random.seed(1)
    kept = np.random.get_state()[1].copy()
    with seeded_global_rng(5):
        first = np.random.random()
    np.testing.assert_array_equal(np.random.get_state()[1], kept)
    with pytest.raises(ZeroDivisionError), seeded_global_rng(5):
        assert np.random.random() == first
        raise ZeroDivisionError
    np.testing.assert_array_equal(np.random.get_state()[1], kept)


@pytest.mark.parametrize("desk", ["rd-push-green"], indirect=True)
def test_the_expert_pushes_the_button_and_holds_it(desk: GameEnv) -> None:
    expert = make_expert("rd-push-green")
    desk.reset(3)
    expert.start(desk, np.random.default_rng(0))
    results = [desk.step(expert.act(desk, step)) for step in range(desk.spec.max_steps)]
    assert results[-1].info["score"] == 1.0
    assert all(0.0 <= result.reward <= 10.0 for result in results)


@pytest.mark.parametrize("desk", ["rd-open-drawer"], indirect=True)
def test_the_state_holds_places_of_objects_and_not_their_speeds(desk: GameEnv) -> None:
    desk.reset(3)
    vector = desk.observe_state()
    assert vector.shape == (73,)
    assert -0.1 <= vector[21] <= 0.0  # the drawer, open by up to 10 cm
    assert 0.0 <= vector[22] <= 0.21  # the slide
    assert vector[31] > 0.7  # the ball lies on the table, 75 cm high
