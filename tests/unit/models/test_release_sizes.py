"""The release's configuration has the published numbers of parameters and tensors."""

import math
from dataclasses import replace

import torch

from reverie.models.convert.release_shapes import (
    dynamics_shapes,
    policy_shapes,
    reward_shapes,
    tokenizer_shapes,
)
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import make_world
from reverie.models.presets import released, released_heads
from reverie.models.tokenizer.causal import CausalTokenizer, CausalTokenizerConfig
from reverie.nn.blocks import StackConfig

TOKENIZER, DYNAMICS, BARE_DYNAMICS = 101_698_044, 239_630_976, 237_529_728
REWARD, POLICY, ALL = 8_386_210, 6_426_410, 356_141_640


def on_meta() -> ShortcutWorld:
    preset = released()
    assert isinstance(preset.tokenizer, CausalTokenizerConfig)
    with torch.device("meta"):
        return make_world(CausalTokenizer(preset.tokenizer), preset.dynamics, released_heads())


def count(module: torch.nn.Module | None) -> int:
    assert module is not None
    return sum(weights.numel() for weights in module.parameters())


def test_every_part_has_the_published_number_of_parameters() -> None:
    world = on_meta()
    parts = (world.tokenizer, world.net, world.reward_head, world.policy_head)
    assert [count(part) for part in parts] == [TOKENIZER, DYNAMICS, REWARD, POLICY]  # type: ignore[arg-type]
    assert count(world) == ALL


def test_without_agents_the_dynamics_is_smaller_by_the_instruction_layer() -> None:
    config = replace(released().dynamics, num_agents=0)
    assert config.num_parameters == BARE_DYNAMICS
    assert DYNAMICS - BARE_DYNAMICS == 2_101_248


def test_configs_count_as_the_modules_do() -> None:
    preset = released()
    assert preset.tokenizer.num_parameters == TOKENIZER
    assert preset.dynamics.num_parameters == DYNAMICS


def test_layers_of_the_release_have_their_published_sizes() -> None:
    stack = released().dynamics.stack
    sizes = [replace(stack, depth=1, time_every=every).num_parameters for every in (2, 1)]
    assert sizes == [12_593_500, 16_792_932]
    assert isinstance(preset := released().tokenizer, CausalTokenizerConfig)
    one: StackConfig = replace(preset.encoder, depth=1)
    assert one.num_parameters == 4_202_682


def test_the_release_has_its_published_number_of_tensors_and_numbers() -> None:
    preset, heads = released(), released_heads()
    assert isinstance(preset.tokenizer, CausalTokenizerConfig)
    shapes = [
        tokenizer_shapes(preset.tokenizer),
        dynamics_shapes(preset.dynamics),
        reward_shapes(1024, heads),
        policy_shapes(1024, heads, 16),
    ]
    assert [len(part) for part in shapes] == [419, 238, 9, 8]
    numbers = sum(math.prod(shape) for part in shapes for shape in part.values())
    assert numbers == ALL + heads.num_bins
