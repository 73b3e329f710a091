"""The commands ``reverie tasks list | show | check | gallery``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reverie.core.errors import ConfigError, UnknownNameError
from reverie.core.files import write_bytes, write_json
from reverie.core.registry import unknown_name_message
from reverie.core.types import DEFAULT_QUALITY, NATIVE_FRAME_PX, FrameSpec, RenderQuality
from reverie.envs.experts import has_expert
from reverie.envs.gallery import draw_gallery
from reverie.envs.registry import task_names, task_spec
from reverie.envs.spec import TaskSpec
from reverie.envs.survey import SurveyConfig, TaskOutcome, benchmark_names, summary, survey

WEBP_QUALITY = 82
"""Of a gallery that is to be small; nobody measures its pixels."""


def list_tasks(*, domain: str | None = None, plain: bool = False) -> None:
    """List the tasks: what each asks for, how wide its actions are, what it needs.

    Splits: 'train' tasks are the benchmark's training list, 'unseen' ones are held out from it,
    'extra' ones are outside it.

    Example: reverie tasks list --domain miniarcade

    Args:
        domain: Only tasks of this simulator, such as miniarcade.
        plain: Only names, one a line, for use in a shell.
    """
    chosen = _specs_of(domain)
    if plain:
        for spec in chosen:
            print(spec.name)
        return
    table = Table(title=f"{len(chosen)} tasks", title_justify="left", box=None, padding=(0, 1))
    columns = ["task", "lanes", "steps", "split", "expert"]
    columns += ["needs"] if any(spec.extra for spec in chosen) else []
    rows = [_row(spec)[: len(columns)] for spec in chosen]
    for column, *values in zip(columns, *rows, strict=True):
        table.add_column(column, no_wrap=True, min_width=max(map(len, [column, *values])))
    table.add_column("instruction", no_wrap=True, overflow="ellipsis")
    for spec, row in zip(chosen, rows, strict=True):
        table.add_row(*row, spec.instruction)
    Console().print(table)


def _specs_of(domain: str | None) -> list[TaskSpec]:
    specs = [task_spec(name) for name in task_names()]
    domains = tuple(dict.fromkeys(spec.domain for spec in specs))
    if domain is not None and domain not in domains:
        hint = f"Domains: {', '.join(domains)}"
        raise UnknownNameError(unknown_name_message("domain", domain, domains, hint))
    return [spec for spec in specs if domain is None or spec.domain == domain]


def _row(spec: TaskSpec) -> tuple[str, ...]:
    expert = "yes" if has_expert(spec.name) else "no"
    lanes, steps = str(spec.action.width), str(spec.max_steps)
    return spec.name, lanes, steps, spec.split, expert, spec.extra or ""


def show_task(task: str, /) -> None:
    """Show all that is known about one task.

    Example: reverie tasks show pygame-pong

    Args:
        task: Name of the task; 'reverie tasks list' shows all.
    """
    spec = task_spec(task)
    lanes = ", ".join(f"{index} {name}" for index, name in enumerate(spec.action_names))
    facts = {
        "instruction": spec.instruction,
        "domain": spec.domain,
        "actions": f"{spec.action.width} {spec.action.kind}, each in [-1, 1]",
        "lanes": lanes,
        "steps": f"{spec.max_steps}, of {spec.action_repeat} simulator step(s) each",
        "can end early": "yes" if spec.can_terminate else "no",
        "score": spec.score_rule,
        "split": spec.split,
        "targeted": "yes" if spec.is_targeted else "no",
        "expert": "yes" if has_expert(task) else "no",
        "install": f"pip install 'reverie[{spec.extra}]'" if spec.extra else "nothing more",
        "assets": spec.assets or "none",
    }
    table = Table(title=spec.name, show_header=False, title_justify="left")
    for name, value in facts.items():
        table.add_row(name, escape(value))
    Console().print(table)


def check_tasks(
    tasks: tuple[str, ...] = (),
    /,
    *,
    all_tasks: Annotated[bool, tyro.conf.arg(name="all")] = False,
    steps: int | None = None,
    size_px: int = NATIVE_FRAME_PX,
    quality: RenderQuality = DEFAULT_QUALITY,
    seed: int = 0,
    workers: int | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> int:
    """Run tasks and check that they keep their promises.

    Plays an episode of uniform noise per task, then checks frames, scores and lengths, that the
    same seed repeats it, and that a snapshot repeats what followed. Each simulator runs in
    processes of its own. Ends with exit code 1 if a task breaks a promise; a task that lacks an
    asset, an extra or a driver is listed with what to do.

    Example: reverie tasks check pygame-pong pygame-reacher-easy

    Args:
        tasks: Names of tasks.
        all_tasks: Check the benchmark's 210 tasks and the four classics.
        steps: Steps per task. Default: whole episodes, 50 with --all.
        size_px: Side of the frames.
        quality: How MuJoCo tasks are drawn.
        seed: Seed of the episode and of the noise.
        workers: Processes. Default: one per core.
        json_file: Where to write the result as JSON.
    """
    if bool(tasks) == all_tasks:
        raise ConfigError("Name the tasks to check, or pass --all; 'reverie tasks list' shows all.")
    for name in tasks:
        task_spec(name)
    config = SurveyConfig(
        frame=FrameSpec(height_px=size_px, width_px=size_px),
        quality=quality,
        num_steps=50 if all_tasks and steps is None else steps,
        seed=seed,
    )
    outcomes = _survey(benchmark_names() if all_tasks else tasks, config, workers)
    report = summary(outcomes)
    if json_file is not None:
        write_json(json_file, report)
    Console().print(_outcome_table(outcomes))
    Console().print(
        f"{report['registered']} tasks: {report['ok']} ok, {len(report['failed'])} failed, "
        f"{len(report['needs_assets'])} need assets, {len(report['needs_extra'])} an extra, "
        f"{len(report['needs_driver'])} a driver."
    )
    return int(bool(report["failed"]))


def draw_gallery_of_tasks(
    *,
    out: Path,
    domain: str | None = None,
    size_px: int = 96,
    quality: RenderQuality = "fast2x",
    seed: int = 0,
    workers: int | None = None,
) -> int:
    """Draw one picture with a frame of every task that runs on this machine, and its name.

    Example: reverie tasks gallery --domain miniarcade --out gallery.png

    Args:
        out: The file to write: PNG, or WebP, which is lossy and a fifth of the size.
        domain: Only tasks of this simulator.
        size_px: Side of each frame.
        quality: How MuJoCo tasks are drawn.
        seed: Seed of the episodes.
        workers: Processes. Default: one per core.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".webp"):
        raise ConfigError(
            f"The gallery is written as PNG or WebP, got --out {out}. Name it gallery.png."
        )
    names = [spec.name for spec in _specs_of(domain)]
    frame = FrameSpec(height_px=size_px, width_px=size_px)
    config = SurveyConfig(frame=frame, quality=quality, seed=seed, wants_pictures=True)
    outcomes = {outcome.task: outcome for outcome in _survey(names, config, workers)}
    frames = {name: picture for name in names if (picture := outcomes[name].frame) is not None}
    sheet = draw_gallery(frames)
    sheet = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(kind, sheet, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
    write_bytes(out, content.tobytes())
    console = Console()
    console.print(f"Saved {out}: {len(frames)} of {len(names)} tasks.", soft_wrap=True)
    for name in names:
        if outcomes[name].frame is None:
            console.print(f"  {name}: {outcomes[name].message}", markup=False)
    return int(any(outcome.status == "failed" for outcome in outcomes.values()))


def _survey(names: Sequence[str], config: SurveyConfig, workers: int | None) -> list[TaskOutcome]:
    num_workers = workers or len(os.sched_getaffinity(0))
    outcomes: list[TaskOutcome] = []
    show = Console(stderr=True)
    with show.status("Starting simulators") as status:
        for outcome in survey(names, config, num_workers=num_workers):
            outcomes.append(outcome)
            bad = sum(item.status == "failed" for item in outcomes)
            status.update(f"{len(outcomes)} of {len(names)} tasks, {bad} failed: {outcome.task}")
    place = {name: index for index, name in enumerate(names)}
    return sorted(outcomes, key=lambda outcome: place[outcome.task])


def _outcome_table(outcomes: Sequence[TaskOutcome]) -> Table:
    table = Table(title="Contract of tasks", title_justify="left")
    for column in ("task", "result", "steps", "frames/s", "score of noise", "MB"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        check = outcome.check
        numbers = (
            (str(check.num_steps), f"{check.rate_hz:.0f}", f"{check.score:.3f}")
            if check
            else ("", "", "")
        )
        result = escape(outcome.message) or outcome.status
        table.add_row(outcome.task, result, *numbers, f"{outcome.peak_mb:.0f}")
    return table


COMMANDS = {
    "list": list_tasks,
    "show": show_task,
    "check": check_tasks,
    "gallery": draw_gallery_of_tasks,
}
