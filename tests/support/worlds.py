"""Small real world models with known behaviour, and clips for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.types import Episode, FrameSpec
from reverie.models.api import LatentSpec, Noise, Prediction

SIDE_PX = 4
FRAME_SPEC = FrameSpec(height_px=SIDE_PX, width_px=SIDE_PX)


class PixelTokenizer:
    """One token a pixel, its colour is the latent; ``keep`` < 1 makes the round trip lossy."""

    def __init__(self, *, scale: float = 1.0, keep: float = 1.0) -> None:
        self.spec = LatentSpec(num_tokens=SIDE_PX**2, num_channels=3, scale=scale)
        self.frame_spec = FRAME_SPEC
        self.keep = keep

    def encode(self, frames: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        b, t = frames.shape[:2]
        return frames.float().reshape(b, t, SIDE_PX**2, 3) / 255 / self.spec.scale, None

    def decode(self, latents: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        pixels = (latents * self.spec.scale * self.keep).clamp(0, 1) * 255
        b, t = latents.shape[:2]
        return pixels.round().to(torch.uint8).reshape(b, t, SIDE_PX, SIDE_PX, 3), None

    def round_trip(self, latents: Tensor) -> Tensor:
        return latents * self.keep


@dataclass(frozen=True, kw_only=True)
class PlainState:
    """The newest latent is all there is."""

    latent: Tensor
    num_frames: int
    task: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        return self.latent.shape[0]

    def fork(self, num_copies: int) -> Self:
        return self.select([row for row in range(self.num_rows) for _ in range(num_copies)])

    def select(self, rows: list[int]) -> Self:
        task = tuple(self.task[row] for row in rows)
        return replace(self, latent=self.latent[rows], task=task)


Rule = Callable[[PlainState, Tensor, Noise], Tensor]
"""(state, action, noise) -> (b k n d): the clean estimate after each substep."""


class RuleWorld:
    """A world whose every step is a given function."""

    def __init__(self, rule: Rule, *, tokenizer: PixelTokenizer | None = None) -> None:
        self.rule = rule
        self.tokenizer = tokenizer or PixelTokenizer()
        self.latent_spec = self.tokenizer.spec
        self.action_width = 3
        self.max_context = 8
        self.num_flow_steps = 4
        self.tasks = ("toy-paint",)
        self.device = torch.device("cpu")

    def draw_context_noise(self, num_rows: int, num_frames: int, rng: torch.Generator) -> Tensor:
        shape = (num_rows, num_frames, self.latent_spec.num_tokens, self.latent_spec.num_channels)
        return torch.randn(shape, generator=rng)

    def draw_noise(self, num_rows: int, rng: torch.Generator) -> Noise:
        pair = self.draw_context_noise(num_rows, 2, rng)
        return Noise(start=pair[:, 0], commit=pair[:, 1])

    def start(self, context: Batch, noise: Tensor) -> PlainState:
        assert context.frames is not None
        latents, _ = self.tokenizer.encode(context.frames)
        return PlainState(
            latent=latents[:, -1], num_frames=context.num_frames, task=tuple(context.task)
        )

    def step(
        self, state: PlainState, action: Tensor, noise: Noise
    ) -> tuple[PlainState, Prediction]:
        trace = self.rule(state, action, noise)
        latent = trace[:, -1]
        ones = torch.ones(len(latent))
        prediction = Prediction(
            latent=latent, reward=0 * ones, continues=ones, features=latent.flatten(1), trace=trace
        )
        return replace(state, latent=latent, num_frames=state.num_frames + 1), prediction

    def decode(self, state: PlainState) -> Tensor:
        return self.tokenizer.decode(state.latent[:, None])[0][:, 0]


def still_rule(state: PlainState, action: Tensor, noise: Noise) -> Tensor:
    """Nothing ever moves."""
    return state.latent[:, None].repeat(1, 4, 1, 1)


def action_rule(state: PlainState, action: Tensor, noise: Noise) -> Tensor:
    """The next picture is the action: each of its three lanes is one colour."""
    colour = (action[:, None, None, :] + 1) / 2
    return colour.expand(-1, 4, SIDE_PX**2, -1)


def noisy_rule(state: PlainState, action: Tensor, noise: Noise) -> Tensor:
    """Half of the state, a little of the action, some noise that shrinks over the substeps."""
    goal = 0.5 * state.latent + 0.1 * action[:, None] + 0.2 * noise.start
    shares = torch.tensor([1.0, 0.3, 0.1, 0.0]).view(1, 4, 1, 1)
    return goal[:, None] + shares * noise.start[:, None]


def teleport_rule(at: int) -> Rule:
    """Follow the action until frame ``at``, then invert the picture in the upper half."""

    def rule(state: PlainState, action: Tensor, noise: Noise) -> Tensor:
        trace = action_rule(state, action, noise).clone()
        if state.num_frames >= at:
            trace[:, :, : SIDE_PX**2 // 2] = 1 - trace[:, :, : SIDE_PX**2 // 2]
        return trace

    return rule


def colour_episode(seed: int, *, num_steps: int = 40, task: str = "toy-paint") -> Episode:
    """Play the world that ``action_rule`` dreams: each picture shows the last action."""
    rng = np.random.default_rng(seed)
    # Multiples of 2 / 255, so that uint8 pictures hold them exactly.
    levels = rng.integers(0, 256, (num_steps, 3))
    colours = np.concatenate([np.zeros((1, 3), np.int64), levels]).astype(np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (num_steps + 1, SIDE_PX, SIDE_PX, 3)).copy()
    return Episode(
        frames=frames,
        actions=(levels / 127.5 - 1).astype(np.float32),
        rewards=np.zeros(num_steps, np.float32),
        terminated=False,
        task=task,
        source="random",
        seed=seed,
    )


def still_episode(seed: int, *, num_steps: int = 40, task: str = "toy-paint") -> Episode:
    """Play a world where nothing moves, under no action."""
    moving = colour_episode(seed, num_steps=num_steps, task=task)
    frames = np.broadcast_to(moving.frames[3:4], moving.frames.shape).copy()
    return replace(moving, frames=frames, actions=np.zeros_like(moving.actions))
