"""Small worlds of the classic family, of awkward sizes."""

from dataclasses import replace

import torch

from reverie.models.classic.mdn_rnn import MdnRnn, MdnRnnConfig
from reverie.models.classic.vae import Vae, VaeConfig
from reverie.models.classic.world import ClassicConfig, ClassicWorld
from tests.support.dreams import TASKS

SMALL_VAE = VaeConfig(
    frame_px=16,
    latent_channels=5,
    encoder_kernels=(4, 3),
    encoder_channels=(6, 7),
    decoder_channels=(9, 8, 4),
    decoder_kernels=(3, 3, 4),
    activation="silu",
)


def make_classic_world(
    *,
    num_stacked: int = 2,
    num_components: int = 3,
    tasks: tuple[str, ...] = TASKS,
    terminating: tuple[str, ...] = ("toy-fall",),
    temperature: float = 1.0,
    action_width: int = 3,
    num_units: int = 11,
) -> ClassicWorld:
    """An untrained world whose every head says something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        vae = Vae(replace(SMALL_VAE, num_stacked=num_stacked))
        rnn = MdnRnn(
            MdnRnnConfig(
                latent_channels=5,
                action_width=action_width,
                num_units=num_units,
                num_components=num_components,
                has_restart_flag=True,
                has_end=True,
                has_reward=True,
            )
        )
    config = ClassicConfig(
        tasks=tasks, terminating_tasks=terminating, max_context=4, temperature=temperature
    )
    return ClassicWorld(vae, rnn, config).eval().requires_grad_(False)
