"""A store of small made-up episodes and tiny models, for tests of training."""

from pathlib import Path

import numpy as np

from reverie.core.types import Episode, FrameSpec
from reverie.data.store import EpisodeStore
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.shortcut import ShortcutConfig
from reverie.models.tokenizer.conv import ConvTokenizerConfig
from reverie.nn.blocks import StackConfig

SIDE_PX = 16
TASK = "toy-dot"
TINY_TOKENIZER = ConvTokenizerConfig(frame_px=SIDE_PX, channels=(8, 8), latent_channels=4)
TINY_HEADS = HeadsConfig(num_distances=2, num_bins=15, terminating_tasks=(TASK,))


def tiny_dynamics(context: int = 3) -> DynamicsConfig:
    return DynamicsConfig(
        num_latent_tokens=TINY_TOKENIZER.num_tokens,
        num_latent_channels=TINY_TOKENIZER.latent_channels,
        stack=StackConfig(width=16, depth=2, num_heads=2, num_kv_heads=2, time_every=2),
        num_registers=1,
        num_agents=1,
        language_dim=4,
        action_width=3,
        context=context,
        shortcut=ShortcutConfig(num_levels=4),
        commit_level=3,
        num_flow_steps=2,
        tasks=(TASK,),
    )


def write_tiny_store(path: Path, num_episodes: int = 3, num_steps: int = 12) -> EpisodeStore:
    """A bright square pushed about by its actions on a dark ground."""
    store = EpisodeStore.create(path, FrameSpec(height_px=SIDE_PX, width_px=SIDE_PX), "zstd")
    with store.writer() as writer:
        for seed in range(num_episodes):
            writer.append(dot_episode(seed, num_steps), id=f"dot-{seed:03d}")
    store.refresh()
    return store


def dot_episode(seed: int, num_steps: int) -> Episode:
    rng = np.random.default_rng(seed)
    actions = rng.choice([-1.0, 1.0], size=(num_steps, 2)).astype(np.float32)
    places = np.clip(8 + np.cumsum(np.vstack([np.zeros((1, 2)), actions]), axis=0), 1, 14)
    frames = np.full((num_steps + 1, SIDE_PX, SIDE_PX, 3), 20, dtype=np.uint8)
    for frame, (row, column) in zip(frames, places.astype(int), strict=True):
        frame[row - 1 : row + 2, column - 1 : column + 2] = (230, 120, 40)
    return Episode(
        frames=frames,
        actions=actions,
        rewards=(places[1:, 0] > 8).astype(np.float32),
        terminated=seed % 2 == 0,
        task=TASK,
        source="random",
        seed=seed,
    )
