"""Macro-actions: a few moves that are decided together, in the dream and in the real simulator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.envs.api import TaskEnv
from reverie.models.api import Noise
from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.world import ClassicState, ClassicWorld
from reverie.planning.live import LiveEpisode, first_state


@dataclass(frozen=True, kw_only=True, slots=True)
class MacroConfig:
    """How long macro-actions are, and how many of them make a rollout."""

    moves: int = 2
    """Steps of the simulator per macro step."""
    num_steps: int = 100
    """Macro steps per rollout."""

    def __post_init__(self) -> None:
        """Refuse rollouts without moves."""
        if self.moves < 1 or self.num_steps < 1:
            raise ConfigError(
                f"A rollout needs at least one move and one macro step, got {self.moves} and "
                f"{self.num_steps}."
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MacroRollouts:
    """Where rollouts were after each macro step."""

    latents: Float[np.ndarray, "r t d"]
    """Zero where a rollout has ended."""
    alive: Bool[np.ndarray, "r t"]


@torch.no_grad()
def choose_macro(
    world: ClassicWorld,
    controller: ControllerConfig,
    parameters: Float[Tensor, " p"],
    state: ClassicState,
    moves: int,
) -> Float[Tensor, "r m a"]:
    """Decide some moves at once: after the first, on what the model's mean expects.

    Args:
        world: Classic states may be stepped any number of times; this one stays as it is.
        controller: Shape of the controller.
        parameters: Its weights.
        state: Where to decide.
        moves: How many.
    """
    rows = state.num_rows
    # The start of the noise is what lies between mean and sample: none of it.
    still = torch.zeros(rows, 1, world.latent_spec.num_channels, device=world.device)
    current: Any = state
    chosen: list[Tensor] = []
    for move in range(moves):
        features = rearrange(world.features(current), "r m -> r 1 m")
        action = act(controller, parameters[None], features)[:, 0]
        chosen.append(action)
        if move + 1 < moves:
            current, _ = world.step(current, action, Noise(start=still, commit=still))
    return torch.stack(chosen, dim=1)


@torch.no_grad()
def dream_macros(
    world: ClassicWorld,
    controller: ControllerConfig,
    parameters: Float[Tensor, " p"],
    starts: ClassicState,
    config: MacroConfig,
    rng: torch.Generator,
) -> MacroRollouts:
    """Dream from every start; a dream ends by a draw from its chance to end."""
    state: Any = starts
    alive = torch.ones(starts.num_rows, dtype=torch.bool)
    latents: list[np.ndarray] = []
    living: list[np.ndarray] = []
    for _ in range(config.num_steps):
        moves = choose_macro(world, controller, parameters, state, config.moves)
        for action in moves.unbind(dim=1):
            state, prediction = world.step(state, action, world.draw_noise(len(action), rng))
            drawn = torch.rand(len(action), generator=rng, device=rng.device)
            alive &= (drawn < prediction.continues).cpu()
        latents.append(state.latent[:, 0].cpu().numpy() * alive.numpy()[:, None])
        living.append(alive.numpy().copy())
    return MacroRollouts(latents=np.stack(latents, axis=1), alive=np.stack(living, axis=1))


@torch.no_grad()
def play_macros(
    world: ClassicWorld,
    controller: ControllerConfig,
    parameters: Float[Tensor, " p"],
    envs: Sequence[TaskEnv],
    seeds: Sequence[int],
    config: MacroConfig,
) -> tuple[MacroRollouts, ClassicState]:
    """Play one episode per environment with the same controller; return the starts too.

    Latents are drawn from their posteriors, as those of dreams are.
    """
    episodes = [LiveEpisode(env, seed) for env, seed in zip(envs, seeds, strict=True)]
    rng = torch.Generator(device=world.device)
    rng.manual_seed(child_seed(seeds[0], "posterior"))
    starts = state = first_state(world, episodes)
    shape = (len(episodes), config.num_steps, world.latent_spec.num_channels)
    latents, alive = np.zeros(shape, np.float32), np.zeros(shape[:2], np.bool_)
    running = list(range(len(episodes)))
    for step in range(config.num_steps):
        moves = choose_macro(world, controller, parameters, state, config.moves)
        for move in range(config.moves):
            chosen = moves[:, move].cpu().numpy().astype(np.float32)
            for row, index in enumerate(running):
                episodes[index].step(chosen[row], max_steps=1_000_000, keeps_frames=False)
            kept = [row for row, index in enumerate(running) if not episodes[index].is_over]
            running = [running[row] for row in kept]
            if not running:
                return MacroRollouts(latents=latents, alive=alive), starts
            frames = torch.from_numpy(np.stack([episodes[i].frames[-1] for i in running]))
            noise = world.draw_context_noise(len(running), 1, rng)[:, 0]
            state = world.observe(state.select(kept), moves[kept, move], frames, noise)
            moves = moves[kept]
        latents[running, step] = state.latent[:, 0].cpu().numpy()
        alive[running, step] = True
    return MacroRollouts(latents=latents, alive=alive), starts
