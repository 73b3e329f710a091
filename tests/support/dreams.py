"""Small real dynamics networks, worlds, tokenizers and batches, of awkward sizes."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.models.api import LatentSpec
from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, RewardHead
from reverie.models.dynamics.net import DynamicsConfig, DynamicsNet
from reverie.models.dynamics.shortcut import ShortcutConfig
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.tokenizer import TOKENIZERS
from reverie.models.tokenizer.causal import CausalTokenizerConfig
from reverie.models.tokenizer.conv import ConvTokenizerConfig
from reverie.nn.blocks import StackConfig

TASKS = ("toy-fall", "toy-paint")

AWKWARD = DynamicsConfig(
    num_latent_tokens=6,
    num_latent_channels=5,
    packing=2,
    stack=StackConfig(width=24, depth=4, num_heads=4, num_kv_heads=2, time_every=2),
    num_registers=1,
    num_agents=2,
    language_dim=7,
    action_width=3,
    context=4,
    shortcut=ShortcutConfig(num_levels=8),
    commit_level=7,
    num_flow_steps=4,
    tasks=TASKS,
)
"""All axes different; a wrong order of axes cannot pass."""

ALL_ONE = DynamicsConfig(
    num_latent_tokens=1,
    num_latent_channels=1,
    stack=StackConfig(width=2, depth=1, num_heads=1, num_kv_heads=1, time_every=1),
    num_registers=1,
    num_agents=1,
    language_dim=1,
    action_width=1,
    context=1,
    shortcut=ShortcutConfig(num_levels=2),
    commit_level=1,
    num_flow_steps=1,
    tasks=("toy-fall",),
)

SIZES = {"awkward": AWKWARD, "all one": ALL_ONE}

TOKENIZER_CONFIGS: dict[str, dict[str, Any]] = {
    "conv": {
        "awkward": ConvTokenizerConfig(frame_px=16, channels=(4, 6, 7), latent_channels=5),
        "all one": ConvTokenizerConfig(frame_px=2, channels=(1,), latent_channels=1),
    },
    "causal": {
        "awkward": CausalTokenizerConfig(
            height_px=8,
            width_px=12,
            patch_px=4,
            encoder=StackConfig(width=24, depth=3, num_heads=4, num_kv_heads=4, time_every=1),
            decoder=StackConfig(width=20, depth=4, num_heads=2, num_kv_heads=2, time_every=2),
            num_tokens=5,
            latent_channels=3,
            context=3,
        ),
        "all one": CausalTokenizerConfig(
            height_px=1,
            width_px=1,
            patch_px=1,
            encoder=StackConfig(width=2, depth=1, num_heads=1, num_kv_heads=1, time_every=1),
            decoder=StackConfig(width=2, depth=1, num_heads=1, num_kv_heads=1, time_every=1),
            num_tokens=1,
            latent_channels=1,
            context=1,
        ),
    },
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stir(module: nn.Module, seed: int = 1) -> nn.Module:
    """Fill what starts at zero (output heads), so that something comes out."""
    rng = seeded(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1 and not parameter.any():
                std = 1 / math.sqrt(parameter.shape[-1])
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * std)
    return module


def make_tokenizer(name: str, size: str = "awkward") -> Any:
    torch.manual_seed(3)
    return TOKENIZERS.load(name)(TOKENIZER_CONFIGS[name][size]).eval()


def make_net(config: DynamicsConfig = AWKWARD, *, is_stirred: bool = True) -> DynamicsNet:
    torch.manual_seed(4)
    net = DynamicsNet(config)
    if is_stirred:
        stir(net)
    return net.eval()


def make_world(
    config: DynamicsConfig = AWKWARD,
    *,
    tokenizer: Any = None,
    terminating: tuple[str, ...] = ("toy-fall",),
) -> ShortcutWorld:
    """A world whose heads say something; without a tokenizer it starts from latents."""
    heads = HeadsConfig(num_distances=3, num_bins=11, terminating_tasks=terminating)
    net = make_net(config)
    width = config.stack.width
    reward, goes_on = RewardHead(width, heads), ContinueHead(width, heads)
    for head in (reward, goes_on):
        stir(head)
    world = ShortcutWorld(tokenizer or _Scale(config), net, reward, goes_on)
    return world.eval().requires_grad_(False)


def make_batch(
    rows: int,
    num_frames: int,
    *,
    action_width: int = 3,
    seed: int = 5,
    frames: Tensor | None = None,
) -> Batch:
    rng = seeded(seed)
    is_first = torch.zeros(rows, num_frames, dtype=torch.bool)
    is_first[::2, 0] = True
    actions = torch.rand((rows, num_frames, action_width), generator=rng) * 2 - 1
    rewards = torch.randn((rows, num_frames), generator=rng)
    is_terminal = torch.zeros_like(is_first)
    is_terminal[:, -1] = torch.arange(rows) % 3 == 0
    return Batch(
        frames=frames,
        prev_actions=actions * ~is_first[..., None],
        prev_rewards=rewards * ~is_first,
        action_mask=torch.ones(rows, action_width),
        is_first=is_first,
        is_terminal=is_terminal,
        task=tuple(TASKS[row % 2] for row in range(rows)),
    )


def random_latents(config: DynamicsConfig, rows: int, num_frames: int, seed: int = 6) -> Tensor:
    shape = (rows, num_frames, config.num_latent_tokens, config.num_latent_channels)
    return torch.randn(shape, generator=seeded(seed))


def random_frames(height: int, width: int, *, rows: int, num_frames: int, seed: int = 7) -> Tensor:
    shape = (rows, num_frames, height, width, 3)
    return torch.randint(0, 256, shape, generator=seeded(seed), dtype=torch.uint8)


class _Scale(nn.Module):
    """Only the numbers that a dream asks a tokenizer for."""

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.spec = LatentSpec(
            num_tokens=config.num_latent_tokens, num_channels=config.num_latent_channels, scale=0.4
        )
