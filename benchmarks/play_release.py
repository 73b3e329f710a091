"""What a dreamed frame of MMBench2's published network costs; called by ``play.py``.

Three ways of dreaming the same frame with the same weights, turn about in one process:

- ``step``: our persistent ring; K substeps of one frame, and one forward that commits it;
- ``re-prefilled``: a cache rebuilt from the context for every frame, then K substeps of one frame;
- ``whole windows``: no cache, the way the release plays by default: K forwards of all frames.

``--size tiny`` imports the tiny release of the tests; ``--size full`` draws random weights of the
published size on the device itself, which cost the same, and ``quarter`` those of a network of a
quarter of the width. A forward costs a fixed part c (calls) and a part f for each frame: a step is
9 c + 9 f, a re-prefilled frame 9 c + 31 f. The ratio measures the cache only where f is well above
c; on a GPU c is nearly all, unless ``--graphs`` replays a forward of one frame as one CUDA graph.
``--only-ring`` leaves out whole windows and predictors, which take most of the time.

    python benchmarks/play.py --model release --size tiny
    python benchmarks/play.py --model release --size quarter --rounds 2 --quick
    python benchmarks/play.py --model release --size full --device cuda --precision bf16 --quick
    python benchmarks/play.py --model release --size full --device cuda --quick --graphs
"""

import contextlib
import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from reverie.nn.blocks import StackConfig, banded_mask

TINY = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "mmbench2-tiny"
TASK = "tiny-push"
LANES = 5
WARM_UP_FRAMES = 2
"""A dream begins with a full ring: every frame costs the same but the first, which allocates."""
QUARTER = 4
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
    elif arguments.size in ("quarter", "full"):
        world = draw_world(arguments.size, torch.device(arguments.device))
    else:
        world = load_world_model(Path(arguments.size))
    world = world.to(arguments.device).eval().requires_grad_(False)
    if arguments.graphs:
        world.record()
    return world


@torch.no_grad()
def draw_world(size: str, device: torch.device) -> ShortcutWorld:
    """Draw weights of the published size, or of a quarter of its width, where they will be used."""
    torch.manual_seed(0)
    preset = released((TASK,))
    assert isinstance(preset.tokenizer, CausalTokenizerConfig)
    tokenizer, dynamics = preset.tokenizer, preset.dynamics
    if size == "quarter":
        tokenizer = replace(
            tokenizer, encoder=narrowed(tokenizer.encoder), decoder=narrowed(tokenizer.decoder)
        )
        dynamics = replace(dynamics, stack=narrowed(dynamics.stack))
    # On the device: 340 million numbers are not drawn on a CPU and copied.
    with device:
        world = make_world(CausalTokenizer(tokenizer), dynamics, released_heads())
    world = world.to(device)
    for weights in world.parameters():
        # Layers that begin at zero would make all predictions equal.
        if not weights.any():
            weights.normal_(std=0.02)
    return world


def narrowed(stack: StackConfig) -> StackConfig:
    """Return a stack of a quarter of the width."""
    assert stack.mlp_hidden is not None
    return replace(stack, width=stack.width // QUARTER, mlp_hidden=stack.mlp_hidden // QUARTER)


def measure(
    world: ShortcutWorld,
    arguments: Namespace,
    turn_about: Callable[..., Any],
    spread: Callable[..., Any],
) -> dict[str, Any]:
    """Return milliseconds, frames per second and ratios, as medians with quartiles."""
    difference = check_agreement(world, has_windows=not arguments.only_ring)
    limit = TOLERANCE[arguments.precision]
    assert difference < limit, f"the ways of dreaming differ by {difference:.3g} of a latent's std"

    def turns(first: Call, second: Call) -> Any:
        hurry = {"num_warm_up": 1, "num_calls": 1} if arguments.quick else {}
        return turn_about(first, second, num_rounds=arguments.rounds, **hurry)

    step, prefilled, cpu = turns(stepping(world), prefilling(world))
    numbers = {
        "device": device_name(world.device),
        "precision": arguments.precision,
        "graphs": arguments.graphs,
        "parameters": sum(weights.numel() for weights in world.parameters()),
        "context": world.max_context,
        "num_flow_steps": world.num_flow_steps,
        "largest_difference": difference,
        "step_ms": spread(1000 * step),
        "reprefilled_ms": spread(1000 * prefilled),
        "reprefilled_over_step": spread(prefilled / step),
        "reprefilled_over_step_cpu_time": spread(cpu),
    }
    if arguments.only_ring:
        return numbers
    again, whole, _ = turns(stepping(world), windows(world))
    bare, read, _ = turns(stepping(world, decodes=True), stepping(world, decodes=True, reads=True))
    return numbers | {
        "whole_windows_ms": spread(1000 * whole),
        "whole_windows_over_step": spread(whole / again),
        "fps_decoded": spread(1 / bare),
        "fps_decoded_with_three_predictors": spread(1 / read),
    }


def stepping(world: ShortcutWorld, *, decodes: bool = False, reads: bool = False) -> Call:
    """Dream on from a full ring; perhaps show each frame, perhaps read the page's predictors."""
    rng = torch.Generator().manual_seed(1)
    context, latents = clip(world, rng), random_latents(world, rng)
    noise = world.draw_context_noise(1, latents.shape[1], rng)
    state = world.start_from_latents(latents, context.to(world.device), noise)
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
        return world.denoise(z[:, 0], Labels(level, exponent), new)[0][:, None]

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


def check_agreement(world: ShortcutWorld, *, has_windows: bool) -> float:
    """Compare the ways of dreaming on one frame; they must be the same mathematics."""
    rng = torch.Generator().manual_seed(2)
    context, latents = clip(world, rng), random_latents(world, rng)
    noise = world.draw_context_noise(1, latents.shape[1], rng)
    seed = torch.Generator().manual_seed(3)
    once = reprefilled(world, context, latents, noise, seed)[0][:, 0]
    ways = [once]
    if has_windows:
        seed = torch.Generator().manual_seed(3)
        ways.append(by_windows(world, context, latents, noise, seed)[:, 0])
    state = world.start_from_latents(latents, context.to(world.device), noise)
    seed = torch.Generator().manual_seed(3)
    now = action(seed)
    stepped = world.step(state, now, world.draw_noise(1, seed))[1].latent
    spread = stepped.float().std()
    return float(max((x.float() - stepped.float()).abs().max() for x in ways) / spread)


def clip(world: ShortcutWorld, rng: torch.Generator) -> Batch:
    """Draw the actions of a context; its latents are drawn apart, and no frame is encoded."""
    count = world.max_context
    nothing = torch.zeros(1, count, dtype=torch.bool)
    return Batch(
        frames=None,
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
