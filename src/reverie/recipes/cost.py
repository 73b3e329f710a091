"""What a run will cost, before it begins: parameters, arithmetic, memory, disk and time.

Speeds are measured here, on this machine, with untrained networks on one small batch. Deep ones
are counted at two small depths and extended along the line through both; the deeper of the two is
timed, and time is extended as arithmetic is.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reverie.core.batch import Batch
from reverie.envs.registry import task_spec
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective
from reverie.models.perceptual import load_perceptual
from reverie.models.tokenizer import TOKENIZERS
from reverie.models.tokenizer.causal import CausalTokenizerConfig
from reverie.models.tokenizer.objective import TokenizerObjective
from reverie.nn.blocks import StackConfig
from reverie.parallel.memory import wait_for
from reverie.parallel.precision import Precision, autocast
from reverie.recipes.base import RunConfig
from reverie.train.optim import OptimConfig, make_optimizer

FORWARD_AND_BACKWARD = 3
"""A backward pass costs about twice the forward pass."""
STATES_PER_WEIGHT = 5
"""Weight, gradient, two moments of AdamW, average: float32 each."""
BYTES = 4
BYTES_PER_STORED_PIXEL = 0.03
"""Lossless strips of MiniArcade at 224x224 take at most 4.5 KB a frame; natural scenes more."""
_PROBED_LENGTH = {"cpu": 2}
"""Frames of a window that is timed on a CPU, which should take seconds, not minutes."""
_WARM_UP_STEPS = {"cpu": 0}
"""Whole steps before the timed one. On a CPU the pass that counts operations has warmed it up."""
_MIN_ROWS = 4
"""As few as can be divided among all kinds of rows."""
_MAX_ROWS = 16
_NUM_TIMED = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseCost:
    """Cost of one training."""

    name: str
    parameters: int
    steps: int
    frames_per_step: int
    flops_per_frame: float
    """Forward and backward, as torch counts matrix products and attention."""
    state_gb: float
    """Weights, gradients, optimiser and averages; activations come on top."""
    frames_per_s: float
    """Measured here, on a small batch."""
    hours: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCost:
    """Cost of a whole run."""

    phases: tuple[PhaseCost, ...]
    data_frames: int
    """At most; episodes that end early have fewer."""
    disk_gb: float
    """Episodes, decoded frames while the tokenizer trains, cached latents, checkpoints."""
    device: str

    @property
    def hours(self) -> float:
        """Time of all trainings on this machine; collecting and evaluating come on top."""
        return sum(phase.hours for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"hours": self.hours}


def estimate(config: RunConfig, device: torch.device) -> RunCost:
    """Count and measure what a run costs.

    Args:
        config: The run.
        device: Where its steps are timed.
    """
    first, dynamics = config.tokenizer_training, _measure_dynamics(config, device)
    trainings = [("dynamics", config.dynamics_training)]
    trainings += [(stage.name, stage.training) for stage in config.stages]
    tokenizer = _measure_tokenizer(config, device)
    phases = [
        _phase("tokenizer", tokenizer, first.fit.total_steps, first.batch_size, first.window_length)
    ]
    phases += [
        _phase(name, dynamics, one.fit.total_steps, one.batch_size, one.window_length)
        for name, one in trainings
    ]
    num_frames = _num_frames(config)
    return RunCost(
        phases=tuple(phases),
        data_frames=num_frames,
        disk_gb=_disk_gb(config, num_frames, phases),
        device=str(device),
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    """What was counted and timed of one network."""

    parameters: float
    flops_per_frame: float
    seconds_per_frame: float

    def beyond(self, other: "_Sample", periods: float) -> "_Sample":
        """Extend the line from this one (one period of layers) through another (two), timed."""

        def line(a: float, b: float) -> float:
            return a + (b - a) * (periods - 1)

        flops = line(self.flops_per_frame, other.flops_per_frame)
        # A line through two times would be a line through their noise.
        seconds = other.seconds_per_frame * flops / other.flops_per_frame
        return _Sample(line(self.parameters, other.parameters), flops, seconds)


def _extrapolate(measure: Callable[[int, int], _Sample], periods: float) -> _Sample:
    """Measure a network of so many periods of layers, or a line through two shallow ones.

    Everything that is counted grows by the same amount with each period; a model for many GPUs
    need not fit on this machine to know what it will cost.
    """
    if periods <= 2:  # noqa: PLR2004
        return measure(0, _NUM_TIMED)
    return measure(1, 0).beyond(measure(2, _NUM_TIMED), periods)


def _shallow(stack: StackConfig, periods: int) -> StackConfig:
    return replace(stack, depth=periods * stack.time_every) if periods else stack


def _measure_tokenizer(config: RunConfig, device: torch.device) -> _Sample:
    training, whole = config.tokenizer_training, config.tokenizer
    length = min(training.window_length, _PROBED_LENGTH.get(device.type, training.window_length))
    rows = 1 if device.type == "cpu" else min(training.batch_size, _MAX_ROWS)
    size = (config.data.frame.height_px, config.data.frame.width_px, 3)
    frames = torch.zeros((rows, length, *size), dtype=torch.uint8, device=device)
    rng = torch.Generator(device).manual_seed(0)
    perceptual = load_perceptual(training.perceptual, device=device)

    def measure(periods: int, num_timed: int) -> _Sample:
        shape = whole
        if isinstance(shape, CausalTokenizerConfig):
            encoder, decoder = (_shallow(x, periods) for x in (shape.encoder, shape.decoder))
            shape = replace(shape, encoder=encoder, decoder=decoder)
        tokenizer = TOKENIZERS.load(config.tokenizer_name)(shape)
        objective = TokenizerObjective(tokenizer, perceptual=perceptual).to(device)
        return _sample(
            objective,
            lambda: objective(frames, rng=rng).total,
            num_frames=rows * length,
            precision=training.precision,
            num_timed=num_timed,
        )

    periods = 1.0
    if isinstance(whole, CausalTokenizerConfig):
        periods = whole.encoder.depth / whole.encoder.time_every
    return _extrapolate(measure, periods)


def _measure_dynamics(config: RunConfig, device: torch.device) -> _Sample:
    training, net = config.dynamics_training, config.dynamics
    length = min(training.window_length, _PROBED_LENGTH.get(device.type, training.window_length))
    rows = _MIN_ROWS if device.type == "cpu" else _MAX_ROWS
    latents = torch.zeros(
        rows, length, net.num_latent_tokens, net.num_latent_channels, device=device
    )
    batch = Batch(
        frames=None,
        prev_actions=torch.zeros(rows, length, net.action_width),
        prev_rewards=torch.zeros(rows, length),
        action_mask=torch.ones(rows, net.action_width),
        is_first=torch.zeros(rows, length, dtype=torch.bool),
        is_terminal=torch.zeros(rows, length, dtype=torch.bool),
        task=(net.tasks[0],) * rows,
    ).to(device)
    rng = torch.Generator(device).manual_seed(0)
    # The last step, in which every loss is trained.
    step = config.objective.total_steps - 1

    def measure(periods: int, num_timed: int) -> _Sample:
        shape = replace(net, stack=_shallow(net.stack, periods))
        objective = DynamicsObjective(
            DynamicsNet(shape), config.heads, config.objective, latent_limit=2.0
        ).to(device)
        return _sample(
            objective,
            lambda: objective(latents, batch, step=step, rng=rng).total,
            num_frames=rows * length,
            precision=training.precision,
            num_timed=num_timed,
        )

    return _extrapolate(measure, net.stack.depth / net.stack.time_every)


def _sample(
    objective: nn.Module,
    loss: Callable[[], Tensor],
    *,
    num_frames: int,
    precision: Precision,
    num_timed: int,
) -> _Sample:
    """Count parameters and operations, and time so many steps; none leaves the time at 0."""
    device = next(objective.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        loss()
    optimizer = make_optimizer(objective, OptimConfig(lr=1e-6))
    times: list[float] = []
    num_warm_up = _WARM_UP_STEPS.get(device.type, 1) if num_timed else 0
    for _ in range(num_warm_up + num_timed):
        with _timed(device, times):
            with autocast(device, precision):
                value = loss()
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
    return _Sample(
        parameters=float(sum(value.numel() for value in objective.parameters())),
        flops_per_frame=FORWARD_AND_BACKWARD * counter.get_total_flops() / num_frames,
        seconds_per_frame=min(times[num_warm_up:], default=0.0) / num_frames,
    )


def _phase(name: str, sample: _Sample, steps: int, rows: int, length: int) -> PhaseCost:
    return PhaseCost(
        name=name,
        parameters=round(sample.parameters),
        steps=steps,
        frames_per_step=rows * length,
        flops_per_frame=sample.flops_per_frame,
        state_gb=sample.parameters * STATES_PER_WEIGHT * BYTES / 1e9,
        frames_per_s=1 / sample.seconds_per_frame,
        hours=steps * rows * length * sample.seconds_per_frame / 3600,
    )


@contextmanager
def _timed(device: torch.device, times: list[float]) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    wait_for(device)
    times.append(time.perf_counter() - begun)


def _num_frames(config: RunConfig) -> int:
    data, total = config.data, 0
    for name in data.tasks:
        whole = task_spec(name).max_steps
        limits = [min(limit, whole) for limit in data.step_limits] or [whole]
        total += round(data.episodes_per_task * (sum(limits) / len(limits) + 1))
    return total


def _disk_gb(config: RunConfig, num_frames: int, phases: list[PhaseCost]) -> float:
    frame, latent = (
        config.data.frame,
        config.tokenizer.num_tokens * config.tokenizer.latent_channels,
    )
    raw = 3 * frame.height_px * frame.width_px
    stored = raw if config.data.codec == "zstd" else raw * BYTES_PER_STORED_PIXEL
    checkpoints = 2 * max(phase.parameters for phase in phases) * 4 * BYTES
    return (num_frames * (stored + raw + 2 * latent) + checkpoints) / 1e9
