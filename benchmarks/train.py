"""A step of the dynamics: cached latents against encoding every batch, same batch and weights.

Run ``python benchmarks/train.py``; on a GPU add ``--preset full --precision bfloat16``. Both ways
take the same windows, the same network and the same optimiser; one reads latents that were encoded
once, the other encodes the frames of every batch first. The MFU is the arithmetic of a step that
torch counts, divided by its time and by the peak of the card.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from reverie.core.batch import Batch
from reverie.models import presets
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective, ObjectiveConfig
from reverie.models.tokenizer import TOKENIZERS
from reverie.nn.blocks import StackConfig
from reverie.parallel.device import choose_device
from reverie.parallel.precision import autocast
from reverie.train.optim import OptimConfig, clip_gradients, make_optimizer

TASK = "benchmark"
STEP, TOTAL_STEPS = 50, 100
"""In the middle of a run: flow and self-consistency rows, no heads yet."""
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "4090": 165.0}
"""Dense bfloat16, as the makers state it."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=("reduced", "small", "full"), default="reduced")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--batch", type=int, default=0, help="windows a step; 0 chooses")
    parser.add_argument("--length", type=int, default=24, help="frames a window")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="compile the layers")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    numbers = measure(arguments)
    for name, value in numbers.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time both ways in turns, so that a machine that slows down slows both."""
    device = choose_device(arguments.device)
    rows = arguments.batch or (16 if device.type == "cuda" else 4)
    preset = choose_preset(arguments.preset)
    torch.manual_seed(0)
    tokenizer = TOKENIZERS.load(preset.tokenizer_name)(preset.tokenizer).to(device).eval()
    objective = DynamicsObjective(
        DynamicsNet(preset.dynamics),
        HeadsConfig(),
        ObjectiveConfig(total_steps=TOTAL_STEPS),
        latent_limit=1.0,
    ).to(device)
    if arguments.compile:
        for layer in objective.net.stack.layers:
            layer.compile()
    optimizer = make_optimizer(objective, OptimConfig(lr=1e-5))
    spec, length = tokenizer.frame_spec, arguments.length
    shape = (rows, length, *spec.shape)
    frames = torch.randint(256, shape, dtype=torch.uint8).to(device)
    batch = make_batch(rows, length, preset.dynamics.action_width).to(device)
    rng = torch.Generator(device).manual_seed(0)

    def encode() -> torch.Tensor:
        with torch.no_grad(), autocast(device, arguments.precision):
            return tokenizer.encode(frames)[0].float()

    def learn(latents: torch.Tensor) -> torch.Tensor:
        rng.manual_seed(0)
        with autocast(device, arguments.precision):
            loss = objective(latents, batch, step=STEP, rng=rng).total
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(objective, 1.0)
        optimizer.step()
        return loss.detach()

    kept = encode().half()
    ways: dict[str, Callable[[], Any]] = {
        "cached": lambda: learn(kept.float()),
        "encoding": lambda: learn(encode()),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for count in range(arguments.rounds + 1):
        for name, way in ways.items():
            seconds = timed(way, device)
            if count:  # the first one warms up
                times[name].append(seconds)
    flops = step_flops(lambda: learn(kept.float()))
    return report(times, flops, rows * length, device) | {
        "preset": arguments.preset,
        "dynamics_parameters": sum(value.numel() for value in objective.net.parameters()),
        "windows": rows,
        "frames_per_window": length,
        "torch": torch.__version__,
    }


def report(
    times: dict[str, list[float]], flops: float, num_frames: int, device: torch.device
) -> dict[str, Any]:
    """Turn times into the numbers that are printed."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [b / a for a, b in zip(times["cached"], times["encoding"], strict=True)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = next((value for card, value in PEAK_TFLOPS.items() if card in name), None)
    achieved = flops / medians["cached"] / 1e12
    numbers: dict[str, Any] = {
        "device": name,
        "cached_s": medians["cached"],
        "encoding_s": medians["encoding"],
        "ratio": medians["encoding"] / medians["cached"],
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "frames_per_s": num_frames / medians["cached"],
        "tflops_per_s": achieved,
    }
    if peak is not None:
        numbers["mfu"] = achieved / peak
        numbers["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return numbers


def choose_preset(name: str) -> presets.Preset:
    """Return a preset; ``reduced`` is ``full`` at a quarter of its width and an eighth as deep."""
    if name == "small":
        return presets.small((TASK,))
    whole = presets.full((TASK,))
    if name == "full":
        return whole
    assert whole.tokenizer_name == "causal"
    layers = StackConfig(width=128, depth=2, num_heads=2, num_kv_heads=2, time_every=1)
    stack = StackConfig(width=256, depth=2, num_heads=2, num_kv_heads=2, time_every=2)
    return replace(
        whole,
        tokenizer=replace(whole.tokenizer, encoder=layers, decoder=layers),
        dynamics=replace(whole.dynamics, stack=stack),
    )


def make_batch(rows: int, length: int, action_width: int) -> Batch:
    """Make up what a batch holds besides frames."""
    return Batch(
        frames=None,
        prev_actions=torch.rand(rows, length, action_width) * 2 - 1,
        prev_rewards=torch.zeros(rows, length),
        action_mask=torch.ones(rows, action_width),
        is_first=torch.zeros(rows, length, dtype=torch.bool),
        is_terminal=torch.zeros(rows, length, dtype=torch.bool),
        task=(TASK,) * rows,
    )


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds that some work takes, its kernels included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def step_flops(step: Callable[[], Any]) -> float:
    """Count the arithmetic of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
