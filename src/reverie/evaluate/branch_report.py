"""The part of a report that tells whether dreamed branches part as the real ones do."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import UInt8

from reverie.evaluate.branch_scores import BranchScores
from reverie.evaluate.branches import KINDS
from reverie.evaluate.mosaic import draw_rows
from reverie.evaluate.plots import COLOURS, panels, to_png
from reverie.evaluate.report import interval, number, picture, section, sheet, text_table

NUM_SHOWN = 7
"""Steps of a branch that are drawn, besides the moment where it begins."""
_TEXT = (
    "From one restored moment of the real simulator five action sequences are played in it and in "
    "the dream, all dreams of a moment under the same noise. Ratio: how far apart the dreamed "
    "branches are over how far apart the real ones are (1 is right, 0 ignores the actions); "
    "tokenizer: the same for real branches encoded and decoded, the most that a dream can show. "
    "Explained: the share of the real difference that the dreamed difference gets right, pixel by "
    "pixel; branches that part in the wrong place push it below 0. Signs: of values that differ "
    "visibly, the share that differs the same way. Gap: how much further the dream falls behind "
    "its tokenizer on branches nobody took than on the one that was. Intervals: 95 %, over "
    "episodes, and over tasks for the mean."
)
_TEXT_KINDS = (
    "Each kind of branch by itself: own, what the policy did; held, one full action drawn at "
    "random; zero; opposite, every lane with the other sign; mirrored, the own actions in reverse "
    "order. Behind: dB below what the tokenizer could show; gain over the moment encoded, decoded "
    "and repeated; diverged: share of steps at which that gain is not positive."
)
_TEXT_STEPS = (
    "By step: PSNR of each kind (mean of tasks; dotted: the tokenizer), ratio and explained share "
    "of each task."
)
_TEXT_APART = "One dot a pair of branches from one moment: how far apart, really and in the dream."
_TEXT_READINGS = (
    "Readings of the dream, means over a branch, against what became of it: ρ with the gain over "
    "the moment repeated (a good reading is negative), AUROC for branches that are no better than "
    "it; for the branch that was recorded and for those nobody took. Within: mean over tasks with "
    "at least 12 branches. A reading that is calibrated on what policies do may not know what "
    "happens beside it."
)
_TEXT_PICTURES = (
    "The moment whose branches the dream explains best, and the one it explains worst: the moment "
    "itself, then some steps of each branch, the real frames above the dreamed ones."
)


def branch_sections(
    tasks: Sequence[BranchScores],
    numbers: Mapping[str, Any],
    pictures: Mapping[tuple[str, str], bytes],
) -> list[str]:
    """Return the sections of the bench for a page.

    Args:
        tasks: What was measured.
        numbers: From ``branch_numbers`` of the same tasks.
        pictures: By task and rank, from ``branch_pictures`` of each, as PNG.
    """
    return [
        section("Branches from one moment", _TEXT, _pair_table(numbers)),
        section("Kinds of branches", _TEXT_KINDS, _kind_table(numbers)),
        section("Step by step", _TEXT_STEPS, picture(draw_steps(numbers), "Branches by step")),
        section("How far apart", _TEXT_APART, picture(draw_apart(tasks), "Distances of branches")),
        section("Do readings know?", _TEXT_READINGS, _reading_table(numbers)),
        section("Branches, seen", _TEXT_PICTURES, _figures(pictures)),
    ]


def _pair_table(numbers: Mapping[str, Any]) -> str:
    names = ("ratio", "95 %", "tokenizer", "explained", "95 %", "cosine", "signs", "ρ of distances")
    names += ("gap dB", "95 %", "real distance", "moments", "episodes", "ended")
    rows: list[tuple[str, Sequence[str]]] = []
    for task, row in {**numbers["tasks"], "mean of tasks": numbers["mean"]}.items():
        cells = [
            number(row["ratio"]),
            interval(row["ratio_interval"], "{:.2f}"),
            number(row["tokenizer_ratio"]),
            number(row["explained"]),
            interval(row["explained_interval"], "{:.2f}"),
            number(row["cosine"]),
            number(row["sign_agreement"], "{:.0%}"),
            number(row.get("spearman")),
            number(row["gap_db"], "{:+.2f}"),
            interval(row["gap_db_interval"], "{:+.2f}"),
            number(row.get("real_distance"), "{:.3f}"),
            *(str(row.get(f"num_{name}", "")) for name in ("places", "episodes")),
            str(row.get("num_ended_branches", "")),
        ]
        rows.append((task, cells))
    return text_table(names, rows, "task")


def _kind_table(numbers: Mapping[str, Any]) -> str:
    names = ("PSNR dB", "behind dB", "gain dB", "gain, decoded still dB", "diverged", "onset")
    rows: list[tuple[str, Sequence[str]]] = []
    for task, row in numbers["tasks"].items():
        for kind, found in row["kinds"].items():
            cells = [
                number(found["psnr_db"], "{:.1f}"),
                number(found["behind_tokenizer_db"], "{:.1f}"),
                number(found["gain_db"], "{:+.2f}"),
                number(found["gain_decoded_db"], "{:+.2f}"),
                number(found["diverged_share"], "{:.0%}"),
                number(found["median_onset"], "{:.0f}"),
                number(found["ratio_to_own"]),
            ]
            rows.append((f"{task}, {kind}", cells))
    return text_table((*names, "ratio to own"), rows, "task, branch")


def _reading_table(numbers: Mapping[str, Any]) -> str:
    names = ("mean", "ρ pooled", "ρ within", "ρ task alone")
    names += ("AUROC diverged", "within", "task alone", "branches")
    rows: list[tuple[str, Sequence[str]]] = []
    for group, readings in numbers["readings"].items():
        for name, found in readings.items():
            columns = ("pooled", "within_mean", "task_identity")
            cells = [
                number(found["mean"], "{:.4f}"),
                *(number(found["gain"][column]) for column in columns),
                *(number(found["diverged"][column]) for column in columns),
                str(found["gain"]["num_clips"]),
            ]
            rows.append((f"{name}, {group}", cells))
    return text_table(names, rows, "reading, branches")


def draw_steps(numbers: Mapping[str, Any]) -> bytes:
    """Draw PSNR by kind, and ratio and explained share by task, over the steps of a branch."""
    figure, (left, middle, right) = panels(1, 3, height=3.6)
    tasks = numbers["tasks"]
    for index, kind in enumerate(KINDS):
        rows = [row["kinds"][kind] for row in tasks.values()]
        colour = COLOURS[index % len(COLOURS)]
        for name, style in (("psnr_by_step_db", "-"), ("ceiling_by_step_db", ":")):
            values = _mean_columns([row[name] for row in rows])
            label = kind if style == "-" else None
            left.plot(range(1, len(values) + 1), values, style, color=colour, label=label)
    left.set(title="Each kind of branch", xlabel="step", ylabel="PSNR, dB")
    left.legend(fontsize=7, frameon=False)
    for axis, name in ((middle, "ratio"), (right, "explained")):
        for index, (task, row) in enumerate(tasks.items()):
            values = _mean_columns([row[f"{name}_by_step"]])
            axis.plot(
                range(1, len(values) + 1),
                values,
                color=COLOURS[index % len(COLOURS)],
                linewidth=1.3,
                label=task.removeprefix("pygame-"),
            )
        for level in (0.0, 1.0):
            axis.axhline(level, color="#888", linewidth=1, linestyle=":")
        axis.set(title=name, xlabel="step")
    right.set_ylim(bottom=max(-2.0, min(right.get_ylim()[0], 0.0)))
    right.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return to_png(figure)


def _mean_columns(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    values = np.array([[np.nan if item is None else item for item in row] for row in rows])
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def draw_apart(tasks: Sequence[BranchScores]) -> bytes:
    """Draw the distance of every pair of branches, really and in the dream."""
    figure, (left, right) = panels(1, 2, height=4.0)
    for index, scores in enumerate(tasks):
        roots = [np.sqrt(values) for values in (scores.pairs.real, scores.pairs.dream)]
        apart = [values[:, :, 0] for values in roots] + [_last(values) for values in roots]
        for axis, real, dream in ((left, apart[0], apart[1]), (right, apart[2], apart[3])):
            axis.scatter(
                real.reshape(-1),
                dream.reshape(-1),
                s=9,
                alpha=0.7,
                linewidths=0,
                color=COLOURS[index % len(COLOURS)],
                label=scores.task.removeprefix("pygame-"),
            )
    for axis, title in ((left, "after one step"), (right, "at the last step of both")):
        end = max(axis.get_xlim()[1], axis.get_ylim()[1])
        axis.plot([0, end], [0, end], color="#888", linewidth=1, linestyle=":")
        axis.set(title=title, xlabel="real branches apart (RMS)", ylabel="dreamed branches apart")
    right.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return to_png(figure)


def _last(values: np.ndarray) -> np.ndarray:
    """Return the last finite value of each row of steps."""
    finite = np.isfinite(values)
    last = values.shape[2] - 1 - finite[:, :, ::-1].argmax(axis=2)
    return np.take_along_axis(values, last[:, :, None], axis=2)[:, :, 0]


def branch_pictures(scores: BranchScores) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Draw the branches of the moment that is explained best, and of the worst one."""
    ranked = np.argsort(np.nan_to_num(scores.explained, nan=-np.inf), kind="stable")
    defined = [int(place) for place in ranked if np.isfinite(scores.explained[place])]
    chosen = {"best": (defined or [0])[-1], "worst": (defined or [0])[0]}
    if chosen["best"] == chosen["worst"]:
        chosen = {"best": chosen["best"]}
    return {rank: draw_branches(scores, place) for rank, place in chosen.items()}


def draw_branches(scores: BranchScores, place: int) -> UInt8[np.ndarray, "h w 3"]:
    """Draw all branches of one moment: real frames above dreamed ones, at some steps."""
    branches = scores.branches
    last = branches.horizon - 1
    steps = sorted({round(step) for step in np.linspace(0, last, min(NUM_SHOWN, last + 1))})
    moment = branches.moment[place][None]
    rows: list[tuple[str, np.ndarray]] = []
    for index, kind in enumerate(KINDS):
        real, dreamed = branches.frames[place, index], scores.dreamed.frames[place, index]
        ended = "" if branches.is_alive[place, index, -1] else "\nended"
        rows.append((f"{kind}, real{ended}", np.concatenate([moment, real[steps]])))
        rows.append(("dreamed", np.concatenate([moment, dreamed[steps]])))
    return draw_rows(rows)


def _figures(pictures: Mapping[tuple[str, str], bytes]) -> str:
    return "".join(
        f"<h3>{escape(title)}</h3>{sheet(content, title)}"
        for title, content in ((", ".join(key), content) for key, content in pictures.items())
    )
