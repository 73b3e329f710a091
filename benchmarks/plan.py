"""What one planning decision costs: shared, cached context against the straightforward way.

The straightforward way keeps no cache: every candidate carries a copy of the context, and every
flow substep of every dreamed frame runs the network over the context and all frames dreamed so
far. Both make the same decision under the same noise, and the benchmark checks that they do. They
run turn about in one process; ratios are taken pair by pair.

    python benchmarks/plan.py --json plan.json
    python benchmarks/plan.py --preset full --device cuda --brief
    python benchmarks/plan.py --preset full --device cuda --brief --graphs

The straightforward way at full size is about 20 TFLOP a forward of 32 candidates, and hundreds of
forwards make a decision: ``--brief`` makes one that should fit a minute of a GPU (24 frames of
context, 32 candidates once, 12 steps ahead, short products).
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from reverie.core.batch import Batch
from reverie.core.config import to_dict
from reverie.core.types import ActionSpec
from reverie.models import presets
from reverie.models.api import Noise, Prediction
from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, RewardHead
from reverie.models.dynamics.net import DynamicsNet, FrameInputs
from reverie.models.dynamics.shortcut import Labels
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import make_tokenizer
from reverie.nn.blocks import banded_mask
from reverie.planning.objectives import rewarding
from reverie.planning.optimisers import SearchConfig
from reverie.planning.plan import Plan, PlanConfig, plan

TASK = "pygame-pong"
ACTION = ActionSpec(width=2)
WEIGHT_STD = 0.02
BRIEF = {"context": 24, "candidates": 32, "iterations": 1, "horizon": 12, "rounds": 1, "tf32": True}
TOLERANCE = 1e-2
"""Largest difference of an action between both plans; the smallest std of the search is 0.05."""


def main() -> None:
    """Measure one decision both ways; print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="pocket", choices=("pocket", "small", "full"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--horizon", type=int, default=32)
    parser.add_argument("--dreams", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, default=0, help="frames; 0 leaves the preset's own")
    parser.add_argument("--tf32", action="store_true", help="short products on a GPU")
    parser.add_argument("--graphs", action="store_true", help="replay CUDA graphs, shared way")
    parser.add_argument("--brief", action="store_true", help="one decision for a minute of a GPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    arguments = parser.parse_args()
    if arguments.brief:
        vars(arguments).update(BRIEF)
    torch.set_num_threads(arguments.threads)
    config = PlanConfig(
        horizon=arguments.horizon,
        num_executed=arguments.horizon // 2,
        num_dreams=arguments.dreams,
        num_finalists=2,
        search=SearchConfig(
            num_candidates=arguments.candidates,
            num_elites=max(2, arguments.candidates // 4),
            num_iterations=arguments.iterations,
        ),
    )
    if arguments.tf32:
        torch.set_float32_matmul_precision("high")
    begun = time.perf_counter()
    world = make_world(arguments.preset, torch.device(arguments.device), arguments.context)
    if arguments.graphs:
        world.record()
        # Shapes that came often enough are recorded.
        for seed in range(2):
            decide(world, config, seed)
    setup_s = time.perf_counter() - begun
    # Short products differ in their last bits between both ways, and a search amplifies that.
    numbers = measure(world, config, arguments.rounds, must_agree=not arguments.tf32)
    numbers |= {"setup_s": setup_s, "tf32": arguments.tf32, "graphs": arguments.graphs}
    numbers |= {"preset": arguments.preset, "device": device_name(world.device)}
    console = Console()
    for name, value in numbers.items():
        console.print(f"{name:28} {value if not isinstance(value, dict) else written(value)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(numbers | {"plan": to_dict(config)}, indent=1) + "\n")


def make_world(preset: str, device: torch.device, context: int = 0) -> ShortcutWorld:
    """Make a world of a named size with random weights; what it dreams does not change the cost."""
    chosen: presets.Preset = getattr(presets, preset)((TASK,))
    heads, width = HeadsConfig(), chosen.dynamics.stack.width
    dynamics = replace(chosen.dynamics, context=context or chosen.dynamics.context)
    torch.manual_seed(0)
    # On the device: the hundreds of millions of numbers of a large one are not drawn on a CPU.
    with device:
        world = ShortcutWorld(
            make_tokenizer(chosen.tokenizer_name, to_dict(chosen.tokenizer)),
            DynamicsNet(dynamics),
            RewardHead(width, heads),
            ContinueHead(width, heads),
        )
    world = world.to(device).eval().requires_grad_(False)
    for weights in world.parameters():
        weights.add_(WEIGHT_STD * torch.randn_like(weights))
    return world


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WholeState:
    """A dream without a cache: every row carries all frames since the context began."""

    latent: Tensor
    committed: Tensor
    """(b t n d): all frames so far, with their little noise."""
    actions: Tensor
    told: Tensor
    """(b t): False on frames that no action led to."""
    task: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        """Number of dreams."""
        return self.latent.shape[0]

    @property
    def num_frames(self) -> int:
        """Frames so far."""
        return self.committed.shape[1]

    def fork(self, num_copies: int) -> "WholeState":
        """Copy everything."""
        return self.select([row for row in range(self.num_rows) for _ in range(num_copies)])

    def select(self, rows: list[int]) -> "WholeState":
        """Keep the given rows."""
        lanes = ("latent", "committed", "actions", "told")
        picked = {name: getattr(self, name)[rows] for name in lanes}
        return replace(self, task=tuple(self.task[row] for row in rows), **picked)


class WholeWorld:
    """The same world model, recomputing everything for every flow substep."""

    def __init__(self, world: ShortcutWorld) -> None:
        """Wrap a world; the mathematics is its own."""
        self.inner = world
        self.tokenizer, self.latent_spec = world.tokenizer, world.latent_spec
        self.action_width, self.max_context = world.action_width, world.max_context
        self.num_flow_steps, self.tasks = world.num_flow_steps, world.tasks
        self.device = world.device
        self.draw_noise, self.draw_context_noise = world.draw_noise, world.draw_context_noise

    @torch.no_grad()
    def start(self, context: Batch, noise: Tensor) -> WholeState:
        """Encode the context and keep it, noise included."""
        world = self.inner
        context = context.to(self.device)
        assert context.frames is not None
        latents, _ = world.tokenizer.encode(context.frames)
        level = world.net.config.commit_level
        levels = torch.full(latents.shape[:2], level, device=self.device)
        lanes = self.action_width - context.prev_actions.shape[2]
        return WholeState(
            latent=latents[:, -1],
            committed=world.flow.corrupt(latents, noise, levels),
            actions=functional.pad(context.prev_actions, (0, lanes)),
            told=~context.is_first,
            task=context.task,
        )

    @torch.no_grad()
    def step(
        self, state: WholeState, action: Tensor, noise: Noise
    ) -> tuple[WholeState, Prediction]:
        """Dream one frame: K + 1 forwards over all frames so far."""
        world, config = self.inner, self.inner.net.config
        rows, num_past = state.committed.shape[:2]
        actions = torch.cat([state.actions, action[:, None]], dim=1)
        told = functional.pad(state.told, (0, 1), value=True)
        language = world.net.language_of(state.task, None, self.device)
        inputs = FrameInputs(actions, told, language)
        mask = banded_mask(num_past + 1, config.context, self.device)
        finest = config.shortcut.finest_exponent
        past = torch.full((rows, num_past), config.commit_level, device=self.device)

        def forward(z: Tensor, level: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
            labels = Labels(
                torch.cat([past, level], dim=1),
                torch.cat([torch.full_like(past, finest), exponent], dim=1),
            )
            frames = torch.cat([state.committed, z], dim=1)
            clean, agents, _ = world.net(frames, labels, inputs, mask)
            return clean[:, -1:], agents[:, -1:]

        def denoise(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
            return forward(z, level, exponent)[0]

        clean, trace = world.flow.integrate(
            denoise, noise.start[:, None], self.num_flow_steps, world.latent_limit
        )
        level = torch.full_like(past[:, :1], config.commit_level)
        committed = world.flow.corrupt(clean, noise.commit[:, None], level)
        _, agents = forward(committed, level, torch.full_like(level, finest))
        after = replace(
            state,
            latent=clean[:, 0],
            committed=torch.cat([state.committed, committed], dim=1),
            actions=actions,
            told=told,
        )
        assert world.reward_head is not None
        reward = world.reward_head.expected(agents)[:, 0]
        return after, Prediction(
            latent=clean[:, 0],
            reward=reward,
            continues=torch.ones_like(reward),
            features=agents[:, 0].mean(dim=1),
            trace=trace[:, :, 0],
        )

    def decode(self, state: WholeState) -> Tensor:
        """Show the newest frame."""
        return self.tokenizer.decode(state.latent[:, None])[0][:, 0]


def decide(world: Any, config: PlanConfig, seed: int) -> Plan:
    """Start from a context and make one decision."""
    rng = torch.Generator(world.device).manual_seed(seed)
    context = random_context(world, rng)
    state = world.start(context, world.draw_context_noise(1, context.num_frames, rng))
    return plan(world, state, rewarding(), config=config, action=ACTION, rng=rng)


def measure(
    world: ShortcutWorld, config: PlanConfig, num_rounds: int, *, must_agree: bool = True
) -> dict[str, Any]:
    """Time decisions both ways, turn about; the plans of each pair must agree."""
    worlds = (world, WholeWorld(world))
    for either in worlds:
        decide(either, replace(config, horizon=2, num_executed=1), seed=0)
    seconds = np.zeros((num_rounds, 2, 2))
    plans: list[list[Plan]] = []
    for turn in range(num_rounds):
        found: dict[int, Plan] = {}
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            begun = clocks(world.device)
            found[which] = decide(worlds[which], config, seed=turn)
            seconds[turn, which] = np.subtract(clocks(world.device), begun)
        plans.append([found[0], found[1]])
    worst = max(float((one.actions - two.actions).abs().max()) for one, two in plans)
    agrees = worst < TOLERANCE or not must_agree
    assert agrees, f"both ways plan differently: actions differ by {worst:.3g}"
    wall, cpu = seconds[..., 0], seconds[..., 1]
    return {
        "shared_s": spread(wall[:, 0]),
        "straightforward_s": spread(wall[:, 1]),
        "straightforward_over_shared": spread(wall[:, 1] / wall[:, 0]),
        "over_shared_cpu_time": spread(cpu[:, 1] / cpu[:, 0]),
        "largest_action_difference": worst,
        "largest_value_difference": max(abs(one.value - two.value) for one, two in plans),
        "dreamed_steps": plans[0][0].num_steps_dreamed,
        "context": world.max_context,
        "flow_substeps": world.num_flow_steps,
    }


def clocks(device: torch.device) -> tuple[float, float]:
    """Return wall and CPU time, after the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter(), time.process_time()


def random_context(world: Any, rng: torch.Generator) -> Batch:
    """Draw a context of real-looking shape on the CPU."""
    num_frames = world.max_context
    shape = (1, num_frames, *world.tokenizer.frame_spec.shape)
    drawn = torch.Generator().manual_seed(rng.initial_seed())
    is_first = torch.zeros(1, num_frames, dtype=torch.bool)
    return Batch(
        frames=torch.randint(0, 256, shape, generator=drawn, dtype=torch.uint8),
        prev_actions=2 * torch.rand(1, num_frames, ACTION.width, generator=drawn) - 1,
        prev_rewards=torch.zeros(1, num_frames),
        action_mask=torch.ones(1, ACTION.width),
        is_first=is_first,
        is_terminal=is_first,
        task=(TASK,),
    )


def device_name(device: torch.device) -> str:
    """Name the hardware."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def spread(values: np.ndarray) -> dict[str, float]:
    """Return median and quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def written(value: dict[str, float]) -> str:
    """Write a median with its quartiles."""
    return f"{value['median']:.3g}  [{value['low']:.3g}, {value['high']:.3g}]"


if __name__ == "__main__":
    main()
