"""What dreams as environments keep, over world models of both families."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from torch import Tensor
from torch.testing import assert_close

from reverie.core.errors import ConfigError, ReverieError, ShapeError
from reverie.models.api import StepContext, WorldModel
from reverie.models.dream_env.dreams import DreamConfig, Dreams
from reverie.models.dream_env.sb3 import make_sb3_env
from reverie.models.dream_env.single import DreamEnv
from reverie.models.dream_env.vector import DreamVectorEnv
from tests.contract.test_world_model import MAKERS
from tests.support.dreams import make_batch, random_frames, seeded

KINDS = ("classic, stacked frames", "shortcut, conv")
ROWS, POOL = 3, 5
NEVER = DreamConfig(horizon=4, end_threshold=1.0)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> WorldModel:
    return MAKERS[request.param]()


def starts_of(world: WorldModel, *, rows: int = POOL, count: int | None = None) -> Any:
    count = count or world.max_context
    spec = world.tokenizer.frame_spec
    frames = random_frames(spec.height_px, spec.width_px, rows=rows, num_frames=count)
    context = make_batch(rows, count, action_width=world.action_width, frames=frames)
    return world.start(context, world.draw_context_noise(rows, count, seeded()))


def make_vector(world: WorldModel, mode: AutoresetMode, **settings: Any) -> DreamVectorEnv:
    settings = {"config": NEVER} | settings
    return DreamVectorEnv(world, starts_of(world), ROWS, autoreset_mode=mode, **settings)


def actions_at(env: DreamVectorEnv, step: int) -> np.ndarray:
    rng = np.random.default_rng(step)
    return rng.uniform(-1, 1, env.action_space.shape or ()).astype(np.float32)


@pytest.mark.parametrize("observation", ["features", "latent", "frame"])
def test_gymnasiums_own_checker_is_content(world: WorldModel, observation: Any) -> None:
    config = DreamConfig(horizon=5, observation=observation)
    env = DreamEnv(world, starts_of(world), config=config)
    check_env(env, skip_render_check=True)
    picture = env.render()
    assert picture.shape == world.tokenizer.frame_spec.shape and picture.dtype == np.uint8


def test_the_same_seed_dreams_the_same(world: WorldModel) -> None:
    seen = []
    for _ in range(2):
        env = make_vector(world, AutoresetMode.NEXT_STEP)
        first, _ = env.reset(seed=7)
        steps = [env.step(actions_at(env, step)) for step in range(9)]
        seen.append([first] + [step[0] for step in steps] + [step[1] for step in steps])
        assert env.reset()[0].shape == first.shape
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))
    other, _ = make_vector(world, AutoresetMode.NEXT_STEP).reset(seed=8)
    assert not np.array_equal(other, seen[0][0])


def test_a_dream_is_cut_at_its_horizon_which_is_no_death(world: WorldModel) -> None:
    env = make_vector(world, AutoresetMode.NEXT_STEP)
    env.reset(seed=1)
    flags = [env.step(actions_at(env, step))[2:4] for step in range(NEVER.horizon)]
    assert not any(terminated.any() for terminated, _ in flags)
    assert [bool(truncated.all()) for _, truncated in flags] == [False, False, False, True]


def test_next_step_mode_shows_the_end_and_begins_anew_with_the_next_call(
    world: WorldModel,
) -> None:
    env = make_vector(world, AutoresetMode.NEXT_STEP)
    env.reset(seed=1)
    for step in range(NEVER.horizon):
        last = env.step(actions_at(env, step))
    assert last[3].all()
    observed, rewards, terminated, truncated, _ = env.step(actions_at(env, 9))
    assert not rewards.any() and not terminated.any() and not truncated.any()
    assert not np.array_equal(observed, last[0])


def test_same_step_mode_keeps_the_last_observation_in_infos(world: WorldModel) -> None:
    env = make_vector(world, AutoresetMode.SAME_STEP)
    env.reset(seed=1)
    for step in range(NEVER.horizon):
        observed, _, _, truncated, infos = env.step(actions_at(env, step))
    assert truncated.all() and infos["_final_obs"].all()
    assert infos["final_obs"][0].shape == observed[0].shape
    assert not np.array_equal(infos["final_obs"][0], observed[0])
    assert not env.step(actions_at(env, 5))[3].any()


def test_disabled_mode_waits_for_a_masked_reset(world: WorldModel) -> None:
    env = make_vector(world, AutoresetMode.DISABLED)
    env.reset(seed=1)
    for step in range(NEVER.horizon):
        before, *_ = env.step(actions_at(env, step))
    with pytest.raises(ReverieError, match="3 dreams have ended"):
        env.step(actions_at(env, 5))
    mask = np.array([True, False, True])
    after, _ = env.reset(options={"reset_mask": mask})
    assert np.array_equal(after[1], before[1]) and not np.array_equal(after[0], before[0])


def test_a_dream_ends_where_the_model_says_so(world: WorldModel) -> None:
    # 'toy-fall' can end, 'toy-paint' cannot; any chance at all is enough here.
    config = DreamConfig(horizon=50, end_threshold=1e-6)
    starts = starts_of(world)
    names = ("toy-fall", "toy-paint")
    for index, name in enumerate(names):
        rows = [row for row in range(POOL) if starts.task[row] == name]
        env = DreamVectorEnv(world, starts.select(rows), 2, config=config)
        env.reset(seed=2)
        terminated = env.step(actions_at(env, 0))[2]
        assert terminated.all() if index == 0 else not terminated.any()


def test_a_gauge_that_reads_too_much_cuts_a_dream_and_says_so(world: WorldModel) -> None:
    def alarm(_: WorldModel, step: StepContext) -> Tensor:
        return torch.arange(step.action.shape[0]).float()

    config = DreamConfig(horizon=50, end_threshold=1.0, gauge_limit=1.5)
    env = make_vector(world, AutoresetMode.NEXT_STEP, config=config, gauge=alarm)
    env.reset(seed=3)
    _, _, terminated, truncated, infos = env.step(actions_at(env, 0))
    assert truncated.tolist() == infos["distrusted"].tolist() == [False, False, True]
    assert not terminated.any()


def test_rows_that_begin_anew_leave_the_others_as_they_were(world: WorldModel) -> None:
    starts = starts_of(world)
    whole, part = (Dreams(world, starts, ROWS, config=NEVER) for _ in range(2))
    for dreams in (whole, part):
        dreams.rng.manual_seed(4)
        dreams.restart()
        dreams.step(torch.zeros(ROWS, world.action_width))
    part.restart([1])
    state = torch.Generator().manual_seed(6).get_state()
    for _ in range(2 * world.max_context):
        for dreams in (whole, part):
            dreams.rng.set_state(state)
            dreams.step(torch.full((ROWS, world.action_width), 0.3))
        for row in (0, 2):
            assert_close(part.state.latent[row], whole.state.latent[row], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(part.state.latent[1], whole.state.latent[1], atol=1e-4)


def test_a_menu_makes_actions_discrete(world: WorldModel) -> None:
    menu = np.array([[-1.0, 0, 0], [1.0, 0, 0]], np.float32)
    env = make_vector(world, AutoresetMode.NEXT_STEP, actions=menu)
    assert env.single_action_space.n == 2  # type: ignore[attr-defined]
    env.reset(seed=1)
    chosen, *_ = env.step(np.array([0, 1, 1]))
    env.reset(seed=1)
    same, *_ = make_stepped(world, menu[[0, 1, 1]])
    assert np.array_equal(chosen, same)
    with pytest.raises(ConfigError, match="at most 3 lanes"):
        make_vector(world, AutoresetMode.NEXT_STEP, actions=np.zeros((2, 4), np.float32))


def make_stepped(world: WorldModel, actions: np.ndarray) -> tuple[Any, ...]:
    env = make_vector(world, AutoresetMode.NEXT_STEP)
    env.reset(seed=1)
    return env.step(actions)


def test_starts_without_a_full_context_are_refused_when_rows_must_be_joined() -> None:
    world = MAKERS["shortcut, conv"]()
    dreams = Dreams(world, starts_of(world, count=2), ROWS, config=NEVER)
    dreams.restart()
    dreams.step(torch.zeros(ROWS, world.action_width))
    with pytest.raises(ShapeError, match="Start each from a full context"):
        dreams.restart([0])


@pytest.mark.parametrize("kind", KINDS)
def test_ppo_of_stable_baselines3_trains_on_dreams_unmodified(kind: str) -> None:
    sb3: Any = pytest.importorskip("stable_baselines3")
    world = MAKERS[kind]()
    env = make_vector(world, AutoresetMode.SAME_STEP)
    model = sb3.PPO(
        "MlpPolicy",
        make_sb3_env(env),
        n_steps=8,
        batch_size=12,
        n_epochs=2,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [8]},
    )
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(48)
    after = list(model.policy.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.isfinite(value).all() for value in after)


def test_the_adapter_tells_a_cut_from_a_death_and_wants_same_step_resets() -> None:
    pytest.importorskip("stable_baselines3")
    world = MAKERS[KINDS[0]]()
    wrapped = make_sb3_env(make_vector(world, AutoresetMode.SAME_STEP))
    wrapped.seed(1)
    wrapped.reset()
    for _ in range(NEVER.horizon):
        wrapped.step_async(np.zeros((ROWS, world.action_width), np.float32))
        observed, _, dones, infos = wrapped.step_wait()
    assert dones.all()
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert all(info["terminal_observation"].shape == observed[0].shape for info in infos)
    with pytest.raises(ConfigError, match=r"AutoresetMode\.SAME_STEP"):
        make_sb3_env(make_vector(world, AutoresetMode.NEXT_STEP))
