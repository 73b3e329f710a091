"""The TakeCover dream that ships: small, whole, and its controller dodges what is really thrown."""

import numpy as np
import pytest
import torch

from reverie.core.types import FrameSpec
from reverie.envs.registry import open_envs
from reverie.models.classic.world import ClassicWorld
from reverie.models.families import load_any_world, load_controller_of, tasks_of
from reverie.models.load import pretrained_folder
from reverie.planning.live import LiveConfig, play_many
from reverie.recipes.world_models import TAKE_COVER_CLOSE

FOLDER = pretrained_folder("takecover")
EPISODES = 4
RANDOM_RETURN = 188.0
"""Of 75 episodes with an action drawn anew at every step (std 74)."""


def test_it_is_small_enough_to_ship_and_knows_its_task() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
    assert tasks_of(FOLDER) == (TAKE_COVER_CLOSE,)


def test_its_controller_lives_longer_for_real_than_chance() -> None:
    """Its hundred episodes are in the card; their spread is wide, so that few can tell little."""
    pytest.importorskip("vizdoom")
    torch.set_num_threads(1)
    world = load_any_world(FOLDER)
    assert isinstance(world, ClassicWorld)
    controller, parameters = load_controller_of(FOLDER)
    with open_envs(
        TAKE_COVER_CLOSE, EPISODES, frame_spec=FrameSpec(height_px=64, width_px=64)
    ) as envs:
        seeds = list(range(7_000, 7_000 + EPISODES))
        live = LiveConfig(max_steps=600)
        played = play_many(world, controller, parameters[None], envs, seeds, config=live)
        returns = [sum(episode.rewards) for episode in played]
    assert np.mean(returns) > RANDOM_RETURN, returns
