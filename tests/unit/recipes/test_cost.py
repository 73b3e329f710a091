"""The estimate of a run: its counts are those of the real networks."""

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective
from reverie.models.tokenizer.causal import CausalTokenizer, CausalTokenizerConfig
from reverie.recipes import cost as measuring
from reverie.recipes.base import Recipe, RunConfig
from reverie.recipes.cost import estimate
from reverie.recipes.large import full, release, release_debug, small


@pytest.fixture(scope="module")
def deep() -> RunConfig:
    config = release_debug()
    stack = replace(config.dynamics.stack, depth=6)
    assert isinstance(config.tokenizer, CausalTokenizerConfig)
    layers = replace(config.tokenizer.encoder, depth=4)
    return replace(
        config,
        dynamics=replace(config.dynamics, stack=stack),
        tokenizer=replace(config.tokenizer, encoder=layers, decoder=layers),
    )


def test_counts_extended_from_shallow_networks_are_those_of_the_deep_ones(deep: RunConfig) -> None:
    cost = estimate(deep, torch.device("cpu"))
    assert isinstance(deep.tokenizer, CausalTokenizerConfig)
    tokenizer = CausalTokenizer(deep.tokenizer)
    objective = DynamicsObjective(
        DynamicsNet(deep.dynamics), deep.heads, deep.objective, latent_limit=2.0
    )
    counts = [sum(value.numel() for value in part.parameters()) for part in (tokenizer, objective)]
    names = [phase.name for phase in cost.phases]
    assert names == ["tokenizer", "dynamics", "coverage-aware", "heads"]
    assert [phase.parameters for phase in cost.phases] == [counts[0], *[counts[1]] * 3]
    assert all(phase.flops_per_frame > 0 and phase.frames_per_s > 0 for phase in cost.phases)
    assert cost.data_frames == 2 * 2 * 31
    assert cost.disk_gb > 0


@pytest.mark.parametrize("recipe", [small, full, release])
def test_an_estimate_on_a_cpu_probes_few_frames_once_through_shallow_networks(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[tuple[int, int]] = []

    def count(objective: nn.Module, loss: object, *, num_frames: int, **_: object) -> object:
        parameters = sum(value.numel() for value in objective.parameters())
        probes.append((parameters, num_frames))
        return measuring._Sample(float(parameters), 1.0, 1.0)

    monkeypatch.setattr(measuring, "_sample", count)
    config = recipe(())
    cost = estimate(config, torch.device("cpu"))
    assert all(frames <= 8 for _, frames in probes)
    assert sum(parameters for parameters, _ in probes) < 160e6
    whole = config.tokenizer.num_parameters  # type: ignore[union-attr]
    assert cost.phases[0].parameters == whole


def test_on_a_cpu_one_step_is_timed_and_none_warms_up(
    deep: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    step = torch.optim.AdamW.step

    def counted(self: torch.optim.AdamW, closure: None = None) -> object:
        steps.append("step")
        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    estimate(deep, torch.device("cpu"))
    # Tokenizer and dynamics, each at the deeper of two depths.
    assert len(steps) == 2


@pytest.mark.long
@pytest.mark.parametrize("recipe", [small, release])
def test_the_cost_of_a_large_recipe_is_known_within_two_minutes_of_computing(
    recipe: Recipe,
) -> None:
    begun = time.process_time()
    cost = estimate(recipe(()), torch.device("cpu"))
    assert time.process_time() - begun < 120
    assert cost.hours > 0
