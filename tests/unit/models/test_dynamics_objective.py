from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.objective import DynamicsObjective, ObjectiveConfig, RowPlan
from reverie.models.dynamics.shortcut import Labels
from tests.support.dreams import (
    AWKWARD,
    make_batch,
    make_net,
    make_world,
    random_latents,
    seeded,
    stir,
)

ROWS, FRAMES, LATE = 16, 6, 95
HEADS = HeadsConfig(num_distances=3, num_bins=11, terminating_tasks=("toy-fall",))
FINEST = AWKWARD.shortcut.finest_exponent


def make(**changes: Any) -> DynamicsObjective:
    config = ObjectiveConfig(total_steps=100, **changes)
    torch.manual_seed(2)
    objective = DynamicsObjective(make_net(), HEADS, config, latent_limit=2.5)
    stir(objective)
    return objective.train()


def loss_of(
    objective: DynamicsObjective, latents: Tensor, batch: Batch, *, step: int = LATE
) -> dict[str, Tensor]:
    report = objective(latents, batch, step=step, rng=seeded(3))
    return {**report.terms, "total": report.total.detach()}


@pytest.mark.parametrize(
    ("step", "plan"),
    [
        (0, RowPlan(16, 0, 0, 0)),
        (24, RowPlan(16, 0, 0, 0)),
        (25, RowPlan(12, 2, 2, 0)),
        (59, RowPlan(12, 2, 2, 0)),
        (60, RowPlan(8, 2, 2, 4)),
    ],
)
def test_rows_are_divided_exactly_and_by_the_clock(step: int, plan: RowPlan) -> None:
    assert make().plan_rows(ROWS, step) == plan
    assert plan.num_dynamics + plan.num_head == ROWS


def test_bootstrap_starts_at_a_quarter_of_the_run_and_at_most_at_ten_thousand() -> None:
    assert ObjectiveConfig(total_steps=400).first_bootstrap_step == 100
    assert ObjectiveConfig(total_steps=300_000).first_bootstrap_step == 10_000


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"total_steps": 0}, "total_steps must be at least 1, got 0"),
        ({"bootstrap_fraction": 1.5}, "bootstrap_fraction is a share from 0 to 1, got 1.5"),
        ({"head_fraction": -0.1}, "head_fraction is a share from 0 to 1, got -0.1"),
    ],
)
def test_shares_that_are_none_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ObjectiveConfig(**({"total_steps": 100} | change))
    assert text in str(caught.value)


@pytest.mark.parametrize("rows", range(1, 9))
def test_small_batches_are_divided_without_remainder(rows: int) -> None:
    plan = make().plan_rows(rows, LATE)
    assert plan.num_dynamics + plan.num_head == rows and min(plan.num_flow, plan.num_head) >= 0


def test_a_batch_of_heads_only_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch of 2 rows leaves none for the flow loss"):
        make(head_fraction=1.0).plan_rows(2, LATE)


def test_each_kind_of_row_carries_its_labels() -> None:
    objective, plan = make(), RowPlan(40, 40, 40, 10)
    labels = objective.draw_labels(plan, FRAMES, seeded())
    level, exponent = labels.signal_level, labels.step_exponent
    is_fine = exponent == FINEST
    assert level.shape == exponent.shape == (130, FRAMES)
    assert not (level % (8 // 2**exponent))[is_fine.logical_not()].any()
    assert is_fine[:40].all() and len(level[:40].unique()) == 8
    assert 0.4 < float(is_fine[40:80].float().mean()) < 0.6
    prefix_level, prefix_fine = level[80:120], is_fine[80:120]
    lengths = prefix_fine.sum(dim=1)
    assert lengths.min() == 1 and lengths.max() == FRAMES - 1
    for row, length in enumerate(lengths):
        assert prefix_fine[row, :length].all() and not prefix_fine[row, length:].any()
        assert (prefix_level[row, :length] == AWKWARD.commit_level).all()
    assert is_fine[120:].all() and (level[120:] == AWKWARD.commit_level).all()


def test_signals_are_drawn_per_frame() -> None:
    labels = make().draw_labels(RowPlan(200, 0, 0, 0), FRAMES, seeded())
    together = torch.corrcoef(labels.signal_level.T.float())
    assert (together - torch.eye(FRAMES)).abs().max() < 0.25


def test_training_visits_every_label_that_a_dream_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder around both; also whole frames of context at the label of a cached frame."""
    objective, rng = make(), seeded()
    trained, newest = set(), set()
    for step in range(200):
        plan = objective.plan_rows(ROWS, step)
        labels = objective.draw_labels(plan, FRAMES, rng)
        pairs = torch.stack([labels.signal_level, labels.step_exponent], dim=-1)
        committed = torch.tensor([AWKWARD.commit_level, FINEST])
        for row in pairs:
            is_committed = (row == committed).all(dim=1)
            for position, (level, exponent) in enumerate(row.tolist()):
                trained.add((position, level, exponent))
                if position and is_committed[:position].all():
                    newest.add((level, exponent))
    assert {exponent for _, _, exponent in trained} == set(range(FINEST + 1))

    world = make_world()
    dreamt: set[tuple[int, int, int]] = set()
    inner_step, inner_forward = world.net.step, world.net.forward
    inner_prepare, positions = world.net.prepare, [0]

    def record(labels: Labels, position: int) -> None:
        for time in range(labels.signal_level.shape[1]):
            pair = labels.signal_level[0, time], labels.step_exponent[0, time]
            dreamt.add((position + time, int(pair[0]), int(pair[1])))

    def prepare(*args: Any) -> Any:
        positions.append(args[1])
        return inner_prepare(*args)

    def step(*args: Any) -> Any:
        record(args[1], positions[-1])
        return inner_step(*args)

    def forward(*args: Any) -> Any:
        record(args[1], 0)
        return inner_forward(*args)

    monkeypatch.setattr(world.net, "prepare", prepare)
    monkeypatch.setattr(world.net, "step", step)
    monkeypatch.setattr(world.net, "forward", forward)
    state = world.start_from_latents(
        random_latents(AWKWARD, 1, 3), make_batch(1, 3), random_latents(AWKWARD, 1, 3, seed=1)
    )
    for _ in range(3 * AWKWARD.context):
        state, _ = world.step(state, torch.zeros(1, 3), world.draw_noise(1, rng))
    assert len({position for position, _, _ in dreamt}) == AWKWARD.context
    assert dreamt <= trained
    assert {pair[1:] for pair in dreamt} <= newest


def test_the_net_is_told_the_labels_that_were_drawn_and_the_teacher_half_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = make()
    calls: list[tuple[Any, ...]] = []
    inner = objective.net.forward

    def forward(*args: Any) -> Any:
        calls.append(args)
        return inner(*args)

    monkeypatch.setattr(objective.net, "forward", forward)
    latents = random_latents(AWKWARD, ROWS, FRAMES)
    loss_of(objective, latents, make_batch(ROWS, FRAMES), step=30)
    assert len(calls) == 3
    plan = objective.plan_rows(ROWS, 30)
    drawn = objective.draw_labels(plan, FRAMES, seeded(3))
    assert torch.equal(calls[0][1].signal_level, drawn.signal_level)
    assert torch.equal(calls[0][1].step_exponent, drawn.step_exponent)
    rows = slice(plan.num_flow, plan.num_dynamics)
    is_coarse = drawn.step_exponent[rows] < FINEST
    _, _, told, mask = calls[0]
    for _, label, inputs, seen in calls[1:]:
        assert torch.equal(inputs.actions, told.actions[rows])
        assert torch.equal(inputs.has_action, told.has_action[rows])
        assert torch.equal(seen, mask[rows])
        wanted = drawn.step_exponent[rows] + is_coarse.long()
        assert torch.equal(label.step_exponent, wanted)
    assert torch.equal(calls[1][0], calls[0][0][rows])
    assert torch.equal(calls[2][0][~is_coarse], calls[1][0][~is_coarse])
    assert not torch.allclose(calls[2][0][is_coarse], calls[1][0][is_coarse])


def test_any_flow_or_mixed_row_may_be_image_only_and_no_other() -> None:
    objective, rng = make(), seeded()
    plan = objective.plan_rows(ROWS, LATE)
    drawn = torch.stack([objective.draw_image_only(plan, rng) for _ in range(100)])
    candidates = plan.num_flow + plan.num_mixed
    assert drawn[:, :candidates].any(dim=0).all() and not drawn[:, candidates:].any()
    assert (drawn.sum(dim=1) == round(0.3 * ROWS)).all()


def test_a_row_is_image_only_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = make()
    seen: list[tuple[Any, ...]] = []
    inner = objective.net.forward

    def forward(*args: Any) -> Any:
        seen.append(args)
        return inner(*args)

    monkeypatch.setattr(objective.net, "forward", forward)
    loss_of(objective, random_latents(AWKWARD, ROWS, FRAMES), make_batch(ROWS, FRAMES))
    _, _, inputs, mask = seen[0]
    alone = torch.eye(FRAMES, dtype=torch.bool)
    is_blind = (mask == alone).all(dim=(1, 2))
    plan = objective.plan_rows(ROWS, LATE)
    assert int(is_blind.sum()) == round(0.3 * ROWS)
    assert not is_blind[plan.num_flow + plan.num_mixed :].any()
    assert not inputs.has_action[is_blind].any()
    sighted = inputs.has_action[~is_blind]
    assert sighted[:, 1:].all()
    for row in mask[~is_blind]:
        assert int(row.sum()) == sum(min(t + 1, AWKWARD.context) for t in range(FRAMES))


def test_changing_a_frame_changes_no_earlier_target_nor_prediction_and_none_in_blind_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Law 3.7-6: each frame's error is recorded where the net and its teacher meet."""
    latents, changed = (random_latents(AWKWARD, ROWS, FRAMES) for _ in range(2))
    changed[:, 3] += 1.0
    errors, masks, levels = [], [], []
    for clean in (latents, changed):
        objective = make()
        inner_net, inner_target = objective.net.forward, objective._targets  # noqa: SLF001
        kept: dict[str, Tensor] = {}

        def forward(*args: Any, inner: Any = inner_net, kept: dict[str, Tensor] = kept) -> Any:
            out = inner(*args)
            kept.setdefault("clean", out[0])
            kept.setdefault("mask", args[3])
            kept.setdefault("level", args[1].signal_level)
            return out

        def target(*args: Any, inner: Any = inner_target, kept: dict[str, Tensor] = kept) -> Any:
            kept["target"] = inner(*args)
            return kept["target"]

        monkeypatch.setattr(objective.net, "forward", forward)
        monkeypatch.setattr(objective, "_targets", target)
        loss_of(objective, clean, make_batch(ROWS, FRAMES), step=30)
        errors.append((kept["clean"] - kept["target"]).detach().square().mean(dim=(2, 3)))
        masks.append(kept["mask"])
        levels.append(kept["level"])
    same = errors[0] == errors[1]
    assert same[:, :3].all()
    is_blind = (masks[0] == torch.eye(FRAMES, dtype=torch.bool)).all(dim=(1, 2))
    assert is_blind.any() and same[is_blind][:, 4:].all()
    # Where frame 3 was drawn as pure noise, its content is seen by nobody.
    is_noise = levels[0][:, 3] == 0
    assert not same[~is_blind & ~is_noise][:, 4:].all(dim=1).any()
    assert not same[~is_noise, 3].any()


def test_a_net_that_is_off_by_a_constant_loses_the_ramp_times_its_square() -> None:
    objective = make()
    with torch.no_grad():
        objective.net.flow_head.weight.zero_()
    latents = torch.full((ROWS, FRAMES, 6, 5), 0.5)
    for step in (0, 30):
        labels = objective.draw_labels(objective.plan_rows(ROWS, step), FRAMES, seeded(3))
        weight = 0.9 * labels.signal_level / 8 + 0.1
        # A net of zeros is its own teacher: coarse frames are exact, finest ones off by 1/2.
        off = torch.where(labels.step_exponent == FINEST, 0.25, 0.0)
        terms = loss_of(objective, latents, make_batch(ROWS, FRAMES), step=step)
        assert_close(terms["flow"], (weight * off).mean())
        assert float(terms["finest_mse"]) == pytest.approx(0.25)


@pytest.mark.parametrize("lane", ["prev_rewards", "prev_actions", "padding", "terminal of other"])
def test_changing_a_masked_entry_changes_no_loss(lane: str) -> None:
    batch, latents = make_batch(ROWS, FRAMES), random_latents(AWKWARD, ROWS, FRAMES)
    batch.action_mask[:, 2] = 0.0
    junk = replace(
        batch,
        prev_rewards=batch.prev_rewards.clone(),
        prev_actions=batch.prev_actions.clone(),
        is_terminal=batch.is_terminal.clone(),
    )
    if lane == "prev_rewards":
        junk.prev_rewards[batch.is_first] = 9.0
    elif lane == "prev_actions":
        junk.prev_actions[batch.is_first] = 9.0
    elif lane == "padding":
        junk.prev_actions[:, :, 2] = 9.0
    else:
        others = [row for row, task in enumerate(batch.task) if task == "toy-paint"]
        junk.is_terminal[others] = True
    before, after = (loss_of(make(), latents, x) for x in (batch, junk))
    assert before.keys() == after.keys() >= {"flow", "reward", "continue"}
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_real_entries_do_change_the_loss() -> None:
    batch, latents = make_batch(ROWS, FRAMES), random_latents(AWKWARD, ROWS, FRAMES)
    before = loss_of(make(), latents, batch)
    rewards = loss_of(make(), latents, replace(batch, prev_rewards=batch.prev_rewards + 1.0))
    actions = loss_of(make(), latents, replace(batch, prev_actions=-batch.prev_actions))
    assert not torch.equal(before["reward"], rewards["reward"])
    assert torch.equal(before["flow"], rewards["flow"])
    assert not torch.equal(before["flow"], actions["flow"])


def test_head_rows_add_nothing_to_the_flow_loss() -> None:
    objective, batch = make(), make_batch(ROWS, FRAMES)
    latents = random_latents(AWKWARD, ROWS, FRAMES)
    plan = objective.plan_rows(ROWS, LATE)
    changed = latents.clone()
    changed[plan.num_dynamics :] += 1.0
    before, after = (loss_of(make(), x, batch) for x in (latents, changed))
    assert torch.equal(before["flow"], after["flow"])
    assert not torch.equal(before["reward"], after["reward"])


def test_where_no_task_can_end_there_is_no_continue_loss() -> None:
    torch.manual_seed(2)
    heads = replace(HEADS, terminating_tasks=())
    objective = DynamicsObjective(
        make_net(), heads, ObjectiveConfig(total_steps=100), latent_limit=2.5
    )
    terms = loss_of(objective, random_latents(AWKWARD, ROWS, FRAMES), make_batch(ROWS, FRAMES))
    assert "continue" not in terms


def test_every_parameter_learns_once_all_kinds_of_rows_are_there() -> None:
    objective = make()
    report = objective(
        random_latents(AWKWARD, ROWS, FRAMES), make_batch(ROWS, FRAMES), step=LATE, rng=seeded(3)
    )
    report.total.backward()
    silent = [k for k, x in objective.named_parameters() if x.grad is None or not x.grad.any()]
    assert silent == []
    assert all(not term.requires_grad and term.ndim == 0 for term in report.terms.values())


def test_the_same_generator_gives_the_same_bits() -> None:
    batch, latents = make_batch(ROWS, FRAMES), random_latents(AWKWARD, ROWS, FRAMES)
    first, second = (loss_of(make(), latents, batch) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("paired", [0.0, 0.5])
def test_a_row_without_weight_teaches_no_flow_and_equal_weights_change_nothing(
    paired: float,
) -> None:
    objective = make(paired_fraction=paired, head_fraction=0.0)
    latents, batch = random_latents(AWKWARD, ROWS, FRAMES), make_batch(ROWS, FRAMES)
    plain = objective(latents, batch, step=0, rng=seeded(3)).terms["flow"]

    def flow_of(weights: Tensor, changed: Tensor = latents) -> Tensor:
        return objective(changed, batch, step=0, rng=seeded(3), row_weights=weights).terms["flow"]

    assert torch.equal(flow_of(torch.ones(ROWS)), plain)
    weights = torch.ones(ROWS)
    weights[3] = 0.0
    junk = latents.clone()
    junk[3] = 2.0
    assert torch.equal(flow_of(weights, junk), flow_of(weights))
    assert not torch.equal(flow_of(torch.ones(ROWS), junk), plain)
