"""The commands ``reverie tasks list | show | check``."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reverie.core.errors import MissingAssetError, MissingExtraError, UnknownNameError
from reverie.core.registry import unknown_name_message
from reverie.core.types import NATIVE_FRAME_PX, FrameSpec
from reverie.envs.checks import check_task
from reverie.envs.experts import has_expert
from reverie.envs.registry import DOMAINS, task_names, task_spec
from reverie.envs.spec import TaskSpec


def list_tasks(*, domain: str | None = None, plain: bool = False) -> None:
    """List the tasks: what each asks for, how wide its actions are, what it needs.

    Splits: 'train' tasks are the benchmark's training list, 'unseen' ones are held out from it,
    'extra' ones are outside it.

    Example: reverie tasks list --domain miniarcade

    Args:
        domain: Only tasks of this simulator, such as miniarcade.
        plain: Only names, one a line, for use in a shell.
    """
    if domain is not None and domain not in DOMAINS:
        hint = f"Domains: {', '.join(DOMAINS)}"
        raise UnknownNameError(unknown_name_message("domain", domain, DOMAINS, hint))
    specs = [task_spec(name) for name in task_names()]
    chosen = [spec for spec in specs if domain is None or spec.domain == domain]
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
    tasks: tuple[str, ...] = (), /, *, size_px: int = NATIVE_FRAME_PX, seed: int = 0
) -> int:
    """Run tasks and check that they keep their promises.

    Plays an episode of uniform noise per task, then checks frames, scores and lengths, that the
    same seed repeats it, and that a snapshot repeats what followed. Ends with exit code 1 if a
    task breaks a promise; a task whose simulator is not installed is listed, not counted.

    Example: reverie tasks check pygame-pong pygame-reacher-easy

    Args:
        tasks: Names of tasks; none checks all.
        size_px: Side of the frames.
        seed: Seed of the episode and of the noise.
    """
    frame_spec = FrameSpec(height_px=size_px, width_px=size_px)
    table = Table(title="Contract of tasks", title_justify="left")
    for column in ("task", "result", "steps", "frames/s", "score of noise"):
        table.add_column(column, overflow="fold")
    num_broken = 0
    for name in tasks or task_names():
        try:
            check = check_task(name, frame_spec=frame_spec, seed=seed)
        except (MissingAssetError, MissingExtraError) as error:
            table.add_row(name, escape(str(error)), "", "", "")
            continue
        num_broken += bool(check.problems)
        result = " ".join(check.problems) or "ok"
        rate, score = f"{check.rate_hz:.0f}", f"{check.score:.3f}"
        table.add_row(name, result, str(check.num_steps), rate, score)
    Console().print(table)
    return int(num_broken > 0)


COMMANDS = {"list": list_tasks, "show": show_task, "check": check_tasks}
