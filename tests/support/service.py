"""Small models of both families behind the HTTP service."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie.collect.policies import RandomPolicy
from reverie.core.seeds import child_seed
from reverie.core.types import FrameSpec
from reverie.data.store import EpisodeStore
from reverie.data.windows import to_batch
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.disk import save_classic_world
from reverie.models.classic.objective import (
    LatentWindows,
    MdnRnnObjective,
    VaeObjective,
    VaeObjectiveConfig,
)
from reverie.models.dynamics.heads import ContinueHead, RewardHead
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import save_world_model
from reverie.models.tokenizer.conv import ConvTokenizer
from reverie.recipes.pocket import debug
from reverie.serve.service.window import write_frame
from tests.support.classic import make_classic_world
from tests.support.dreams import seeded

TASK = "toy-fall"
SIDE_PX = 16
QUANTISED_UNITS = 32
"""Of M: enough for its large layers to become INT8."""


def save_classic(folder: Path, *, has_controller: bool = True) -> Path:
    """An untrained classic dream of a toy task, with random controller weights."""
    world = make_classic_world(
        tasks=(TASK,), terminating=(TASK,), action_width=2, num_units=QUANTISED_UNITS
    )
    controller = ControllerConfig(num_features=world.num_features, num_outputs=2)
    save_classic_world(
        folder,
        world,
        controller=controller if has_controller else None,
        parameters=torch.randn(controller.num_parameters, generator=seeded(3)),
    )
    return folder


def save_taught(folder: Path, store: EpisodeStore, steps: int = 150) -> Path:
    """The classic dream after a second of learning from real episodes: it knows what is usual."""
    world = make_classic_world(
        tasks=(TASK,),
        terminating=(TASK,),
        action_width=2,
        num_components=1,
        num_units=QUANTISED_UNITS,
    ).requires_grad_(True)
    batches = [
        to_batch([store.read_window(entry.id, 0, entry.num_frames)], action_width=2)
        for entry in store.index
    ]
    frames = torch.cat([world.vae.to_stacks(batch.frames)[0][0] for batch in batches])
    rng = seeded(9)
    vae = VaeObjective(world.vae, VaeObjectiveConfig(pixel_std=0.05))
    optimizer = torch.optim.Adam(world.vae.parameters(), lr=3e-3)
    for step in range(steps):
        picked = torch.randint(len(frames), (32,), generator=rng)
        optimizer.zero_grad()
        vae(frames[picked], step=step, rng=rng).total.backward()
        optimizer.step()
    rnn = MdnRnnObjective(world.rnn)
    optimizer = torch.optim.Adam(world.rnn.parameters(), lr=1e-2)
    with torch.no_grad():
        read = [world.vae.encode_posterior(batch.frames) for batch in batches]
    for step in range(steps):
        batch, (mean, log_variance, _) = (items[step % len(batches)] for items in (batches, read))
        windows = LatentWindows(
            mean=mean,
            log_variance=log_variance,
            prev_actions=batch.prev_actions,
            prev_rewards=batch.prev_rewards,
            is_first=batch.is_first,
            is_terminal=batch.is_terminal,
        )
        optimizer.zero_grad()
        rnn(windows, rng=rng).total.backward()
        optimizer.step()
    controller = ControllerConfig(num_features=world.num_features, num_outputs=2)
    parameters = torch.randn(controller.num_parameters, generator=seeded(3))
    save_classic_world(folder, world.eval(), controller=controller, parameters=parameters)
    return folder


def save_shortcut(folder: Path) -> Path:
    """An untrained transformer dream of two toy tasks."""
    config = debug()
    width = config.dynamics.stack.width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        world = ShortcutWorld(
            ConvTokenizer(config.tokenizer),
            DynamicsNet(config.dynamics),
            RewardHead(width, config.heads),
            ContinueHead(width, config.heads),
        )
    save_world_model(folder, world.eval())
    return folder


def grey(side_px: int, level: int = 128) -> str:
    return write_frame(np.full((side_px, side_px, 3), level, np.uint8))


def raw(frame: np.ndarray) -> str:
    return base64.b64encode(frame.tobytes()).decode()


def play_toy(path: Path, num_episodes: int, seed: int = 0) -> EpisodeStore:
    """Real episodes of the toy task at the size of the classic model."""
    spec = FrameSpec(height_px=SIDE_PX, width_px=SIDE_PX)
    store = EpisodeStore.create(path, spec, "zstd")
    env = make_env(TASK, frame_spec=spec)
    with store.writer() as writer:
        for number in range(num_episodes):
            episode = play_episode(
                env, RandomPolicy(), seed=child_seed(seed, "toy", number), max_steps=40
            )
            writer.append(episode, id=f"toy/{number:04d}")
    env.close()
    store.refresh()
    return store


def window_of(store: EpisodeStore, episode: int, first: int, num_frames: int) -> dict[str, Any]:
    """Post what really happened."""
    entry = store.index[episode]
    window = store.read_window(entry.id, first, num_frames)
    assert window.frames is not None
    return {
        "frames": [write_frame(frame) for frame in window.frames],
        "actions": window.actions[first : first + num_frames - 1].tolist(),
        "starts_episode": first == 0,
    }
