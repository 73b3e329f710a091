"""The study of macro-actions: dreams of 100 macro steps beside the real simulator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie.core.config import to_dict
from reverie.core.errors import ConfigError
from reverie.core.files import write_bytes, write_json
from reverie.core.seeds import child_seed, numpy_rng
from reverie.envs.registry import open_envs
from reverie.evaluate.macro_drift import MacroDrift, measure_macro_drift
from reverie.models.classic.world import ClassicState, ClassicWorld
from reverie.models.families import load_any_world, load_controller_of
from reverie.planning.macros import MacroConfig, MacroRollouts, dream_macros, play_macros
from reverie.train.progress import Audience, Progress

_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, kw_only=True, slots=True)
class MacroStudy:
    """How the study is made."""

    macro: MacroConfig = MacroConfig()
    rollouts: int = 1000
    """Real episodes, and dreams from the same starts."""
    side_by_side: int = 25
    temperature: float | None = None
    """Of the dream; the model's own by default."""
    seed: int = 0


def study_macros(folder: Path, study: MacroStudy, out: Path, *, audience: Audience) -> MacroDrift:
    """Play and dream with the model's controller, and write ``macro.json`` and ``macro.md``.

    Args:
        folder: A classic model with a controller.
        study: How.
        out: Folder of the results.
        audience: Told of progress.

    Raises:
        ConfigError: The model is of another family.
    """
    world = load_any_world(folder)
    if not isinstance(world, ClassicWorld):
        raise ConfigError(
            f"Macro-actions are studied in dreams of the classic family, and '{folder}' is of "
            f"another one."
        )
    controller, parameters = load_controller_of(folder)
    if study.temperature is not None:
        world.temperature = study.temperature
    real: list[MacroRollouts] = []
    starts: list[ClassicState] = []
    side_by_side = min(study.side_by_side, study.rollouts)
    frame = world.tokenizer.frame_spec
    with open_envs(world.tasks[0], side_by_side, frame_spec=frame) as envs:
        for first in range(0, study.rollouts, len(envs)):
            count = min(len(envs), study.rollouts - first)
            seeds = [child_seed(study.seed, "macro", first + row) for row in range(count)]
            played, begun = play_macros(
                world, controller, parameters, envs[:count], seeds, study.macro
            )
            real.append(played)
            starts.append(begun)
            audience.show(
                Progress(phase="play", done=first + count, total=study.rollouts, unit="episodes")
            )
    rng = torch.Generator()
    rng.manual_seed(child_seed(study.seed, "macro dreams"))
    dreams = dream_macros(
        world, controller, parameters, ClassicState.join(starts), study.macro, rng
    )
    drift = measure_macro_drift(
        dreams.latents,
        dreams.alive,
        np.concatenate([one.latents for one in real]),
        np.concatenate([one.alive for one in real]),
        rng=numpy_rng(study.seed, "macro floor"),
    )
    facts: dict[str, Any] = {"study": to_dict(study), "first_failure": drift.first_failure}
    write_json(out / "macro.json", facts | to_dict(drift))
    write_bytes(out / "macro.md", table(drift, study).encode())
    return drift


def table(drift: MacroDrift, study: MacroStudy) -> str:
    """Write the course of the drift at some macro steps, and the headline."""
    failure = drift.first_failure
    headline = (
        f"Dreams match real play for all {len(drift.steps)} macro steps."
        if failure is None
        else f"Dreams stop matching real play at macro step {failure}."
    )
    lines = [
        f"{headline} {drift.num_real} real and {drift.num_dreams} dreamed rollouts, "
        f"{study.macro.moves} moves per macro step.",
        "",
        "| macro step | alive, real | alive, dreamed | KL, nats | floor (95 %), nats | match |",
        "|---|---|---|---|---|---|",
    ]
    shown = {*_SHOWN, *({failure} if failure else ())}
    for one in drift.steps:
        if one.step in shown:
            kl, floor = (
                "–" if value is None else f"{value:.3f}"
                for value in (one.kl_nats, one.floor_95_nats)
            )
            lines.append(
                f"| {one.step} | {one.real_alive:.1%} | {one.dream_alive:.1%} | {kl} | {floor} | "
                f"{'yes' if one.is_match else 'no'} |"
            )
    return "\n".join(lines) + "\n"
