"""Trainings of tiny real models on the tiny store, ready to fit."""

from pathlib import Path
from typing import Literal

import torch

from reverie.data.store import EpisodeStore
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective, ObjectiveConfig
from reverie.models.tokenizer.conv import ConvTokenizer
from reverie.train.dynamics import DynamicsTrainingConfig, cache_latents, prepare_dynamics
from reverie.train.loop import FitConfig, Training
from reverie.train.optim import Matrices, OptimConfig
from reverie.train.phase import Surroundings
from reverie.train.tokenizer import TokenizerTrainingConfig, prepare_tokenizer
from tests.support.tiny import TINY_HEADS, TINY_TOKENIZER, tiny_dynamics

Kind = Literal["tokenizer", "dynamics"]
SEED = 5
KINDS: tuple[Kind, ...] = ("tokenizer", "dynamics")


def quick_fit(total_steps: int) -> FitConfig:
    return FitConfig(
        total_steps=total_steps, log_every_steps=1, save_every_steps=0, save_every_s=0.0
    )


def make_training(
    kind: Kind,
    store: EpisodeStore,
    folder: Path,
    *,
    total_steps: int = 4,
    lr: float = 1e-3,
    matrices: Matrices = "adamw",
) -> Training:
    optim = OptimConfig(lr=lr, matrices=matrices)
    around = Surroundings(folder=folder, seed=SEED)
    torch.manual_seed(SEED)
    tokenizer = ConvTokenizer(TINY_TOKENIZER)
    if kind == "tokenizer":
        config = TokenizerTrainingConfig(fit=quick_fit(total_steps), optim=optim, batch_size=4)
        return prepare_tokenizer(
            tokenizer,
            store,
            config,
            cache_path=folder / "frames",
            run_config={"kind": kind},
            around=around,
        )
    tokenizer.set_scale(0.5)
    latents = cache_latents(tokenizer, store, folder / "latents", around=around)
    # Both late starts fall inside a run of four steps, so that a restart crosses them.
    schedule = ObjectiveConfig(total_steps=total_steps, bootstrap_start=0.25, head_start=0.5)
    objective = DynamicsObjective(
        DynamicsNet(tiny_dynamics()), TINY_HEADS, schedule, latent_limit=2.0
    )
    return prepare_dynamics(
        objective,
        store,
        latents,
        DynamicsTrainingConfig(
            fit=quick_fit(total_steps),
            optim=optim,
            batch_size=8,
            window_length=5,
        ),
        run_config={"kind": kind},
        around=around,
    )
