"""What a tokenizer, a world model and a gauge are. Everything above the models sees only this."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.types import FrameSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentSpec:
    """Shape and scale of what a tokenizer makes of one frame."""

    num_tokens: int
    num_channels: int
    scale: float
    """Std of the tokenizer's raw output over its training set; latents are raw output / scale."""
    frames_per_latent: int = 1
    """More than 1 only off the shelf: a video's first frame makes a latent by itself, then every so
    many frames make one. World models need 1."""

    @property
    def numbers_per_frame(self) -> float:
        """How many numbers stand for a frame of a long video."""
        return self.num_tokens * self.num_channels / self.frames_per_latent


class TokenizerProtocol(Protocol):
    """Frames to latents and back; ``state`` carries what a causal tokenizer must remember."""

    @property
    def spec(self) -> LatentSpec:
        """Shape and scale of the latents."""
        ...

    @property
    def frame_spec(self) -> FrameSpec:
        """Size of the frames it reads and paints."""
        ...

    def encode(
        self, frames: UInt8[Tensor, "b t h w 3"], state: Any = None
    ) -> tuple[Float[Tensor, "b t n d"], Any]:
        """Encode frames that follow those ``state`` has seen; return latents and the next state."""
        ...

    def decode(
        self, latents: Float[Tensor, "b t n d"], state: Any = None
    ) -> tuple[UInt8[Tensor, "b t h w 3"], Any]:
        """Decode latents that follow those ``state`` has seen; return frames and the next state."""
        ...

    def round_trip(self, latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return Enc(Dec(latents)) of single frames, in floats: no rounding to uint8 between."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Noise:
    """The randomness of one dreamed frame, drawn outside the model."""

    start: Float[Tensor, "b n d"]
    """Where the flow starts."""
    commit: Float[Tensor, "b n d"]
    """What is mixed into the finished frame when it enters the cache."""

    def fork(self, num_copies: int) -> "Noise":
        """Repeat every row ``num_copies`` times in place: common random numbers for branches."""
        return Noise(
            start=self.start.repeat_interleave(num_copies, dim=0),
            commit=self.commit.repeat_interleave(num_copies, dim=0),
        )


class RolloutState(Protocol):
    """All that a dream carries between steps. A value: stepping returns the next one."""

    @property
    def latent(self) -> Float[Tensor, "b n d"]:
        """Latent of the newest frame, in model units (unit std)."""
        ...

    @property
    def num_frames(self) -> int:
        """Frames so far, context included."""
        ...

    @property
    def task(self) -> tuple[str, ...]:
        """Task name of each row."""
        ...

    @property
    def num_rows(self) -> int:
        """Number of dreams that run side by side."""
        ...

    def fork(self, num_copies: int) -> Self:
        """Repeat every row ``num_copies`` times (row-major); what is shared is not copied."""
        ...

    def select(self, rows: list[int]) -> Self:
        """Keep the given rows, in the given order."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prediction:
    """What a world model says of one dreamed frame."""

    latent: Float[Tensor, "b n d"]
    reward: Float[Tensor, " b"]
    """Expected raw reward that arrives with the frame."""
    continues: Float[Tensor, " b"]
    """Probability that the episode goes on after the frame."""
    features: Float[Tensor, "b m"]
    """What heads read."""
    trace: Float[Tensor, "b k n d"]
    """The clean estimate after each of the k flow substeps, in model units."""


class WorldModel(Protocol):
    """A dream: start from real frames, step under actions, decode to frames.

    ``step`` is a pure function: the same state, action and noise give the same bits.
    """

    @property
    def tokenizer(self) -> TokenizerProtocol:
        """What turns frames into latents and back."""
        ...

    @property
    def latent_spec(self) -> LatentSpec:
        """Shape of the latents that are dreamed."""
        ...

    @property
    def action_width(self) -> int:
        """Width of ``action`` in ``step``; narrower native actions get zeros on the right."""
        ...

    @property
    def max_context(self) -> int:
        """Most real frames that ``start`` uses."""
        ...

    @property
    def num_flow_steps(self) -> int:
        """Flow substeps K per dreamed frame; ``Prediction.trace`` has K entries."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks the model was trained on."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        ...

    def start(self, context: Batch, noise: Float[Tensor, "b t n d"]) -> RolloutState:
        """Begin a dream from the last ``max_context`` real frames of ``context``.

        Args:
            context: Real frames with the actions that led to them.
            noise: Standard normal, mixed into the context before it is cached; see
                ``draw_context_noise``. Only its last ``max_context`` frames are used.
        """
        ...

    def draw_context_noise(
        self, num_rows: int, num_frames: int, rng: torch.Generator
    ) -> Float[Tensor, "b t n d"]:
        """Draw the noise that ``start`` needs."""
        ...

    def draw_noise(self, num_rows: int, rng: torch.Generator) -> Noise:
        """Draw the noise of one frame for ``num_rows`` rows."""
        ...

    def step(
        self, state: Any, action: Float[Tensor, "b a"], noise: Noise
    ) -> tuple[RolloutState, Prediction]:
        """Dream one frame.

        Args:
            state: A ``RolloutState`` that this model's ``start`` or ``step`` gave.
            action: One action per row.
            noise: See ``draw_noise``.
        """
        ...

    def decode(self, state: Any) -> UInt8[Tensor, "b h w 3"]:
        """Show the newest frame."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepContext:
    """One dreamed step, as a gauge sees it."""

    before: Any
    """The ``RolloutState`` that was stepped. May be forked, not stepped."""
    action: Float[Tensor, "b a"]
    prediction: Prediction
    after: Any
    """The ``RolloutState`` that came out."""


Gauge = Callable[[WorldModel, StepContext], Float[Tensor, " b"]]
"""One reading per row and step. Must not change the state, and rows must not see each other."""
