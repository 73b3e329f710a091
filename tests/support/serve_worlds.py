"""A small honest world model for tests of the page: it shifts a coarse picture with the action."""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from reverie.core.batch import Batch
from reverie.core.errors import StaleStateError
from reverie.core.types import FrameSpec
from reverie.hallucination.calibrate import (
    Calibration,
    CalibrationSetup,
    IsotonicMap,
    LogisticMap,
)
from reverie.hallucination.conformal import GroupThreshold
from reverie.hallucination.gauges import PAGE_GAUGES
from reverie.hallucination.thresholds import Limit, ReadingSetup, TaskThresholds, Thresholds
from reverie.models.api import LatentSpec, Noise, Prediction
from reverie.serve.library import make_show
from reverie.serve.show import Show

GRID = 16
NOISE = 0.02


class PoolTokenizer:
    """Area pooling to a coarse grid; decoding repeats each cell."""

    def __init__(self, frame_spec: FrameSpec) -> None:
        self.frame_spec = frame_spec
        self.spec = LatentSpec(num_tokens=GRID * GRID, num_channels=3, scale=1.0)

    def encode(self, frames: UInt8[Tensor, "b t h w 3"], state: object = None):
        flat = rearrange(frames.float() / 255, "b t h w c -> (b t) c h w")
        pooled = functional.adaptive_avg_pool2d(flat, GRID)
        return rearrange(pooled, "(b t) c h w -> b t (h w) c", b=frames.shape[0]), state

    def decode(self, latents: Float[Tensor, "b t n d"], state: object = None):
        grid = rearrange(latents, "b t (h w) c -> (b t) c h w", h=GRID)
        size = (self.frame_spec.height_px, self.frame_spec.width_px)
        large = functional.interpolate(grid.clamp(0, 1), size=size, mode="nearest")
        frames = rearrange(large, "(b t) c h w -> b t h w c", b=latents.shape[0])
        return (frames * 255).round().to(torch.uint8), state

    def round_trip(self, latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return latents.clamp(0, 1)


@dataclass(frozen=True, eq=False)
class ShiftState:
    latent: Tensor
    num_frames: int
    task: tuple[str, ...]
    is_used: list[bool]

    @property
    def num_rows(self) -> int:
        return self.latent.shape[0]

    def fork(self, num_copies: int) -> "ShiftState":
        task = tuple(name for name in self.task for _ in range(num_copies))
        latent = self.latent.repeat_interleave(num_copies, dim=0)
        return replace(self, latent=latent, task=task, is_used=[False])

    def select(self, rows: list[int]) -> "ShiftState":
        task = tuple(self.task[row] for row in rows)
        return replace(self, latent=self.latent[rows], task=task, is_used=[False])


class ShiftWorld:
    """Lane 0 shifts the picture right, lane 1 down, with a little noise."""

    def __init__(self, tasks: tuple[str, ...], max_context: int = 4, side_px: int = 64) -> None:
        self.tokenizer = PoolTokenizer(FrameSpec(height_px=side_px, width_px=side_px))
        self.latent_spec = self.tokenizer.spec
        self.action_width = 4
        self.max_context = max_context
        self.num_flow_steps = 2
        self.tasks = tasks
        self.device = torch.device("cpu")

    def start(self, context: Batch, noise: Tensor) -> ShiftState:
        assert context.frames is not None
        assert noise.shape[1] == context.num_frames <= self.max_context
        latents, _ = self.tokenizer.encode(context.frames)
        return ShiftState(latents[:, -1], context.num_frames, context.task, [False])

    def draw_context_noise(self, num_rows: int, num_frames: int, rng: torch.Generator) -> Tensor:
        return torch.randn(num_rows, num_frames, GRID * GRID, 3, generator=rng)

    def draw_noise(self, num_rows: int, rng: torch.Generator) -> Noise:
        shape = (num_rows, GRID * GRID, 3)
        return Noise(
            start=torch.randn(shape, generator=rng), commit=torch.randn(shape, generator=rng)
        )

    def step(self, state: ShiftState, action: Tensor, noise: Noise):
        if state.is_used[0]:
            raise StaleStateError("This state was stepped before; fork it first.")
        state.is_used[0] = True
        grid = rearrange(state.latent, "b (h w) c -> b h w c", h=GRID)
        moved = torch.stack(
            [
                row.roll((round(float(lanes[1])), round(float(lanes[0]))), dims=(0, 1))
                for row, lanes in zip(grid, action, strict=True)
            ]
        )
        clean = rearrange(moved, "b h w c -> b (h w) c")
        rough, fine = clean + 2 * NOISE * noise.start, clean + NOISE * noise.start
        after = ShiftState(fine, state.num_frames + 1, state.task, [False])
        ones = torch.ones(state.num_rows)
        prediction = Prediction(
            latent=fine,
            reward=fine.mean(dim=(1, 2)),
            continues=ones,
            features=fine.flatten(1),
            trace=torch.stack([rough, fine], dim=1),
        )
        return after, prediction

    def decode(self, state: ShiftState) -> UInt8[Tensor, "b h w 3"]:
        return self.tokenizer.decode(state.latent[:, None])[0][:, 0]


def make_shift_calibration(tasks: tuple[str, ...]) -> Calibration:
    """A probability that rises with the age of the dream and is above its limit from step 4 on."""
    logistic = LogisticMap(channels=("step",), mean=(0.0,), std=(1.0,), weights=(2.0,), bias=-2.5)
    threshold = GroupThreshold(value=0.5, num_good=100, is_fallback=False)
    return Calibration(
        format_version=1,
        setup=CalibrationSetup(
            checkpoint="",
            num_flow_steps=2,
            commit_signal=1.0,
            num_seeds=2,
            normaliser="none",
            context=4,
        ),
        ahead=8,
        logistic=logistic,
        isotonic=IsotonicMap(readings=(-3.0, 3.0), values=(0.0, 1.0)),
        isotonic_by_domain={},
        domains=dict.fromkeys(tasks, "toy"),
        thresholds={"0.05": {"*": threshold}},
        instant=None,
        consistency_median={},
        num_dreams=0,
        num_twins=2,
        provenance={},
    )


def make_shift_show(
    name: str = "shift",
    tasks: tuple[str, ...] = ("toy-paint", "toy-fall"),
    max_context: int = 4,
    *,
    is_calibrated: bool = False,
) -> Show:
    """Put the world above on the page, with limits that a shifting picture crosses."""
    world = ShiftWorld(tasks, max_context=max_context)
    limits = {gauge: Limit(yellow=0.3, red=0.7) for gauge in PAGE_GAUGES}
    fitted = TaskThresholds(motion=0.05, limits=limits, num_steps=100, uses_diverged=False)
    setup = ReadingSetup(checkpoint="", num_flow_steps=2, commit_signal=1.0, num_seeds=2)
    thresholds = Thresholds(setup=setup, tasks=dict.fromkeys(tasks, fitted))
    show = make_show(name, world, thresholds=thresholds)
    return replace(show, calibration=make_shift_calibration(tasks)) if is_calibrated else show
