"""The estimate of a run: its counts are those of the real networks."""

from dataclasses import replace

import pytest
import torch

from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective
from reverie.models.tokenizer.causal import CausalTokenizer, CausalTokenizerConfig
from reverie.recipes.base import RunConfig
from reverie.recipes.cost import estimate
from reverie.recipes.large import release_debug


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
