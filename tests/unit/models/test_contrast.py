"""Laws of the contrast over actions: it asks for what actions change, and for nothing else."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.errors import ConfigError
from reverie.models.classic.contrast import contrast_actions, draw_candidates
from reverie.models.classic.mdn_rnn import MdnRnn, MdnRnnConfig
from reverie.models.classic.objective import (
    LatentWindows,
    MdnRnnObjective,
    MdnRnnObjectiveConfig,
)
from tests.support.dreams import seeded

ROWS, STEPS, CHANNELS, UNITS = 7, 2, 3, 5


def make_rnn(*, is_binary: bool = False, channels: int = CHANNELS) -> MdnRnn:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return MdnRnn(
            MdnRnnConfig(
                latent_channels=channels,
                action_width=1,
                num_units=UNITS,
                num_components=1,
                is_binary_action=is_binary,
                has_linear_step=True,
            )
        )


def make_case(rows: int = ROWS, seed: int = 1) -> dict[str, Any]:
    rng = seeded(seed)
    actions = torch.randn(rows, STEPS, 1, generator=rng)
    return {
        "state": (
            torch.randn(rows, UNITS, generator=rng),
            torch.randn(rows, UNITS, generator=rng),
        ),
        "latents": torch.randn(rows, STEPS, CHANNELS, generator=rng),
        "candidates": draw_candidates(actions, 4, rng),
        "target": torch.randn(rows, CHANNELS, generator=rng),
        "counts": torch.ones(rows, dtype=torch.bool),
    }


def test_an_m_that_ignores_actions_pays_the_logarithm_and_is_pushed_nowhere_else() -> None:
    rnn, case = make_rnn(), make_case()
    with torch.no_grad():
        rnn.lstm.inputs.weight[:, CHANNELS] = 0.0
    losses = contrast_actions(rnn, **case)
    read = case["candidates"].flatten(2)
    others = (read != read[:, :1]).any(dim=2).sum(dim=1)
    assert_close(losses, torch.log(1.0 + others))
    losses.mean().backward()
    for name, weight in rnn.named_parameters():
        if weight.grad is None:
            continue
        moved = weight.grad.clone()
        if name == "lstm.inputs.weight":
            assert moved[:, CHANNELS].abs().max() > 0
            moved[:, CHANNELS] = 0.0
        assert moved.abs().max() < 1e-6, name


def train_on(world: str, num_steps: int) -> float:
    """Minimise the contrast alone on fresh batches; return it on another one, in parts of ln c."""
    torch.set_num_threads(1)
    rnn, rng = make_rnn(channels=2), seeded(5)
    optimizer = torch.optim.Adam(rnn.parameters(), lr=0.02)

    def draw(rows: int) -> Tensor:
        latents = torch.randn(rows, 2, 2, generator=rng)
        actions = torch.randn(rows, 2, 1, generator=rng)
        target = latents[:, -1] + 0.3 * torch.randn(rows, 2, generator=rng)
        shown = {"at once": actions[:, 1], "later": actions[:, 0], "never": torch.zeros(rows, 1)}
        target = target + 2 * shown[world]
        zero = torch.zeros(rows, UNITS)
        first = 2 - num_steps
        state = (zero, zero)
        if first:
            read = rnn.to_inputs(latents[:, 0], actions[:, 0], torch.zeros(rows, dtype=torch.bool))
            state = rnn.lstm.step(read, zero, zero)
        return contrast_actions(
            rnn,
            state,
            latents[:, first:],
            draw_candidates(actions[:, first:], 6, rng),
            target,
            torch.ones(rows, dtype=torch.bool),
        ).mean()

    for _ in range(250):
        optimizer.zero_grad()
        draw(64).backward()
        optimizer.step()
    with torch.no_grad():
        return float(draw(2000)) / math.log(8)


@pytest.mark.parametrize(
    ("world", "num_steps", "is_learned"),
    [("at once", 1, True), ("never", 1, False), ("later", 1, False), ("later", 2, True)],
)
def test_it_falls_where_the_perturbed_actions_show_and_nowhere_else(
    world: str, num_steps: int, *, is_learned: bool
) -> None:
    found = train_on(world, num_steps)
    # Distances are measured in their own median: even a perfect M stays near 0.8.
    assert found < 0.96 if is_learned else 0.99 < found < 1.05


def test_permuted_rows_give_permuted_losses() -> None:
    rnn, case = make_rnn(), make_case()
    order = torch.randperm(ROWS, generator=seeded(2))
    case["counts"][3] = False
    turned = {
        name: tuple(part[order] for part in value) if name == "state" else value[order]
        for name, value in case.items()
    }
    assert_close(contrast_actions(rnn, **turned), contrast_actions(rnn, **case)[order])


def test_what_lies_in_a_row_that_does_not_count_changes_nothing() -> None:
    rnn, case = make_rnn(), make_case()
    case["counts"][2] = False
    before = contrast_actions(rnn, **case)
    case["latents"][2], case["target"][2] = 1e4, -1e4
    after = contrast_actions(rnn, **case)
    assert torch.equal(after, before) and after[2] == 0 and (after[3:] > 0).all()
    case["counts"][:] = False
    assert torch.equal(contrast_actions(rnn, **case), torch.zeros(ROWS))


def test_actions_that_m_reads_alike_do_not_compete() -> None:
    rnn, case = make_rnn(is_binary=True), make_case()
    case["candidates"] = case["candidates"].abs() + 0.1
    assert torch.equal(contrast_actions(rnn, **case), torch.zeros(ROWS))
    case["candidates"][:, 2] *= -1
    assert (contrast_actions(rnn, **case) > 0).all()


def test_candidates_are_the_true_actions_their_opposites_and_other_rows_never_the_own() -> None:
    actions = torch.arange(1.0, 6.0)[:, None, None].expand(5, 3, 1)
    drawn = draw_candidates(actions, 40, seeded(3))
    assert drawn.shape == (5, 42, 3, 1)
    assert torch.equal(drawn[:, 0], actions) and torch.equal(drawn[:, 1], -actions)
    assert (drawn[:, 2:] != actions[:, None]).all()
    assert set(drawn[0, 2:, 0, 0].tolist()) == {2.0, 3.0, 4.0, 5.0}
    assert draw_candidates(actions[:1], 40, seeded(3)).shape == (1, 2, 3, 1)


def make_windows(rows: int = 6, length: int = 12) -> LatentWindows:
    rng = seeded(9)
    is_first = torch.rand(rows, length, generator=rng) < 0.1
    return LatentWindows(
        mean=torch.randn(rows, length, CHANNELS, generator=rng),
        log_variance=torch.full((rows, length, CHANNELS), -4.0),
        prev_actions=torch.randn(rows, length, 1, generator=rng),
        prev_rewards=torch.zeros(rows, length),
        is_first=is_first,
        is_terminal=torch.zeros(rows, length, dtype=torch.bool),
    )


def test_the_contrast_is_one_more_term_and_changes_no_other() -> None:
    rnn, windows = make_rnn(), make_windows()
    plain = MdnRnnObjective(rnn, MdnRnnObjectiveConfig(free_steps=3))
    config = MdnRnnObjectiveConfig(free_steps=3, contrast_weight=0.5, contrast_steps=2)
    whole = MdnRnnObjective(rnn, config)(windows, rng=seeded(7))
    alone = plain(windows, rng=seeded(7))
    assert set(whole.terms) - set(alone.terms) == {"contrast"}
    for name, value in alone.terms.items():
        assert torch.equal(whole.terms[name], value), name
    assert_close(whole.total, alone.total + 0.5 * whole.terms["contrast"])


def test_windows_too_short_for_a_contrast_and_weights_below_zero_are_refused() -> None:
    config = MdnRnnObjectiveConfig(free_steps=3, contrast_weight=0.1, contrast_steps=8)
    with pytest.raises(ConfigError, match="8 actions needs one more before them"):
        MdnRnnObjective(make_rnn(), config)(make_windows(), rng=seeded())
    with pytest.raises(ConfigError, match="contrast_steps at least 1"):
        MdnRnnObjectiveConfig(contrast_steps=0)
