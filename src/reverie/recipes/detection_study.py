"""The detection study: do readings say that a dream goes wrong, inside tasks and on unseen ones?

For every model: watch dreams, fit every candidate through one pipeline, judge on other seeds; then
again with whole families of tasks left out of the fit. Negative results stay in the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.files import write_bytes, write_json
from reverie.core.seeds import numpy_rng
from reverie.evaluate.detection import (
    CANDIDATES,
    OPTIONS,
    FitOrder,
    Judged,
    judge_candidates,
)
from reverie.evaluate.discrimination import auroc_numbers, spearman_numbers
from reverie.evaluate.evaluation import plain
from reverie.evaluate.statistics import bootstrap_mean
from reverie.evaluate.watched import WatchedDreams, true_twin_gains
from reverie.models.api import WorldModel
from reverie.models.families import load_any_world
from reverie.recipes.calibration import (
    CalibrationResult,
    DreamOrder,
    against_published,
    calibration_run,
    judged_numbers,
    report_calibration,
    run_calibration,
)

BARS = {
    "AUROC of divergence within tasks": ("auroc", "≥ 0.90"),
    "Spearman with the gain within tasks": ("spearman", "≤ −0.70"),
    "calibration error (ECE)": ("ece", "≤ 0.05"),
    "false alarms at 5 %": ("false_alarms", "3 to 7 %"),
    "median lead, frames": ("lead", "≥ 4"),
}
"""What the calibrated probability is held to, and the bar as it is printed."""

OnText = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionStudy:
    """Which models are studied, and on how many episodes."""

    models: tuple[Path, ...]
    """Trained from other seeds, ideally; one is a study of one model."""
    out: Path
    fit: DreamOrder = DreamOrder()
    """Dreams to fit to."""
    test_episodes: int = 7
    """Per task and behaviour, to judge on."""
    num_workers: int = 2


def family_of(task: str) -> str:
    """Return what a task shares with its variants: domain and game, such as ``pygame-cartpole``."""
    return "-".join(task.split("-")[:2])


def run_detection_study(study: DetectionStudy, *, tell: OnText | None = None) -> dict[str, Any]:
    """Run the study and write ``detection.json``, ``detection.md`` and one report a model."""
    per_model: dict[str, Any] = {}
    for folder in study.models:
        name = folder.resolve().name if folder.name != "model" else folder.resolve().parent.name
        place = study.out / name
        result = run_calibration(
            calibration_run(
                folder,
                place,
                study.fit,
                test_episodes=study.test_episodes,
                num_workers=study.num_workers,
                saves=False,
            ),
            on_dreams=None if tell is None else lambda task, _: tell(task),
        )
        report_calibration(result, place / "report.html", title=name)
        unseen = judge_unseen(result)
        per_model[name] = {
            "seen": result.numbers,
            "unseen": {item.name: judged_numbers(item) for item in unseen},
            "unseen_against_published": against_published(unseen, result.test) if unseen else None,
            "twins_that_know": score_true_twins(load_any_world(folder), result.test),
        }
    numbers = plain({"models": per_model, "summary": summarise(per_model)})
    write_json(study.out / "detection.json", numbers)
    write_bytes(study.out / "detection.md", tables(numbers).encode())
    return numbers


def judge_unseen(result: CalibrationResult) -> list[Judged]:
    """Judge every candidate on families of tasks that its fit never saw."""
    families = {task: family_of(task) for task in (*result.fit.task, *result.test.task)}
    if len(set(families.values())) < 2:  # noqa: PLR2004
        return []
    calibration = result.calibration
    order = FitOrder(setup=calibration.setup, domains=calibration.domains, options=OPTIONS)
    # The distance within the own task is unknown for an unseen one.
    candidates = {name: x for name, x in CANDIDATES.items() if "knn_local" not in x}
    return judge_candidates(result.fit, result.test, order, candidates, held_out=families)


def score_true_twins(world: WorldModel, dreams: WatchedDreams) -> dict[str, Any]:
    """Judge a reading that cannot be had: the mean true gain of the twins of a dream.

    It knows reality and the model, and not the noise of the very dream: a mark to read the rest by.
    """
    score, gains = -true_twin_gains(world, dreams).mean(axis=1), dreams.gains
    outcome = gains.moving_gain
    return {
        "num_twins": dreams.num_twins,
        "auroc_divergence": asdict(auroc_numbers(score, gains.has_diverged, outcome, dreams.task)),
        "spearman": asdict(spearman_numbers(score, outcome, dreams.task)),
    }


def summarise(per_model: Mapping[str, Any]) -> dict[str, Any]:
    """Return, for seen and unseen tasks, every candidate's numbers averaged over models."""
    summary: dict[str, Any] = {}
    for place in ("seen", "unseen"):
        rows = [
            model[place]["candidates"] if place == "seen" else model[place]
            for model in per_model.values()
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        summary[place] = {
            name: _mean_row([row[name] for row in rows if name in row]) for name in names
        }
    return summary


def _mean_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = {
        "auroc": [row["auroc_divergence"]["within_mean"] for row in rows],
        "auroc_pooled": [row["auroc_divergence"]["pooled"] for row in rows],
        "spearman": [row["spearman"]["within_mean"] for row in rows],
        "spearman_pooled": [row["spearman"]["pooled"] for row in rows],
        "ece": [row["ece"] for row in rows],
        "brier": [row["brier"] for row in rows],
        "step_auroc": [row["step_auroc"] for row in rows],
        "false_alarms": [row["detection"]["*"]["false_alarm_rate"] for row in rows],
        "found": [
            row["detection"]["*"]["detected"] / max(1, row["detection"]["*"]["num_bad"])
            for row in rows
        ],
        "lead": [row["detection"]["*"]["lead_median"] for row in rows],
    }
    found: dict[str, Any] = {}
    for name, values in columns.items():
        array = np.array([np.nan if value is None else value for value in values], dtype=float)
        finite = array[np.isfinite(array)]
        found[name] = float(finite.mean()) if finite.size else float("nan")
        found[f"{name}_interval"] = bootstrap_mean(array, rng=numpy_rng(0, "study", name))
    return found


_COLUMNS = (
    ("AUROC within", "auroc", "{:.3f}"),
    ("AUROC pooled", "auroc_pooled", "{:.3f}"),
    ("ρ within", "spearman", "{:+.2f}"),
    ("ρ pooled", "spearman_pooled", "{:+.2f}"),
    ("AUROC step", "step_auroc", "{:.3f}"),
    ("ECE", "ece", "{:.3f}"),
    ("Brier", "brier", "{:.3f}"),
    ("false alarms", "false_alarms", "{:.0%}"),
    ("found", "found", "{:.0%}"),
    ("lead", "lead", "{:+.1f}"),
)


def tables(numbers: Mapping[str, Any]) -> str:
    """Write the study's tables as Markdown."""
    lines = [f"Models: {', '.join(numbers['models'])}.", ""]
    first = numbers["summary"]["seen"]["probability"]
    lines += ["| the calibrated probability | measured | bar |", "|---|---|---|"]
    for title, (key, bar) in BARS.items():
        form = next(form for _, name, form in _COLUMNS if name == key)
        lines.append(f"| {title} | {_cell(first[key], form)} | {bar} |")
    for name, model in numbers["models"].items():
        seen, unseen = model["seen"], model["unseen_against_published"]
        sizes = f"{seen['num_fit_dreams']} dreams to fit, {seen['num_test_dreams']} to judge"
        lines += ["", f"{name}, {sizes}: {_gap(seen)}."]
        if unseen is not None:
            lines += ["", f"{name}, families left out of the fit: {_gap(unseen)}."]
        known = model["twins_that_know"]
        area, rho = (known[key]["within_mean"] for key in ("auroc_divergence", "spearman"))
        found = f"AUROC {_cell(area, '{:.3f}')}, ρ {_cell(rho, '{:+.2f}')}"
        twins = f"{known['num_twins']} twins whose true gains are known"
        lines += ["", f"{name}, {twins}, within tasks: {found}."]
    titles = {"seen": "Other seeds of the same tasks", "unseen": "Families left out of the fit"}
    for place, title in titles.items():
        rows = numbers["summary"][place]
        if not rows:
            continue
        lines += ["", f"**{title}**", ""]
        lines.append("| | " + " | ".join(name for name, _, _ in _COLUMNS) + " |")
        lines.append("|---" * (len(_COLUMNS) + 1) + "|")
        for name, row in rows.items():
            cells = [_cell(row[key], form) for _, key, form in _COLUMNS]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _gap(found: Mapping[str, Any]) -> str:
    gap = found["probability_minus_best_published"]
    difference, low, high = (_cell(gap[key], "{:+.3f}") for key in ("difference", "low", "high"))
    best = found["best_published"]
    return f"within-task AUROC above the best published, '{best}': {difference} [{low}, {high}]"


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None or np.isnan(value) else form.format(value)
