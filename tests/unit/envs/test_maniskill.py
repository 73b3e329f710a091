"""ManiSkill without its hub: what is there runs, what is missing says how to get it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reverie.core.errors import MissingAssetError
from reverie.core.seeds import numpy_rng
from reverie.envs.domains.maniskill.make import asset_folder, has_assets
from reverie.envs.domains.maniskill.setups import SETUPS
from reverie.envs.experts import has_expert, make_expert
from reverie.envs.game_env import GameEnv
from reverie.envs.registry import make_env, task_names, task_spec
from tests.support.simulators import open_task, undrawn

NAMES = tuple(name for name in task_names() if name.startswith("ms-"))
ON_A_HUB = tuple(name for name in NAMES if task_spec(name).assets is not None)
SCRIPTED = tuple(name for name in NAMES if has_expert(name))


@pytest.fixture
def arm(request: pytest.FixtureRequest) -> Iterator[GameEnv]:
    env = open_task(request.param)
    with undrawn(env):
        yield env
    env.close()


def test_every_task_has_a_setup_and_seventeen_need_a_download() -> None:
    assert set(SETUPS) == set(NAMES)
    assert len(NAMES) == 37
    assert len(ON_A_HUB) == 17
    assert {name for name in NAMES if SETUPS[name].asset is not None} == set(ON_A_HUB)


@pytest.mark.parametrize("name", ON_A_HUB)
def test_a_missing_asset_is_named_with_its_command_and_nobody_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    asset = SETUPS[name].asset
    assert asset is not None
    assert not has_assets(name)
    with pytest.raises(MissingAssetError) as caught:
        make_env(name)
    assert str(caught.value) == (
        f"The task '{name}' needs the ManiSkill asset '{asset}', looked for in "
        f"{asset_folder(asset)}. Run: python -m mani_skill.utils.download_asset {asset} (needs "
        f"network), or choose a task that needs no assets: 'reverie tasks list' shows them."
    )


@pytest.mark.parametrize("arm", ["ms-reach"], indirect=True)
def test_reach_pays_closeness_twice_a_step_and_success_on_top(arm: GameEnv) -> None:
    arm.reset(1)
    for _ in range(25):
        way = arm.observe_state()[28:31]
        hand = np.clip(7 * way, -1, 1)
        result = arm.step(np.array([*hand, -1.0], dtype=np.float32))
    distance = float(np.linalg.norm(arm.observe_state()[28:31]))
    assert result.info["success"]
    assert distance <= 0.025
    assert result.reward == pytest.approx(2 * (2 - np.tanh(5 * distance)), abs=0.05)


@pytest.mark.parametrize("arm", ["ms-cartpole-balance-sparse"], indirect=True)
def test_a_sparse_cartpole_pays_one_per_library_step_while_the_pole_is_up(arm: GameEnv) -> None:
    arm.reset(1)
    rewards = [arm.step(np.zeros(1, dtype=np.float32)).reward for _ in range(60)]
    assert rewards[0] == 2.0
    assert set(rewards) == {0.0, 1.0, 2.0} or set(rewards) == {0.0, 2.0}
    assert rewards[-1] == 0.0


@pytest.mark.parametrize("arm", SCRIPTED, indirect=True)
def test_a_scripted_arm_solves_its_task(arm: GameEnv) -> None:
    expert = make_expert(arm.spec.name)
    scores = []
    for seed in range(2):
        arm.reset(seed)
        expert.start(arm, np.random.default_rng(0))
        for step in range(arm.spec.max_steps):
            result = arm.step(expert.act(arm, step))
        scores.append(result.info["score"])
    assert np.mean(scores) >= 0.5


@pytest.mark.long
@pytest.mark.parametrize("arm", ["ms-pull-cube-tool"], indirect=True)
def test_an_episode_is_the_same_whatever_was_played_before(arm: GameEnv) -> None:
    # With one scene for all episodes, the first broken-off one changed what followed for good.
    rng = numpy_rng(0, "check", arm.spec.name)
    actions = rng.uniform(-1, 1, (50, 7)).astype(np.float32)
    first = states_of(arm, 123, actions)
    for index in range(9):
        if index % 3 == 1:
            shape = (int(rng.integers(1, 50)), 7)
            states_of(arm, 1000 + index, rng.uniform(-1, 1, shape).astype(np.float32))
        if index % 3 == 2:
            states_of(arm, 123, actions[: int(rng.integers(1, 50))])
        np.testing.assert_array_equal(states_of(arm, 123, actions), first)


def states_of(arm: GameEnv, seed: int, actions: np.ndarray) -> np.ndarray:
    arm.reset(seed)
    states = [arm.observe_state()]
    for action in actions:
        arm.step(action)
        states.append(arm.observe_state())
    return np.array(states)


@pytest.mark.long
def test_mujoco_can_draw_in_a_process_in_which_maniskill_came_first() -> None:
    open_task("ms-reach").close()
    open_task("reacher-easy").close()
    code = (
        "from reverie.envs.registry import make_env\n"
        "make_env('ms-reach').close(); make_env('reacher-easy').reset(0)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


MAKE_OBJECTS = """
import warnings
from reverie.core.types import FrameSpec
from reverie.envs.registry import make_env
import numpy as np
for name in ("ms-pick-apple", "ms-push-banana"):
    env = make_env(name, frame_spec=FrameSpec(height_px=32, width_px=32))
    frame = env.reset(3)
    again = env.reset(3)
    assert np.array_equal(frame, again)
    for _ in range(3):
        result = env.step(np.zeros(7, dtype=np.float32))
    print(name, env.observe_state().shape[0], result.reward > 0, bool(result.frame.std() > 1))
    env.close()
"""


@pytest.mark.long
def test_tasks_on_a_hub_run_as_soon_as_their_files_exist(tmp_path: Path) -> None:
    open_task("ms-reach").close()
    write_boxes(tmp_path / "data" / "assets" / "mani_skill2_ycb")
    environment = {**os.environ, "MS_ASSET_DIR": str(tmp_path)}
    command = [sys.executable, "-c", MAKE_OBJECTS]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ms-")]
    assert lines == ["ms-pick-apple 45 True True", "ms-push-banana 35 True True"]


def write_boxes(folder: Path) -> None:
    """Write objects of the right names and layout: boxes of 5 cm."""
    import trimesh

    names = [SETUPS[name].model for name in ("ms-pick-apple", "ms-push-banana")]
    corner = [0.025] * 3
    box = {"min": [-value for value in corner], "max": corner}
    facts = {name: {"bbox": box, "scales": [1.0], "density": 1000} for name in names}
    for name in names:
        place = folder / "models" / str(name)
        place.mkdir(parents=True)
        mesh = trimesh.creation.box(extents=[0.05] * 3)
        mesh.export(place / "collision.ply")
        mesh.export(place / "textured.obj")
    (folder / "info_pick_v0.json").write_text(json.dumps(facts))
