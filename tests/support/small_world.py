"""An untrained but whole shortcut world on the toy domain, in milliseconds a step."""

import torch

from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, RewardHead
from reverie.models.dynamics.net import DynamicsConfig, DynamicsNet
from reverie.models.dynamics.shortcut import ShortcutConfig
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.tokenizer.conv import ConvTokenizer, ConvTokenizerConfig
from reverie.nn.blocks import StackConfig

TASKS = ("toy-paint", "toy-fall")
SIDE_PX = 32


def make_small_world(seed: int = 0, *, tasks: tuple[str, ...] = TASKS) -> ShortcutWorld:
    tokenizer = ConvTokenizerConfig(frame_px=SIDE_PX, channels=(4, 8, 8), latent_channels=4)
    dynamics = DynamicsConfig(
        num_latent_tokens=tokenizer.num_tokens,
        num_latent_channels=tokenizer.latent_channels,
        stack=StackConfig(width=32, depth=2, num_heads=2, num_kv_heads=2, time_every=2),
        num_registers=1,
        num_agents=1,
        language_dim=8,
        action_width=3,
        context=8,
        shortcut=ShortcutConfig(num_levels=4),
        commit_level=3,
        num_flow_steps=4,
        tasks=tasks,
    )
    heads = HeadsConfig(num_distances=2, num_bins=15)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        world = ShortcutWorld(
            ConvTokenizer(tokenizer),
            DynamicsNet(dynamics),
            RewardHead(32, heads),
            ContinueHead(32, heads),
        )
        # Untrained output layers are zero: without weights no dream would depend on anything.
        for parameter in world.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return world.eval().requires_grad_(False)
