"""The end of a run: the model is measured on fresh episodes and written with its card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reverie.core.config import to_dict
from reverie.core.files import write_json
from reverie.evaluate.evaluation import TaskEvaluation
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import save_world_model, weights_hash
from reverie.recipes.base import RunConfig
from reverie.recipes.evaluation import (
    evaluate_live,
    fit_thresholds,
    write_results,
)
from reverie.train.progress import Audience, Progress

_COLUMNS = {
    "reconstruction_psnr_db": "reconstruction (dB)",
    "rollout_gain_db": "rollout gain (dB)",
    "action_shuffle_ratio": "action-shuffle ratio",
    "action_shuffle_ratio_4_steps": "the same after 4 steps",
    "dream_fps": "dream frames/s",
}
_DONE = "done.json"
_LOOKS = {"conv": "convolutional", "causal": "block-causal transformer"}


def export_measured(
    world: ShortcutWorld, config: RunConfig, folder: Path, report: Path, audience: Audience
) -> None:
    """Measure a finished world and write it as a playable folder; done once for the same weights.

    Args:
        world: The finished model.
        config: The run it comes from.
        folder: Where the model goes.
        report: Where numbers, pictures and the HTML report go.
        audience: Who is told.
    """
    key = {"weights": weights_hash(world), "order": to_dict(config.evaluation)}
    mark = report / _DONE
    if mark.exists() and json.loads(mark.read_text()) == key:
        return
    order, tasks = config.evaluation, config.data.tasks
    # Written first: a model that can be played is there even if measuring is interrupted.
    save_world_model(
        folder,
        world,
        card=_card(config, {}),
        provenance=_provenance(config),
        precision=config.stored_precision,
    )
    measured: list[TaskEvaluation] = []

    def show(task: TaskEvaluation) -> None:
        measured.append(task)
        audience.show(
            Progress(phase="evaluate", done=len(measured), total=len(tasks), unit="tasks")
        )

    evaluations = evaluate_live(world, order, on_task=show)
    title = f"Evaluation of {config.recipe}, seed {config.seed}"
    numbers = write_results(evaluations, report, title=title, facts=_facts(world, config))
    save_world_model(
        folder,
        world,
        card=_card(config, numbers),
        metrics=numbers,
        provenance=_provenance(config),
        precision=config.stored_precision,
    )
    fit_thresholds(folder, world, evaluations)
    write_json(mark, key)
    audience.say(f"evaluation: the report is {report / 'report.html'}\n{table(numbers)}")


def table(numbers: Mapping[str, Any]) -> str:
    """Write the numbers of every task as a Markdown table, and below it what misses its bar."""
    lines = [f"| task | {' | '.join(_COLUMNS.values())} |", "|---" * (1 + len(_COLUMNS)) + "|"]
    rows = dict(numbers["tasks"]) | {"mean": numbers["mean"]}
    for name, values in rows.items():
        cells = " | ".join(_cell(values[column]) for column in _COLUMNS)
        lines.append(f"| {name} | {cells} |")
    misses = [f"- {task}: {text}" for task, found in numbers["misses"].items() for text in found]
    if misses:
        lines += ["", "Below the bar:", "", *misses]
    return "\n".join(lines)


def _cell(value: float | str | None) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "–"


def _facts(world: ShortcutWorld, config: RunConfig) -> dict[str, str]:
    order = config.evaluation
    return {
        "episodes": f"{order.live.num_episodes} per task, played by '{order.behaviour}' with "
        f"held-out seeds",
        "flow substeps per frame": str(world.num_flow_steps),
        "loss of the tokenizer": config.tokenizer_training.perceptual.loss_name,
    }


def _policy(config: RunConfig) -> str:
    return " and a cloned policy" if config.heads.num_policy_distances else ""


def _provenance(config: RunConfig) -> dict[str, Any]:
    return {
        "recipe": config.recipe,
        "seed": config.seed,
        "tokenizer_loss": config.tokenizer_training.perceptual.loss_name,
        "config": to_dict(config),
    }


def _card(config: RunConfig, numbers: Mapping[str, Any]) -> str:
    data, training = config.data, config.dynamics_training
    behaviours = ", ".join(f"{name} {weight:g}" for name, weight in data.policies.items())
    lines = [
        f"# {config.recipe}",
        "",
        f"A world model of {len(data.tasks)} tasks at "
        f"{data.frame.height_px}x{data.frame.width_px}: "
        f"a {_LOOKS[config.tokenizer_name]} tokenizer and a shortcut-forcing transformer with "
        f"reward and continue heads{_policy(config)}.",
        "",
        f"- Made by: `reverie train {config.recipe}`, seed {config.seed}; the whole config is in "
        f"`model.json`.",
        f"- Data: {data.episodes_per_task} episodes per task, of at most "
        f"{', '.join(map(str, sorted(set(data.step_limits)))) or 'all'} steps, "
        f"collected by the same command; shares of behaviours: {behaviours}; seed {data.seed}.",
        f"- Training: tokenizer {config.tokenizer_training.fit.total_steps} steps with "
        f"{config.tokenizer_training.perceptual.loss_name}, dynamics "
        f"{training.fit.total_steps} steps of {training.batch_size} windows of "
        f"{training.window_length} frames. Weights are moving averages.",
        f"- Context {config.dynamics.context} frames, {config.dynamics.num_flow_steps} flow steps "
        f"a frame.",
        "- It knows only these tasks; in others its frames mean nothing.",
        "",
        "## Held-out numbers",
        "",
        table(numbers) if numbers else "Not measured yet: run `reverie evaluate` on this folder.",
    ]
    return "\n".join(lines) + "\n"
