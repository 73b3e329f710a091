"""The part of a report that tells what unfamiliar looks cost, in tables, plots and pictures."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import UInt8

from reverie.evaluate.looks import SEEN, UNSEEN, LookFrames, ShownFrame
from reverie.evaluate.looks_numbers import frame_psnr
from reverie.evaluate.metrics import psnr
from reverie.evaluate.mosaic import draw_rows, error_pictures
from reverie.evaluate.plots import COLOURS, panels, to_png
from reverie.evaluate.report import interval, number, picture, section, sheet, text_table

NUM_SHOWN = 6
"""Frames side by side in a picture of the worst or the best."""
_TEXT = (
    "Frames through the tokenizer alone, no dream: PSNR of Dec(Enc(frame)), mean over tasks, with "
    "95 % intervals over tasks and episodes. Changed looks are the very frames of the model's own "
    "tasks, so their change is paired. u_r: RMS distance of a real frame's latent from "
    "Enc(Dec(latent)). Failed: frames below the 5th percentile of their task as it was seen (of "
    "unseen tasks: below the lowest such limit). AUROC: u_r, or the latent's mere size, telling "
    "frames of a look from those seen; 0.5 says nothing, and below 0.5 the reading is lower where "
    "the look is new."
)
_TEXT_TASKS = "PSNR in dB of every task under every look."
_TEXT_RANKING = (
    "Does u_r, which needs no truth, rank frames by the error they really have? ρ with the PSNR of "
    "each frame (a good reading is negative), AUROC for failed frames; pooled, mean within tasks, "
    "and what knowing only the task gives. A reading that does not beat the latent's size says "
    "little."
)
_TEXT_PLOT = (
    "One dot a frame. Left: the model's own tasks and tasks it was not trained on; right: the "
    "same frames with changed looks. A reading that knows falls from left to right."
)
_TEXT_PICTURES = (
    "For each look, the frames that come back worst (above) and best (below), at most one a clip, "
    "from as many tasks as there are: real, decoded, and the error of each pixel (black: none; "
    "yellow: a quarter of the range and more)."
)


def looks_sections(
    parts: Sequence[LookFrames], numbers: Mapping[str, Any], pictures: Mapping[str, bytes]
) -> list[str]:
    """Return the sections of the bench for a page.

    Args:
        parts: What was measured.
        numbers: From ``looks_numbers`` of the same parts.
        pictures: From ``look_pictures`` of the same parts, as PNG.
    """
    return [
        section("Unfamiliar looks", _TEXT, _look_table(numbers)),
        section("Looks, task by task", _TEXT_TASKS, _task_table(numbers)),
        section("Does u_r know?", _TEXT_RANKING, _ranking_table(numbers)),
        section(
            "u_r against error",
            _TEXT_PLOT,
            picture(draw_looks(parts), "u_r against PSNR of each frame"),
        ),
        section("Worst and best frames of each look", _TEXT_PICTURES, _figures(pictures)),
    ]


def _look_table(numbers: Mapping[str, Any]) -> str:
    names = ("PSNR dB", "95 %", "change dB", "95 %", "u_r", "95 %", "failed")
    names += ("AUROC u_r", "AUROC size", "tasks", "episodes", "frames")
    rows: list[tuple[str, Sequence[str]]] = []
    for look, row in numbers["looks"].items():
        told = row["auroc_from_seen"]
        is_changed = look != SEEN
        cells = (
            number(row["psnr_db"], "{:.1f}"),
            interval(row["psnr_interval_db"], "{:.1f}"),
            number(row["change_db"], "{:+.1f}") if is_changed else "",
            interval(row["change_interval_db"], "{:+.1f}") if is_changed else "",
            number(row["u_r"], "{:.4f}"),
            interval(row["u_r_interval"], "{:.4f}"),
            number(row["failed_share"], "{:.0%}"),
            *(number(told[name]) if is_changed else "" for name in told),
            *(str(row[name]) for name in ("num_tasks", "num_episodes", "num_frames")),
        )
        rows.append((look, cells))
    return text_table(names, rows, "look")


def _task_table(numbers: Mapping[str, Any]) -> str:
    looks = list(numbers["looks"])
    rows: list[tuple[str, Sequence[str]]] = []
    for task, found in numbers["tasks"].items():
        values = [found.get(look) for look in looks]
        cells = [number(value["psnr_db"], "{:.1f}") if value else "" for value in values]
        rows.append((task, cells))
    return text_table(looks, rows, "task")


def _ranking_table(numbers: Mapping[str, Any]) -> str:
    names = ("ρ pooled", "ρ within", "ρ task alone", "wrong sign")
    names += ("AUROC failed", "within", "task alone", "tasks within", "frames")
    rows: list[tuple[str, Sequence[str]]] = []
    for reading, groups in numbers["ranking"].items():
        for group, found in groups.items():
            quality, failed = found["psnr"], found["failed"]
            cells = [
                *(number(quality[name]) for name in ("pooled", "within_mean", "task_identity")),
                number(quality["wrong_sign_share"], "{:.0%}"),
                *(number(failed[name]) for name in ("pooled", "within_mean", "task_identity")),
                str(failed["num_tasks_within"]),
                str(quality["num_clips"]),
            ]
            rows.append((f"{reading}, {group}", cells))
    return text_table(names, rows, "reading, frames")


def draw_looks(parts: Sequence[LookFrames]) -> bytes:
    """Draw u_r against the PSNR of every frame: own and unseen tasks, then changed looks."""
    figure, axes = panels(1, 2, height=4.0)
    sides = [
        [part for part in parts if part.look in (SEEN, UNSEEN)],
        [part for part in parts if part.look != UNSEEN],
    ]
    for axis, shown in zip(axes, sides, strict=True):
        for index, look in enumerate(dict.fromkeys(part.look for part in shown)):
            chosen = [part for part in shown if part.look == look]
            axis.scatter(
                np.concatenate([part.residual.reshape(-1) for part in chosen]),
                np.concatenate([frame_psnr(part) for part in chosen]),
                s=7,
                alpha=0.5,
                linewidths=0,
                color=COLOURS[index % len(COLOURS)],
                label=look,
            )
        axis.set(xlabel="u_r of the real frame")
        axis.legend(fontsize=7, frameon=False, markerscale=2)
    axes[0].set(title="Own and unseen tasks", ylabel="PSNR, dB")
    axes[1].set(title="Changed looks of the same frames")
    return to_png(figure)


def look_pictures(parts: Sequence[LookFrames]) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Draw the worst and the best frames of each look: real, decoded, error."""
    found: dict[str, UInt8[np.ndarray, "h w 3"]] = {}
    for look in dict.fromkeys(part.look for part in parts):
        chosen = [part for part in parts if part.look == look]
        rows: list[tuple[str, np.ndarray]] = []
        for rank in ("worst", "best"):
            frames = _spread([getattr(part, rank) for part in chosen], is_worst=rank == "worst")
            real, decoded = (
                np.stack([getattr(frame, side) for frame in frames]) for side in ("real", "decoded")
            )
            span = [float(psnr(frame.error)) for frame in frames]
            span_text = f"{min(span):.0f} to {max(span):.0f} dB"
            rows.append((f"{rank}\n{span_text}", real))
            rows.append(("decoded", decoded))
            rows.append(("error", error_pictures(real, decoded)))
        found[look] = draw_rows(rows)
    return found


def _spread(kept: Sequence[Sequence[ShownFrame]], *, is_worst: bool) -> list[ShownFrame]:
    """Choose frames: first the extreme one of every task, then their second ones."""
    ranked = [(place, frame) for frames in kept for place, frame in enumerate(frames)]
    sign = -1.0 if is_worst else 1.0
    ranked.sort(key=lambda pair: (pair[0], sign * pair[1].error))
    return [frame for _, frame in ranked[:NUM_SHOWN]]


def _figures(pictures: Mapping[str, bytes]) -> str:
    return "".join(
        f"<h3>{escape(look)}</h3>{sheet(content, f'Worst and best frames: {look}')}"
        for look, content in pictures.items()
    )
