"""What a dreamed frame costs: with and without the cache, early and late, read and watched.

Everything that is compared runs turn about in one process, and ratios are taken pair by pair, so
that a busy machine slows both sides alike.

    python benchmarks/play.py --json play.json

With ``--model release`` it measures the published network of MMBench2; see ``play_release.py``.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from play_release import run as run_release
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.errors import CheckpointError
from reverie.hallucination.gauges import PAGE_GAUGES, ReadingSet
from reverie.hallucination.watch import NUM_TWINS, Watch
from reverie.models.api import Noise, StepContext
from reverie.models.dynamics.heads import ContinueHead, RewardHead
from reverie.models.dynamics.net import DynamicsNet, FrameInputs
from reverie.models.dynamics.shortcut import Labels
from reverie.models.dynamics.world import DreamState, ShortcutWorld
from reverie.models.load import load_world_model, resolve_model
from reverie.models.tokenizer.conv import ConvTokenizer, ConvTokenizerConfig
from reverie.nn.blocks import banded_mask
from reverie.recipes.pocket import pocket

LONG_CONTEXT = 24
MANY_TWINS = 8
EARLY_FRAME, LATE_FRAME = 50, 1000
ACTION_LANES = 2
ROUNDS = 30
WARM_UP_ROUNDS = 3
TOLERANCE = 1e-3
"""Largest difference of a latent (unit std) between both ways of computing it."""

CALLS_PER_TURN = 3
WEIGHT_STD = 0.02

READINGS = ReadingSet(names=(*PAGE_GAUGES, *(f"{name}/step" for name in PAGE_GAUGES)))


def main() -> None:
    """Measure the pocket size at 24 frames of context and a model from disk; print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pocket", help="shipped model, folder, or 'release'")
    parser.add_argument(
        "--size", default="tiny", help="of the release: tiny, quarter, full, folder"
    )
    parser.add_argument("--device", default="cpu", help="of the release")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--graphs", action="store_true", help="of the release: CUDA graphs")
    parser.add_argument("--quick", action="store_true", help="of the release: 1 round by default")
    parser.add_argument("--only-ring", action="store_true", help="of the release: two ways only")
    parser.add_argument("--rounds", type=int, default=None, help="30, or 1 with --quick")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
    torch.set_num_threads(arguments.threads)
    if arguments.model == "release":
        run_release(arguments, time_turn_about, spread)
        return
    worlds = {f"pocket size, context {LONG_CONTEXT}": make_untrained(LONG_CONTEXT)}
    worlds["pocket size, own context"] = make_untrained(pocket().dynamics.context)
    console = Console()
    try:
        worlds[arguments.model] = load_world_model(resolve_model(arguments.model))
    except CheckpointError as error:
        console.print(f"Only untrained weights are measured: {error}")
    numbers: dict[str, Any] = {"threads": arguments.threads, "rounds": arguments.rounds}
    for name, world in worlds.items():
        numbers[name] = measure(world, arguments.rounds)
    print_table(console, {name: numbers[name] for name in worlds})
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


def make_untrained(context: int) -> ShortcutWorld:
    """Make the recipe's model with random weights and another context; the cost is the same.

    Every weight is drawn: layers that begin at zero would make all outputs equal, and the check
    that both ways of computing agree would say nothing.
    """
    config = pocket()
    assert isinstance(config.tokenizer, ConvTokenizerConfig)
    torch.manual_seed(0)
    width = config.dynamics.stack.width
    world = ShortcutWorld(
        ConvTokenizer(config.tokenizer),
        DynamicsNet(replace(config.dynamics, context=context)),
        RewardHead(width, config.heads),
        ContinueHead(width, config.heads),
    )
    world.eval().requires_grad_(False)
    for weights in world.parameters():
        weights.add_(WEIGHT_STD * torch.randn_like(weights))
    return world


@torch.inference_mode()
def measure(world: ShortcutWorld, num_rounds: int) -> dict[str, Any]:
    """Return milliseconds, frames per second and ratios, as medians with quartiles."""
    cached, whole, cpu_whole_over_cached = time_turn_about(
        cached_step(world), recomputed_step(world), num_rounds=num_rounds
    )
    early, late, cpu_late_over_early = time_turn_about(
        played_frame(world, EARLY_FRAME), played_frame(world, LATE_FRAME), num_rounds=num_rounds
    )
    few, many, cpu_many_over_few = time_turn_about(
        watched_frame(world, NUM_TWINS), watched_frame(world, MANY_TWINS), num_rounds=num_rounds
    )
    return {
        "context": world.max_context,
        "num_flow_steps": world.num_flow_steps,
        "cached_step_ms": spread(1000 * cached),
        "recomputed_step_ms": spread(1000 * whole),
        "recomputed_over_cached": spread(whole / cached),
        "recomputed_over_cached_cpu_time": spread(cpu_whole_over_cached),
        "largest_difference": check_agreement(world),
        "frame_50_ms": spread(1000 * early),
        "frame_1000_ms": spread(1000 * late),
        "frame_1000_over_50": spread(late / early),
        "frame_1000_over_50_cpu_time": spread(cpu_late_over_early),
        "dream_fps_with_readings": spread(1 / np.concatenate([early, late])),
        f"dream_fps_watched_by_{NUM_TWINS}_twins": spread(1 / few),
        f"dream_fps_watched_by_{MANY_TWINS}_twins": spread(1 / many),
        f"watched_by_{MANY_TWINS}_over_{NUM_TWINS}": spread(many / few),
        f"watched_by_{MANY_TWINS}_over_{NUM_TWINS}_cpu_time": spread(cpu_many_over_few),
    }


def cached_step(world: ShortcutWorld) -> Callable[[], object]:
    """Step a dream: K forwards of one frame against the cache, one that commits."""
    rng = torch.Generator().manual_seed(1)
    _, state = begin(world, rng)
    for _ in range(world.max_context):
        state, _ = world.step(state, random_action(rng), world.draw_noise(1, rng))

    def run() -> object:
        nonlocal state
        state, prediction = world.step(state, random_action(rng), world.draw_noise(1, rng))
        return prediction

    return run


def recomputed_step(world: ShortcutWorld) -> Callable[[], object]:
    """Dream a frame without a cache, rewards included: K + 1 forwards of the whole context."""
    rng = torch.Generator().manual_seed(1)
    frames = world.max_context - 1
    spec = world.latent_spec
    past = torch.randn(1, frames, spec.num_tokens, spec.num_channels, generator=rng)
    context = random_context(world, frames + 1, rng)

    def run() -> object:
        return recompute(world, past, context, world.draw_noise(1, rng))

    return run


def recompute(
    world: ShortcutWorld, past: Tensor, window: Batch, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Dream the last frame of ``window`` from committed (noisy) latents of the frames before it.

    Returns:
        What a cached step gives too: the latent, and the reward, which is read off one more
        forward of the finished frame.
    """
    num_frames = past.shape[1] + 1
    language = world.net.language_of(window.task, window.language, world.device)
    actions = window.prev_actions * window.action_mask[:, None]
    lanes = world.action_width - actions.shape[-1]
    actions = torch.nn.functional.pad(actions, (0, lanes))
    inputs = FrameInputs(actions, ~window.is_first, language)
    mask = banded_mask(num_frames, world.max_context, world.device)
    finest = world.net.config.shortcut.finest_exponent
    before = torch.full((1, num_frames - 1), world.net.config.commit_level)

    def forward(z: Tensor, level: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
        labels = Labels(
            torch.cat([before, level], dim=1),
            torch.cat([torch.full_like(before, finest), exponent], dim=1),
        )
        clean, agents, _ = world.net(torch.cat([past, z], dim=1), labels, inputs, mask)
        return clean[:, -1:], agents[:, -1:]

    def denoise(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        return forward(z, level, exponent)[0]

    clean, _ = world.flow.integrate(
        denoise, noise.start[:, None], world.num_flow_steps, world.latent_limit
    )
    level = torch.full((1, 1), world.net.config.commit_level)
    committed = world.flow.corrupt(clean, noise.commit[:, None], level)
    _, agents = forward(committed, level, torch.full_like(level, finest))
    assert world.continue_head is not None and world.reward_head is not None
    world.continue_head(agents)
    return clean[:, 0], world.reward_head.expected(agents)[:, 0]


def check_agreement(world: ShortcutWorld) -> float:
    """Compare both ways on the first dreamed frame; they must be the same mathematics."""
    rng = torch.Generator().manual_seed(2)
    window = random_context(world, world.max_context, rng)
    context = window.slice_time(0, world.max_context - 1)
    context_noise = world.draw_context_noise(1, context.num_frames, rng)
    noise = world.draw_noise(1, rng)
    state = world.start(context, context_noise)
    _, prediction = world.step(state, window.prev_actions[:, -1], noise)
    assert context.frames is not None
    latents, _ = world.tokenizer.encode(context.frames)
    signal = torch.full((1, context.num_frames), world.net.config.commit_level)
    past = world.flow.corrupt(latents, context_noise, signal)
    latent, reward = recompute(world, past, window, noise)
    difference = max(
        (latent - prediction.latent).abs().max(), (reward - prediction.reward).abs().max()
    )
    assert difference < TOLERANCE, f"cache and recomputation differ by {difference:.3g}"
    return float(difference)


def played_frame(world: ShortcutWorld, frame: int) -> Callable[[], object]:
    """Do what the page does for a frame (step, decode, three predictors), from ``frame`` on."""
    rng = torch.Generator().manual_seed(3)
    _, state = begin(world, rng)
    while state.num_frames < frame:
        state, _ = world.step(state, random_action(rng), world.draw_noise(1, rng))

    def run() -> object:
        nonlocal state
        step = random_step(world, state, rng)
        state = step.after
        world.decode(state)
        return READINGS.take(world, step)

    return run


def watched_frame(world: ShortcutWorld, num_twins: int) -> Callable[[], object]:
    """Step, decode, and take all signals that a calibrated probability looks at."""
    rng = torch.Generator().manual_seed(4)
    context, state = begin(world, rng)
    watch = Watch.begin(world, context, state, num_twins=num_twins)

    def run() -> object:
        nonlocal state, watch
        step = random_step(world, state, rng)
        state = step.after
        watch, signals = watch.observe(world, step)
        return signals

    return run


def random_step(world: ShortcutWorld, state: DreamState, rng: torch.Generator) -> StepContext:
    """Dream one frame under a random action."""
    action = random_action(rng)
    after, prediction = world.step(state, action, world.draw_noise(1, rng))
    return StepContext(before=state, action=action, prediction=prediction, after=after)


def begin(world: ShortcutWorld, rng: torch.Generator) -> tuple[Batch, DreamState]:
    """Start a dream from as many frames as the model can use; return these as well."""
    context = random_context(world, world.max_context, rng)
    return context, world.start(context, world.draw_context_noise(1, world.max_context, rng))


def random_action(rng: torch.Generator) -> Tensor:
    """Draw an action of two lanes."""
    return 2 * torch.rand(1, ACTION_LANES, generator=rng) - 1


def random_context(world: ShortcutWorld, num_frames: int, rng: torch.Generator) -> Batch:
    """Draw frames and actions; what they show does not change what they cost."""
    spec = world.tokenizer.frame_spec
    is_first = torch.zeros(1, num_frames, dtype=torch.bool)
    shape = (1, num_frames, *spec.shape)
    return Batch(
        frames=torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8),
        prev_actions=2 * torch.rand(1, num_frames, ACTION_LANES, generator=rng) - 1,
        prev_rewards=torch.zeros(1, num_frames),
        action_mask=torch.ones(1, ACTION_LANES),
        is_first=is_first,
        is_terminal=is_first,
        task=(world.tasks[0],),
    )


def time_turn_about(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    num_rounds: int,
    num_warm_up: int = WARM_UP_ROUNDS,
    num_calls: int = CALLS_PER_TURN,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time two things turn about, the order changing every round.

    Args:
        first: One.
        second: The other.
        num_rounds: How often.
        num_warm_up: Rounds before that, which are not counted.
        num_calls: Timed calls in each turn.

    Returns:
        Seconds of the first, seconds of the second, and the second's CPU time over the first's,
        which other programs disturb less.
    """
    seconds = np.zeros((2, num_rounds + num_warm_up, 2))
    for turn in range(num_rounds + num_warm_up):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            # The call after a change of turn finds the other's data in the processor's caches,
            # which play never does; it is not timed.
            (first, second)[which]()
            begun = (time.perf_counter(), time.process_time())
            for _ in range(num_calls):
                (first, second)[which]()
            ended = (time.perf_counter(), time.process_time())
            seconds[which, turn] = np.subtract(ended, begun) / num_calls
    wall, cpu = np.moveaxis(seconds[:, num_warm_up:], 2, 0)
    return wall[0], wall[1], cpu[1] / cpu[0]


def spread(values: np.ndarray) -> dict[str, float]:
    """Return median and quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def print_table(console: Console, numbers: dict[str, dict[str, Any]]) -> None:
    """Print one column per model; medians with quartiles."""
    table = Table("", *numbers, title="A dreamed frame")
    names = [
        name for name, value in next(iter(numbers.values())).items() if isinstance(value, dict)
    ]
    for name in ("context", "num_flow_steps"):
        table.add_row(name, *(str(column[name]) for column in numbers.values()))
    for name in names:
        table.add_row(name, *(written(column[name]) for column in numbers.values()))
    differences = (f"{column['largest_difference']:.1e}" for column in numbers.values())
    table.add_row("largest_difference", *differences)
    console.print(table)


def written(value: dict[str, float]) -> str:
    """Write a median with its quartiles."""
    return f"{value['median']:.3g}  [{value['low']:.3g}, {value['high']:.3g}]"


if __name__ == "__main__":
    main()
