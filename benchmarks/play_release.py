"""What a dreamed frame of MMBench2's published network costs; called by ``play.py``.

Three ways of dreaming the same frame with the same weights, turn about in one process:

- ``step``: our persistent ring; K substeps of one frame, and one forward that commits it;
- ``re-prefilled``: a cache rebuilt from the context for every frame, then K substeps of one frame;
- ``whole windows``: no cache, the way the release plays by default: K forwards of all frames.

``--size tiny`` imports the tiny release of the tests; ``--size full`` draws random weights of the
published size, which cost the same.

    python benchmarks/play.py --model release --size tiny
    python benchmarks/play.py --model release --size full --device cuda --precision bf16 --compile
"""

import contextlib
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reverie.core.batch import Batch
from reverie.hallucination.gauges import PAGE_GAUGES, ReadingSet
from reverie.models.api import StepContext
from reverie.models.convert.mmbench2 import TaskTable, import_release
from reverie.models.dynamics.net import FrameInputs
from reverie.models.dynamics.shortcut import Labels
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import load_world_model, make_world
from reverie.models.presets import released, released_heads
from reverie.models.tokenizer.causal import CausalTokenizer, CausalTokenizerConfig
from reverie.nn.attention import KeysValues
from reverie.nn.blocks import banded_mask

TINY = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "mmbench2-tiny"
TASK = "tiny-push"
LANES = 5
WARM_UP_FRAMES = 30
"""More than the ring holds: from here on every frame costs the same."""
TOLERANCE = {"fp32": 1e-3, "bf16": 0.2}
"""Largest difference of a latent between the ways of computing it, as a share of its spread."""
READINGS = ReadingSet(names=(*PAGE_GAUGES, *(f"{name}/step" for name in PAGE_GAUGES)))

Call = Callable[[], object]


def run(arguments: Namespace, turn_about: Callable[..., Any], spread: Callable[..., Any]) -> None:
    """Measure, print, and write the numbers if asked."""
    world = make(arguments)
    device = torch.device(arguments.device)
    quick = contextlib.nullcontext()
    if arguments.precision == "bf16":
        quick = torch.autocast(device.type, torch.bfloat16)
    with torch.inference_mode(), quick:
        numbers = measure(world, arguments, turn_about, spread)
    show(numbers)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


def make(arguments: Namespace) -> ShortcutWorld:
    """Load the tiny release, a model folder, or draw the published size."""
    if arguments.size == "tiny":
        table = TaskTable(names=(TASK,))
        world = import_release(TINY / "tokenizer.pt", TINY / "dynamics.pt", table).world
    elif arguments.size == "full":
        torch.manual_seed(0)
        preset = released((TASK,))
        assert isinstance(preset.tokenizer, CausalTokenizerConfig)
        world = make_world(CausalTokenizer(preset.tokenizer), preset.dynamics, released_heads())
        with torch.no_grad():
            for weights in world.parameters():
                if not weights.any():
                    weights.normal_(std=0.02)
    else:
        world = load_world_model(Path(arguments.size))
    world = world.to(arguments.device).eval().requires_grad_(False)
    if arguments.compile:
        mode = "reduce-overhead" if world.device.type == "cuda" else "default"
        for name in ("step", "forward"):
            setattr(world.net, name, kept(torch.compile(getattr(world.net, name), mode=mode)))
    return world


def kept(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Copy what a recorded graph gives: its next run writes over it."""

    def call(*inputs: Any) -> tuple[Tensor, Tensor, list[KeysValues]]:
        torch.compiler.cudagraph_mark_step_begin()
        clean, agents, past = compiled(*inputs)
        copies = [KeysValues(item.keys.clone(), item.values.clone()) for item in past]
        return clean.clone(), agents.clone(), copies

    return call


def measure(
    world: ShortcutWorld,
    arguments: Namespace,
    turn_about: Callable[..., Any],
    spread: Callable[..., Any],
) -> dict[str, Any]:
    """Return milliseconds, frames per second and ratios, as medians with quartiles."""
    difference = check_agreement(world)
    limit = TOLERANCE[arguments.precision]
    assert difference < limit, f"the ways of dreaming differ by {difference:.3g} of a latent's std"
    rounds = arguments.rounds
    step, prefilled, _ = turn_about(stepping(world), prefilling(world), num_rounds=rounds)
    again, whole, _ = turn_about(stepping(world), windows(world), num_rounds=rounds)
    bare, read, _ = turn_about(
        stepping(world, decodes=True), stepping(world, decodes=True, reads=True), num_rounds=rounds
    )
    return {
        "device": device_name(world.device),
        "precision": arguments.precision,
        "compiled": arguments.compile,
        "parameters": sum(weights.numel() for weights in world.parameters()),
        "context": world.max_context,
        "num_flow_steps": world.num_flow_steps,
        "largest_difference": difference,
        "step_ms": spread(1000 * np.concatenate([step, again])),
        "reprefilled_ms": spread(1000 * prefilled),
        "whole_windows_ms": spread(1000 * whole),
        "reprefilled_over_step": spread(prefilled / step),
        "whole_windows_over_step": spread(whole / again),
        "fps_decoded": spread(1 / bare),
        "fps_decoded_with_three_predictors": spread(1 / read),
    }


def stepping(world: ShortcutWorld, *, decodes: bool = False, reads: bool = False) -> Call:
    """Dream on from a full ring; perhaps show each frame, perhaps read the page's predictors."""
    rng = torch.Generator().manual_seed(1)
    context = clip(world, rng)
    state = world.start(context, world.draw_context_noise(1, context.num_frames, rng))
    for _ in range(WARM_UP_FRAMES):
        state, _ = world.step(state, action(rng), world.draw_noise(1, rng))

    def call() -> object:
        nonlocal state
        before, now = state, action(rng)
        state, prediction = world.step(before, now, world.draw_noise(1, rng))
        if decodes:
            world.decode(state)
        if reads:
            seen = StepContext(before=before, action=now, prediction=prediction, after=state)
            READINGS.take(world, seen)
        return settle(world, prediction.latent)

    return call


def prefilling(world: ShortcutWorld) -> Call:
    """Rebuild the cache from the context, then dream the frame's substeps."""
    rng = torch.Generator().manual_seed(1)
    context = clip(world, rng)
    latents = random_latents(world, rng)

    def call() -> object:
        noise = world.draw_context_noise(1, latents.shape[1], rng)
        return settle(world, reprefilled(world, context, latents, noise, rng)[0])

    return call


def reprefilled(
    world: ShortcutWorld, context: Batch, latents: Tensor, noise: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Prefill, then K forwards of one frame; nothing is committed, as it would be thrown away."""
    state = world.start_from_latents(latents, context.to(world.device), noise)
    position, past = state.cache.blocks()
    told = torch.ones(1, 1, dtype=torch.bool, device=world.device)
    padded = torch.nn.functional.pad(action(rng), (0, world.action_width - LANES))
    inputs = FrameInputs.told(
        padded[:, None].to(world.device), state.action_mask, told, state.language
    )

    new = world.net.prepare(inputs, position, past)

    def denoise(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        return world.net.step(z[:, 0], Labels(level, exponent), new)[0][:, None]

    start = world.draw_noise(1, rng).start[:, None]
    return world.flow.integrate(denoise, start, world.num_flow_steps, world.latent_limit)


def windows(world: ShortcutWorld) -> Call:
    """Dream a frame by K forwards of the whole window."""
    rng = torch.Generator().manual_seed(1)
    context, latents = clip(world, rng), random_latents(world, rng)

    def call() -> object:
        noise = world.draw_context_noise(1, latents.shape[1], rng)
        return settle(world, by_windows(world, context, latents, noise, rng))

    return call


def by_windows(
    world: ShortcutWorld, context: Batch, latents: Tensor, noise: Tensor, rng: torch.Generator
) -> Tensor:
    """Dream the next frame without a cache."""
    config, device = world.net.config, world.device
    count, lanes = latents.shape[1], world.action_width
    context = context.to(device)
    actions = torch.cat([context.prev_actions, action(rng)[:, None].to(device)], dim=1)
    actions[:, 0] = 0
    actions = torch.nn.functional.pad(actions, (0, lanes - LANES))
    mask = torch.nn.functional.pad(context.action_mask, (0, lanes - LANES))
    language = world.net.language_of(context.task, None, device)
    told = torch.ones(1, count + 1, dtype=torch.bool, device=device)
    inputs = FrameInputs.told(actions, mask, told, language)
    past = world.commit_signal * latents + (1 - world.commit_signal) * noise
    levels = torch.full((1, count), config.commit_level, device=device)
    finest = torch.full_like(levels, config.shortcut.finest_exponent)
    band = banded_mask(count + 1, config.context, device)

    def denoise(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        labels = Labels(torch.cat([levels, level], dim=1), torch.cat([finest, exponent], dim=1))
        return world.net(torch.cat([past, z], dim=1), labels, inputs, band)[0][:, -1:]

    start = world.draw_noise(1, rng).start[:, None]
    return world.flow.integrate(denoise, start, world.num_flow_steps, world.latent_limit)[0]


def check_agreement(world: ShortcutWorld) -> float:
    """Compare the three ways on one frame; they must be the same mathematics."""
    rng = torch.Generator().manual_seed(2)
    context, latents = clip(world, rng), random_latents(world, rng)
    noise = world.draw_context_noise(1, latents.shape[1], rng)
    seed = torch.Generator().manual_seed(3)
    once = reprefilled(world, context, latents, noise, seed)[0][:, 0]
    whole = by_windows(world, context, latents, noise, torch.Generator().manual_seed(3))[:, 0]
    state = world.start_from_latents(latents, context.to(world.device), noise)
    seed = torch.Generator().manual_seed(3)
    now = action(seed)
    stepped = world.step(state, now, world.draw_noise(1, seed))[1].latent
    spread = stepped.float().std()
    return float(max((x.float() - stepped.float()).abs().max() for x in (once, whole)) / spread)


def clip(world: ShortcutWorld, rng: torch.Generator) -> Batch:
    """Draw a context; what it shows does not change what it costs."""
    spec, count = world.tokenizer.frame_spec, world.max_context
    nothing = torch.zeros(1, count, dtype=torch.bool)
    return Batch(
        frames=torch.randint(0, 256, (1, count, *spec.shape), generator=rng, dtype=torch.uint8),
        prev_actions=2 * torch.rand(1, count, LANES, generator=rng) - 1,
        prev_rewards=torch.zeros(1, count),
        action_mask=torch.ones(1, LANES),
        is_first=nothing,
        is_terminal=nothing,
        task=(world.tasks[0],),
    )


def random_latents(world: ShortcutWorld, rng: torch.Generator) -> Tensor:
    """Draw latents in the tokenizer's range."""
    return torch.tanh(world.draw_context_noise(1, world.max_context, rng))


def action(rng: torch.Generator) -> Tensor:
    """Draw an action."""
    return 2 * torch.rand(1, LANES, generator=rng) - 1


def settle(world: ShortcutWorld, value: Tensor) -> Tensor:
    """Wait until the device has computed the value."""
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    return value


def device_name(device: torch.device) -> str:
    """Name the device as a report should."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def show(numbers: dict[str, Any]) -> None:
    """Print one line per number; medians with quartiles."""
    table = Table("", "", title="A dreamed frame of the release", show_header=False)
    for name, value in numbers.items():
        shown = str(value)
        if isinstance(value, dict):
            shown = f"{value['median']:.3g}  [{value['low']:.3g}, {value['high']:.3g}]"
        table.add_row(name, shown)
    Console().print(table)
