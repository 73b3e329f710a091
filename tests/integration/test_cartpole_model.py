"""The CartPole dream that ships: small, whole, and its controller balances the real pole."""

import numpy as np
import torch

from reverie.core.types import FrameSpec
from reverie.envs.registry import open_envs
from reverie.models.classic.world import ClassicWorld
from reverie.models.families import load_any_world, load_controller_of, tasks_of
from reverie.models.load import pretrained_folder
from reverie.planning.live import play_many
from reverie.recipes.cartpole import TASK

FOLDER = pretrained_folder("cartpole")
EPISODES = 6


def test_it_is_small_enough_to_ship_and_knows_its_task() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
    assert tasks_of(FOLDER) == (TASK,)


def test_its_controller_never_acted_for_real_in_training_and_balances_the_real_pole() -> None:
    """The bar is 475 over 100 episodes; of a hundred some fall early, and random play scores 22."""
    torch.set_num_threads(1)
    world = load_any_world(FOLDER)
    assert isinstance(world, ClassicWorld)
    controller, parameters = load_controller_of(FOLDER)
    spec = FrameSpec(height_px=32, width_px=32)
    with open_envs(TASK, EPISODES, frame_spec=spec) as envs:
        seeds = list(range(9_000, 9_000 + EPISODES))
        played = list(play_many(world, controller, parameters[None], envs, seeds))
    returns = [sum(episode.rewards) for episode in played]
    assert np.mean(returns) > 400, returns
