"""One HTML file that says how good a model is; nothing in it needs the network."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from reverie.core.files import write_bytes
from reverie.evaluate import plots
from reverie.evaluate.coverage_report import MAX_TASKS, draw_maps
from reverie.evaluate.evaluation import (
    MIN_GAIN_DB,
    MIN_RATIO,
    MIN_RECONSTRUCTION_DB,
    TaskEvaluation,
)
from reverie.hallucination.coverage import CoverageMap

Numbers = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipPicture:
    """One dreamed clip as pictures: the real frames above the dreamed ones."""

    task: str
    rank: str
    """``best`` or ``worst``."""
    gain_db: float
    strip: bytes
    """PNG."""
    animation: bytes
    """GIF."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    name: str
    title: str
    digits: int
    bar: float | None = None
    help: str = ""


_COLUMNS = (
    _Column(
        name="reconstruction_psnr_db",
        title="reconstruction dB",
        digits=1,
        bar=MIN_RECONSTRUCTION_DB,
        help="Decode(encode(frame)), PSNR of the pooled error",
    ),
    _Column(
        name="rollout_gain_db",
        title="rollout gain dB",
        digits=2,
        bar=MIN_GAIN_DB,
        help="Dream over the last context frame repeated; mean over clips that move",
    ),
    _Column(name="rollout_gain_median_db", title="median gain dB", digits=2),
    _Column(
        name="rollout_gain_decoded_db",
        title="gain, decoded still dB",
        digits=2,
        help="Over the last context frame encoded, decoded and repeated: the dynamics alone",
    ),
    _Column(
        name="action_shuffle_ratio",
        title="action ratio",
        digits=2,
        bar=MIN_RATIO,
        help="One step ahead: error with the last action exchanged / error with the true one",
    ),
    _Column(
        name="action_shuffle_ratio_4_steps",
        title="action ratio, 4 steps",
        digits=2,
        help="Error at the fourth dreamed step with four exchanged actions / with the true ones",
    ),
    _Column(name="zero_action_ratio", title="zero ratio", digits=2),
    _Column(name="time_shuffle_ratio", title="time ratio", digits=2),
    _Column(
        name="sequence_shuffle_ratio_one_substep",
        title="K = 1 sequences",
        digits=2,
        help="One substep, all actions exchanged: the published definition",
    ),
    _Column(name="rollout_psnr_db", title="dream dB", digits=1),
    _Column(name="persistence_psnr_db", title="still dB", digits=1),
    _Column(name="tokenizer_ceiling_psnr_db", title="ceiling dB", digits=1),
    _Column(name="drift_slope_db_per_segment", title="drift dB/4 frames", digits=2),
    _Column(
        name="heat_auroc",
        title="heat map",
        digits=2,
        help="AUROC over patches: the heat map telling patches with a true error above 0.1",
    ),
    _Column(
        name="heat_motion_auroc", title="motion map", digits=2, help="Baseline of the heat map"
    ),
    _Column(name="dream_fps", title="dream fps", digits=1, help="One dream, all readings on"),
    _Column(name="num_clips", title="clips", digits=0),
    _Column(name="num_static_clips", title="static", digits=0, help="Left out of gains"),
    _Column(name="num_diverged_clips", title="diverged", digits=0),
    _Column(name="num_windows_without_donor", title="no donor", digits=0),
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #667085; --line: #d9dee7;
  --ground: #ffffff; --panel: #f6f8fb; --good: #11734b; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3;
  --line: #344054; --ground: #101828; --panel: #1a2335; --good: #5ee0a5; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 1240px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; }
p, li { max-width: 52rem; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { padding: .32rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th { background: var(--panel); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; position: sticky;
  left: 0; background: var(--panel); }
tr:last-child td { border-bottom: 0; } .good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
img.plot { width: 100%; box-sizing: border-box; margin-top: .8rem;
  background: #fff; border-radius: 8px; border: 1px solid var(--line); }
img.sheet { max-width: 100%; image-rendering: pixelated; border-radius: 8px;
  border: 1px solid var(--line); } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.clips { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
figure { margin: 0; min-width: 0; padding: .6rem; background: var(--panel); border-radius: 8px; }
figure div { display: flex; gap: .6rem; align-items: flex-start; }
figure img { image-rendering: pixelated; } figure .strip { flex: 1; min-width: 0; }
figcaption { font-size: 13px; margin-bottom: .3rem; }
@media (max-width: 800px) { .clips { grid-template-columns: 1fr; } }
"""


def write_report(
    path: Path,
    tasks: Sequence[TaskEvaluation],
    numbers: Numbers,
    pictures: Sequence[ClipPicture],
    *,
    title: str,
    facts: Mapping[str, str],
    maps: Mapping[str, CoverageMap] | None = None,
    more: Sequence[str] = (),
) -> None:
    """Write the report.

    Args:
        path: The ``.html`` file.
        tasks: What was measured.
        numbers: From ``all_numbers`` of the same tasks.
        pictures: Best and worst dreams.
        title: Heading.
        facts: Lines below it, name to text.
        maps: Where each task was visited, read and wrong, from ``map_evaluations``.
        more: Sections of other benches, below.
    """
    body = [
        section("Per task", _METRICS_TEXT, _metrics_table(numbers)),
        section("What is missed, and why", "", _misses(numbers)),
        section("What actions change in the simulators", _CONTROL_TEXT, _control_table(numbers)),
        section("Drift", _DRIFT_TEXT, picture(plots.draw_drift(tasks), "Drift per segment")),
        section("Which readings predict error", _PREDICTOR_TEXT, _predictor_table(numbers)),
        picture(plots.draw_discrimination(tasks), "Readings against rollout gain, and ROC curves"),
        section(
            "What a reading means",
            _RELIABILITY_TEXT,
            picture(plots.draw_reliability(tasks), "Share of diverged steps by tenth of a reading"),
        ),
        section("Where it was, and where it is wrong", _MAPS_TEXT, _maps(maps or {})),
        section("Best and worst dreams", _CLIPS_TEXT, _clips(pictures)),
        *more,
    ]
    write_bytes(path, page(title, facts, body).encode())


def page(title: str, facts: Mapping[str, str], body: Sequence[str]) -> str:
    """Return a whole HTML page with a heading, a list of facts and sections."""
    lines = "".join(f"<li>{escape(name)}: {escape(text)}</li>" for name, text in facts.items())
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>"
        f'<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<ul class=soft>{lines}</ul>{''.join(body)}</body></html>\n"
    )


_METRICS_TEXT = (
    "Held-out episodes by a behaviour that moves; 8 real frames, then 16 dreamed ones under the "
    "true actions. Green meets the bar in brackets, red misses it. Static clips have no gain and "
    "are counted instead. Point at a heading for what it means."
)
_CONTROL_TEXT = (
    "From the same moment of the real simulator: what is different under another recorded action, "
    "in the next frame and four frames later. Where the next frame shows nothing, no model can "
    "have a one-step action ratio above 1."
)
_DRIFT_TEXT = (
    "How far the dream falls behind what its own tokenizer could show, in segments of four "
    "frames (left), and its gain over the decoded still frame at each step (right; at or below "
    "0 dB the dream has diverged)."
)
_PREDICTOR_TEXT = (
    "ρ: rank correlation with the rollout gain (a good predictor is negative). AUROC: telling "
    "diverged clips, diverged steps, and clips of tasks that ignore actions. Pooled numbers mostly "
    "say which task a clip is from: compare them with what knowing the task alone gives, and read "
    "the within-task columns. A dash: too few clips (12 a task), or one class only. The kNN "
    "distance and the number of training frames need the training data and are not measured here."
)
_RELIABILITY_TEXT = (
    "All dreamed steps sorted by a reading and cut into tenths: the share that has diverged in "
    "each. A useful reading climbs from left to right, inside tasks too (ranks taken per task)."
)
_MAPS_TEXT = (
    "Each task on the two leading principal axes of the latents of its visited frames: how often "
    "those frames lie in a cell, and the mean u_r and the mean error of the dreamed frames there. "
    "Visited are the frames of the store that was named with --visited, such as the training data, "
    "or else the real frames of these very clips. ρ: rank correlation over cells of visits and "
    "u_r; negative where readings are high in rare places. Grey: too few frames."
)
_CLIPS_TEXT = "Real frames above, dreamed frames below; by rollout gain among clips that move."


def section(title: str, text: str, content: str) -> str:
    """Return a heading, a paragraph and what belongs below."""
    paragraph = f"<p class=soft>{escape(text)}</p>" if text else ""
    return f"<h2>{escape(title)}</h2>{paragraph}{content}"


def _metrics_table(numbers: Numbers) -> str:
    rows = dict(numbers["tasks"])
    shown = [c for c in _COLUMNS if any(row.get(c.name) is not None for row in rows.values())]
    head = "".join(f'<th title="{escape(c.help)}">{escape(_titled(c))}</th>' for c in shown)
    body = "".join(
        f"<tr><td>{escape(task)}</td>{''.join(_cell(row.get(c.name), c) for c in shown)}</tr>"
        for task, row in rows.items()
    )
    means = numbers["mean"]
    body += "<tr><td><b>mean of tasks</b></td>" + "".join(
        _cell(means.get(c.name), c) if c.name in means else "<td></td>" for c in shown
    )
    return table(head, body + "</tr>", "task")


def _titled(column: _Column) -> str:
    if column.bar is None:
        return column.title
    sign = ">" if column.name == "rollout_gain_db" else "≥"
    return f"{column.title} ({sign} {column.bar:g})"


def _cell(value: float | int | None, column: _Column) -> str:
    if value is None:
        return "<td class=bad>–</td>" if column.bar is not None else "<td>–</td>"
    if column.bar is None:
        return f"<td>{value:.{column.digits}f}</td>"
    is_met = value > column.bar if column.name == "rollout_gain_db" else value >= column.bar
    return f"<td class={'good' if is_met else 'bad'}>{value:.{column.digits}f}</td>"


def table(head: str, body: str, first: str) -> str:
    """Return a table that scrolls sideways where it must."""
    return f"<div class=scroll><table><tr><th>{first}</th>{head}</tr>{body}</table></div>"


def text_table(names: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], first: str) -> str:
    """Return a table of written numbers: columns by name, and rows of a name and its cells."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return table(head, body, first)


def number(value: float | None, form: str = "{:.2f}") -> str:
    """Write a number for a table; a dash where there is none."""
    return "–" if value is None else form.format(value)


def interval(ends: Sequence[float | None], form: str) -> str:
    """Write the ends of an interval for a table, on one line; a dash where there are none."""
    low, high = ends
    return "–" if low is None or high is None else f"[{form.format(low)},&nbsp;{form.format(high)}]"


def _misses(numbers: Numbers) -> str:
    if not numbers["misses"]:
        return "<p class=good>Every task meets every bar.</p>"
    items = "".join(
        f"<li><b>{escape(task)}</b>: {escape('; '.join(texts))}</li>"
        for task, texts in numbers["misses"].items()
    )
    return f"<ul>{items}</ul>"


def _control_table(numbers: Numbers) -> str:
    names = ("moments with a visible change", "pixels, next", "MSE, next")
    head = "".join(f"<th>{name}</th>" for name in (*names, "pixels, 4 later", "MSE, 4 later"))
    body = ""
    for task, row in numbers["tasks"].items():
        control = row["control"]
        if control is None:
            cells = "<td colspan=5>not measured</td>"
        else:
            shares = [f"{control['shows_next']:.0%}", f"{control['next_pixels']:.2%}"]
            later = [f"{control['later_pixels']:.2%}", f"{control['later_mse']:.2e}"]
            texts = [*shares, f"{control['next_mse']:.2e}", *later]
            cells = "".join(f"<td>{text}</td>" for text in texts)
        body += f"<tr><td>{escape(task)}</td>{cells}</tr>"
    return table(head, body, "task")


def _predictor_table(numbers: Numbers) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            *("ρ pooled", "ρ within", "ρ median", "wrong sign", "ρ between", "ρ task ranks"),
            *("AUROC diverged", "within", "task ranks", "AUROC step", "AUROC ignored"),
            *("clips", "dropped"),
        )
    )
    body = ""
    scores = numbers["predictors"]
    for name, score in scores.items():
        gain, diverged = score["gain"], score["diverged"]
        fields = ("pooled", "within_mean", "within_median", "wrong_sign_share", "between")
        values = [gain[field] for field in (*fields, "on_task_ranks")]
        values += [diverged[field] for field in ("pooled", "within_mean", "on_task_ranks")]
        values += [score["diverged_step"], score["ignored"]]
        cells = "".join(f"<td>{'–' if v is None else f'{v:.2f}'}</td>" for v in values)
        cells += f"<td>{gain['num_clips']}</td><td>{gain['num_dropped']}</td>"
        body += f"<tr><td>{escape(name)}</td>{cells}</tr>"
    known = next(iter(scores.values()))
    pair = [known["gain"]["task_identity"], known["diverged"]["task_identity"]]
    texts = ["–" if value is None else f"{value:.2f}" for value in pair]
    body += (
        f"<tr><td>task identity</td><td>{texts[0]}</td><td colspan=5></td><td>{texts[1]}</td>"
        f"<td colspan=6></td></tr>"
    )
    return table(head, body, "reading")


def _maps(maps: Mapping[str, CoverageMap]) -> str:
    if not maps:
        return "<p class=soft>Nothing was dreamed with u_r on.</p>"
    names = list(maps)
    groups = [names[begin : begin + MAX_TASKS] for begin in range(0, len(names), MAX_TASKS)]
    return "".join(
        picture(draw_maps({name: maps[name] for name in group}), "Visits, mean u_r, mean error")
        for group in groups
    )


def picture(content: bytes, text: str) -> str:
    """Return a PNG inside the page, with what to read where it cannot be seen."""
    return f'<img class=plot alt="{escape(text)}" src="{_inline(content, "png")}">'


def sheet(content: bytes, text: str) -> str:
    """Return a PNG of many small frames, never enlarged, and sharp where it is made smaller."""
    return f'<img class=sheet alt="{escape(text)}" src="{_inline(content, "png")}">'


def _clips(pictures: Sequence[ClipPicture]) -> str:
    figures = "".join(
        f"<figure><figcaption><b>{escape(item.task)}</b>, {item.rank}: {item.gain_db:+.1f} dB"
        f'</figcaption><div><img alt="animation" width=64 src="{_inline(item.animation, "gif")}">'
        f'<img class=strip alt="strip" src="{_inline(item.strip, "png")}"></div></figure>'
        for item in pictures
    )
    return f"<div class=clips>{figures}</div>"


def _inline(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
