"""A decision: what it finds, what it leaves alone, and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core.errors import ConfigError, ShapeError
from reverie.core.types import ActionSpec
from reverie.planning import gauges, objectives
from reverie.planning.optimisers import SearchConfig, SearchStart
from reverie.planning.plan import Plan, PlanConfig, plan
from tests.support.dreams import make_batch, make_tokenizer, random_frames, seeded
from tests.support.dreams import make_world as make_shortcut_world
from tests.support.worlds import PlainState, RuleWorld, action_rule, noisy_rule

SMALL = PlanConfig(
    horizon=4,
    num_executed=2,
    num_dreams=2,
    num_finalists=3,
    search=SearchConfig(num_candidates=24, num_elites=6, num_iterations=4),
)
ACTION = ActionSpec(width=3)


def first_lane(world: Any, context: Any) -> Tensor:
    """In the world of ``action_rule``, how red the picture is: the action's first lane."""
    return context.prediction.latent[..., 0].mean(dim=1)


def red_minus_green(world: Any, context: Any) -> Tensor:
    latent = context.prediction.latent
    return (latent[..., 0] - latent[..., 1]).mean(dim=1)


def begin(world: RuleWorld) -> PlainState:
    spec = world.latent_spec
    latent = torch.rand((1, spec.num_tokens, spec.num_channels), generator=seeded(3))
    return PlainState(latent=latent, num_frames=8, task=("toy-paint",))


def decide(gauge: Any, config: PlanConfig = SMALL, *, seed: int = 0, **more: Any) -> Plan:
    world = RuleWorld(more.pop("rule", action_rule))
    more.setdefault("action", ACTION)
    return plan(world, begin(world), gauge, config=config, rng=seeded(seed), **more)


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "cma-es"])
def test_every_optimiser_plans_towards_the_gauge(name: str) -> None:
    config = replace(
        SMALL,
        optimiser=name,
        search=SearchConfig(num_candidates=32, num_elites=6, num_iterations=8),
    )
    found = decide(red_minus_green, config)
    assert found.actions[:, 0].mean() > 0.5 and found.actions[:, 1].mean() < -0.5
    assert found.beats_noop


def test_doing_nothing_wins_only_where_it_may_be_tried() -> None:
    def stillness(world: Any, context: Any) -> Tensor:
        return -context.action.abs().sum(dim=1)

    assert not decide(stillness).actions.any()
    assert decide(stillness, replace(SMALL, tries_noop=False)).actions.any()


def test_the_same_seed_makes_the_same_plan() -> None:
    plans = [decide(first_lane, rule=noisy_rule, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(plans[0].actions, plans[1].actions) and plans[0].value == plans[1].value
    assert not torch.equal(plans[0].actions, plans[2].actions)


def shortcut_world() -> tuple[Any, Any]:
    from tests.support.dreams import AWKWARD

    tokenizer = make_tokenizer("conv")
    spec = tokenizer.spec
    config = replace(
        AWKWARD,
        num_latent_tokens=spec.num_tokens,
        num_latent_channels=spec.num_channels,
        packing=1,
    )
    world = make_shortcut_world(config, tokenizer=tokenizer)
    size = tokenizer.frame_spec
    frames = random_frames(size.height_px, size.width_px, rows=1, num_frames=3)
    context = make_batch(1, 3, frames=frames)
    return world, world.start(context, world.draw_context_noise(1, 3, seeded()))


def test_a_real_dream_can_be_stepped_after_planning_as_if_nothing_had_happened() -> None:
    noise_seed, action = 9, torch.full((1, 3), 0.3)
    world, state = shortcut_world()
    _, untouched = world.step(state, action, world.draw_noise(1, seeded(noise_seed)))
    world, state = shortcut_world()
    plan(world, state, objectives.rewarding(), config=SMALL, action=ACTION, rng=seeded())
    _, after = world.step(state, action, world.draw_noise(1, seeded(noise_seed)))
    assert torch.equal(untouched.latent, after.latent)


def test_candidates_share_the_stored_context_of_a_real_dream() -> None:
    world, state = shortcut_world()
    seen = []

    def spy(world: Any, context: Any) -> Tensor:
        seen.append(context.before.cache.shared.keys)
        return context.prediction.reward

    plan(world, state, spy, config=SMALL, action=ACTION, rng=seeded())
    # One row for all candidates and dreams, and every step of an iteration reads the same memory.
    assert {keys.shape[1] for keys in seen} == {1}
    assert len({keys.data_ptr() for keys in seen[: SMALL.horizon]}) == 1


def test_equal_candidates_are_worth_the_same_under_common_noise() -> None:
    told: list[Tensor] = []

    def value(readings: Any) -> Tensor:
        told.append(readings["gauge"])
        return readings["gauge"].sum(dim=1)

    objective = objectives.Objective(gauges={"gauge": first_lane}, value=value)
    same = torch.full((6, 4, 3), 0.2)
    decide(objective, rule=noisy_rule, proposals=[lambda *_: same])
    first_iteration = told[1].reshape(24, SMALL.num_dreams, 4)[-6:]
    assert torch.equal(first_iteration, first_iteration[:1].expand_as(first_iteration))


def test_the_value_of_a_plan_is_not_the_luckiest_score() -> None:
    def luck(world: Any, context: Any) -> Tensor:
        # Depends on noise and on the action, but no action is better than another on average.
        latent = context.prediction.latent.flatten(1)
        return torch.sin(1e4 * latent.sum(dim=1))

    values = [decide(luck, rule=noisy_rule, seed=seed).value for seed in range(30)]
    one = replace(SMALL, num_finalists=1)
    assert abs(sum(values) / 30) < 1.5
    # Each of 97 sums of 4 independent sines has std 1.4 / sqrt(2): the luckiest is above 2.
    assert sum(decide(luck, one, rule=noisy_rule, seed=s).value for s in range(30)) / 30 < 0.8


def test_a_proposal_that_is_best_wins_even_without_search() -> None:
    best = torch.tensor([1.0, -1.0, 0.25]).expand(1, 4, 3)
    narrow = replace(SMALL, search=SearchConfig(num_candidates=4, num_elites=2, first_std=0.01))
    found = decide(red_minus_green, narrow, proposals=[lambda *_: best])
    assert torch.equal(found.actions, best[0])


def test_a_warm_start_is_tried_as_it_is() -> None:
    best = torch.tensor([1.0, -1.0, 0.5]).expand(4, 3)
    narrow = replace(
        SMALL, search=SearchConfig(num_candidates=4, num_elites=2, num_iterations=1, first_std=0.01)
    )
    warm = SearchStart(best, torch.ones_like(best))
    found = decide(red_minus_green, narrow, warm=warm)
    assert found.actions[:, 0].min() > 0.95
    cold = replace(narrow, is_warm=False)
    assert decide(red_minus_green, cold, warm=warm).actions[:, 0].max() < 0.5


def test_held_actions_stay_the_same_for_as_long_as_asked() -> None:
    found = decide(first_lane, replace(SMALL, hold=2))
    assert found.actions.shape == (4, 3)
    assert torch.equal(found.actions[0], found.actions[1])
    assert torch.equal(found.actions[2], found.actions[3])


def test_discrete_actions_are_dreamed_and_returned_one_hot() -> None:
    discrete = ActionSpec(width=3, kind="discrete")
    found = decide(red_minus_green, action=discrete)
    assert found.actions.tolist() == [[1.0, 0.0, 0.0]] * 4


def test_narrow_tasks_leave_the_models_other_lanes_at_zero() -> None:
    seen: list[Tensor] = []

    def spy(world: Any, context: Any) -> Tensor:
        seen.append(context.action)
        return first_lane(world, context)

    found = decide(spy, action=ActionSpec(width=2))
    assert found.actions.shape == (4, 2)
    assert all(action.shape[1] == 3 and not action[:, 2].any() for action in seen)


def risky_from(step: int) -> Any:
    def gauge(world: Any, context: Any) -> Tensor:
        is_late = context.before.num_frames - 8 >= step
        return torch.full((context.before.num_rows,), 0.9 if is_late else 0.1)

    return gauge


def test_when_every_finalist_is_flagged_only_the_part_before_the_flag_is_executed() -> None:
    objective = objectives.penalised(risky_from(3), beta=0.0, limit=0.5)
    found = decide(objective)
    assert found.abstains and found.num_trusted == 3
    assert [found.num_to_execute(wanted) for wanted in (2, 4)] == [2, 3]
    at_once = decide(objectives.penalised(risky_from(0), beta=0.0, limit=0.5))
    assert at_once.abstains and at_once.num_to_execute(4) == 1


def test_without_flags_the_whole_plan_is_trusted() -> None:
    found = decide(objectives.penalised(risky_from(99), beta=1.0, limit=0.5))
    assert not found.abstains and found.num_trusted == 4
    assert not decide(first_lane).abstains


def test_a_gauge_that_reads_nan_cannot_be_planned_with() -> None:
    def nan(world: Any, context: Any) -> Tensor:
        return torch.full((context.before.num_rows,), torch.nan)

    with pytest.raises(ShapeError, match="have a value that is not finite"):
        decide(nan)


def test_a_goal_picture_is_planned_towards() -> None:
    world = RuleWorld(action_rule)
    side = world.tokenizer.frame_spec.height_px
    picture = torch.tensor([230, 20, 128], dtype=torch.uint8).expand(side, side, 3)
    goal = gauges.goal_latent(world, picture)
    config = replace(
        SMALL, horizon=2, search=SearchConfig(num_candidates=64, num_elites=8, num_iterations=10)
    )
    found = plan(
        world, begin(world), gauges.goal_distance(goal), config=config, action=ACTION, rng=seeded()
    )
    assert torch.allclose(found.actions[-1], torch.tensor([0.8, -0.84, 0.0]), atol=0.15)
    with pytest.raises(ShapeError, match="The goal picture is"):
        gauges.goal_latent(world, picture[1:])


def test_weighted_gauges_add_up() -> None:
    both = gauges.weighted({first_lane: 2.0, red_minus_green: -1.0})
    seen: list[tuple[Tensor, ...]] = []

    def spy(world: Any, context: Any) -> Tensor:
        parts = (first_lane(world, context), red_minus_green(world, context))
        seen.append((both(world, context), 2.0 * parts[0] - parts[1]))
        return parts[0]

    decide(spy)
    assert all(torch.allclose(got, wanted) for got, wanted in seen)


def test_a_ramp_turns_a_reading_into_a_doubt_between_zero_and_one() -> None:
    doubt = gauges.ramp(first_lane, low=0.4, high=0.6)
    seen: list[tuple[Tensor, Tensor]] = []

    def spy(world: Any, context: Any) -> Tensor:
        seen.append((first_lane(world, context), doubt(world, context)))
        return seen[-1][1]

    decide(spy)
    readings, doubts = (torch.cat(column) for column in zip(*seen, strict=True))
    assert torch.allclose(doubts, ((readings - 0.4) / 0.2).clamp(0, 1), atol=1e-6)
    assert doubts.min() == 0.0 and doubts.max() == 1.0
    with pytest.raises(ConfigError, match="A ramp rises from low to high, got 0.4 and 0.2"):
        gauges.ramp(first_lane, low=0.4, high=0.2)


def test_plans_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="must not exceed the horizon, and hold must divide it"):
        PlanConfig(horizon=4, num_executed=5)
    with pytest.raises(ConfigError, match="must not exceed the horizon, and hold must divide it"):
        PlanConfig(horizon=5, num_executed=1, hold=2)
    with pytest.raises(ConfigError, match="must be at least 1, got 0, 16, 1 and 2"):
        PlanConfig(horizon=0)
    with pytest.raises(ConfigError, match="num_finalists must lie between 1 and the 32"):
        PlanConfig(num_finalists=33)
