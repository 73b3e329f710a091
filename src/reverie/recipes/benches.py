"""The benches of two failure modes: unfamiliar looks, and branches from one moment.

The third one, ignored actions, is part of every evaluation (``evaluate.action_following``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reverie.collect.policies import EXPERT_POLICIES, make_policy
from reverie.core.errors import ConfigError, MissingExtraError, MissingSimulatorError
from reverie.core.files import write_bytes, write_json
from reverie.core.types import Episode
from reverie.data.codecs import encode_png
from reverie.envs.registry import make_env, task_names, task_spec
from reverie.evaluate.branch_report import branch_pictures, branch_sections
from reverie.evaluate.branch_scores import BranchScores, branch_numbers, score_branches
from reverie.evaluate.branches import BranchConfig, fit_branches, play_branches
from reverie.evaluate.live import MOVING_BEHAVIOUR, LiveConfig, choose_tasks, collect_heldout
from reverie.evaluate.looks import (
    CHANGES,
    SEEN,
    UNSEEN,
    LookFrames,
    LooksConfig,
    change_look,
    cut_footage,
    measure_look,
)
from reverie.evaluate.looks_numbers import looks_numbers
from reverie.evaluate.looks_report import look_pictures, looks_sections
from reverie.evaluate.report import page
from reverie.models.api import WorldModel
from reverie.models.families import load_any_world

BenchName = Literal["looks", "branches"]
MAX_SISTERS = 16
"""Sister tasks of one simulator that are shown, at even distances in its table."""
Say = Callable[[str], None]
"""Called with a word on what is being done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOrder:
    """One call of a bench."""

    model: Path
    out: Path
    tasks: tuple[str, ...] = ()
    """Tasks of the model; empty means all."""
    unseen: tuple[str, ...] = ()
    """Tasks that the model was not trained on; empty takes others of the same simulators."""
    behaviour: str = MOVING_BEHAVIOUR
    live: LiveConfig = field(default_factory=lambda: LiveConfig(num_episodes=4, series="benches"))
    looks: LooksConfig = field(default_factory=LooksConfig)
    branches: BranchConfig = field(default_factory=BranchConfig)
    device: str = "cpu"
    """Where ``run_bench`` puts the model."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BenchResult:
    """What a bench found, in the forms that a report needs."""

    numbers: dict[str, Any]
    sections: list[str]
    pictures: Mapping[str, bytes]
    """File name without suffix to a PNG."""


def run_bench(name: BenchName, order: BenchOrder, *, say: Say = lambda _: None) -> dict[str, Any]:
    """Run one bench; write its numbers, a report of its own and the pictures.

    Returns:
        The numbers.
    """
    world = load_any_world(order.model, device=order.device)
    result = BENCHES[name](world, order, say)
    write_json(order.out / f"{name}.json", result.numbers)
    write_pictures(result, order.out / "pictures")
    title = f"{_TITLES[name]} of {order.model.resolve().name}"
    facts = {
        "episodes": f"{order.live.num_episodes} per task, played by '{order.behaviour}' with "
        f"held-out seeds, at most {order.live.max_steps} steps",
        **({"left out": text} if (text := result.numbers.get("left_out")) else {}),
    }
    write_bytes(order.out / "report.html", page(title, facts, result.sections).encode())
    return result.numbers


def write_pictures(result: BenchResult, folder: Path) -> None:
    """Write the pictures of a bench as PNG files."""
    for name, shown in result.pictures.items():
        write_bytes(folder / f"{name}.png", shown)


def bench_looks(world: WorldModel, order: BenchOrder, say: Say = lambda _: None) -> BenchResult:
    """Send the model's own tasks, sister tasks and changed frames through its tokenizer."""
    own = choose_tasks(world, order.tasks)
    unseen, left_out = _choose_unseen(world, order)
    parts: list[LookFrames] = []
    for task in own:
        say(f"looks: {task}")
        footage = cut_footage(_play(world, task, order), order.looks)
        parts.append(_measure(world, footage, SEEN, order))
        for look in CHANGES:
            changed = change_look(footage, look, order.looks)
            parts.append(_measure(world, changed, look, order))
    for task in unseen:
        say(f"looks: {task}, not trained on")
        footage = cut_footage(_play(world, task, order), order.looks)
        parts.append(_measure(world, footage, UNSEEN, order))
    # Looks in the order they are explained: seen, unseen tasks, then the changes.
    order_of = {look: place for place, look in enumerate((SEEN, UNSEEN, *CHANGES))}
    parts.sort(key=lambda part: order_of[part.look])
    numbers = looks_numbers(parts) | {"left_out": "; ".join(left_out)}
    pictures = {look: encode_png(shown) for look, shown in look_pictures(parts).items()}
    return BenchResult(
        numbers=numbers,
        sections=looks_sections(parts, numbers, pictures),
        pictures={f"look-{look.replace(' ', '-')}": shown for look, shown in pictures.items()},
    )


def _measure(world: WorldModel, footage: Any, look: str, order: BenchOrder) -> LookFrames:
    return measure_look(world.tokenizer, footage, look, order.looks, device=world.device)


def bench_branches(world: WorldModel, order: BenchOrder, say: Say = lambda _: None) -> BenchResult:
    """Play several futures from restored moments, in the simulator and in the dream."""
    config = fit_branches(world, order.branches)
    scores: list[BranchScores] = []
    for task in choose_tasks(world, order.tasks):
        say(f"branches: {task}")
        branches = play_branches(
            _play(world, task, order),
            frame_spec=world.tokenizer.frame_spec,
            action_width=world.action_width,
            config=config,
        )
        scores.append(score_branches(world, branches, config))
    numbers = branch_numbers(scores)
    pictures = {
        (task.task, rank): encode_png(shown)
        for task in scores
        for rank, shown in branch_pictures(task).items()
    }
    return BenchResult(
        numbers=numbers,
        sections=branch_sections(scores, numbers, pictures),
        pictures={f"branches-{task}-{rank}": shown for (task, rank), shown in pictures.items()},
    )


BENCHES: Mapping[BenchName, Callable[[WorldModel, BenchOrder, Say], BenchResult]] = {
    "looks": bench_looks,
    "branches": bench_branches,
}
_TITLES = {"looks": "Unfamiliar looks", "branches": "Branches from one moment"}


def _play(world: WorldModel, task: str, order: BenchOrder) -> list[Episode]:
    return collect_heldout(
        task,
        frame_spec=world.tokenizer.frame_spec,
        make_policy=lambda _: make_policy(order.behaviour),
        config=order.live,
    )


def _choose_unseen(world: WorldModel, order: BenchOrder) -> tuple[tuple[str, ...], list[str]]:
    """Return the tasks that count as unseen, and sentences on those that could have been."""
    if not order.unseen:
        return sister_tasks(world.tasks, behaviour=order.behaviour)
    for name in order.unseen:
        task_spec(name)
        if name in world.tasks:
            raise ConfigError(
                f"The model was trained on '{name}'; it cannot be an unseen task. Name it with "
                f"--tasks, or choose others with --unseen."
            )
    return order.unseen, []


def sister_tasks(
    tasks: Sequence[str], *, behaviour: str, at_most: int = MAX_SISTERS
) -> tuple[tuple[str, ...], list[str]]:
    """Find tasks of the same simulators that are not among the given ones and can be played here.

    Args:
        tasks: What a model was trained on; names that this version does not know are passed over.
        behaviour: Who will play; tasks without an expert are left out where it needs one.
        at_most: So many of each simulator.

    Returns:
        The tasks, and a sentence for each domain that could not be started.
    """
    known = set(task_names())
    domains = dict.fromkeys(task_spec(name).domain for name in tasks if name in known)
    chosen: list[str] = []
    problems: list[str] = []
    for domain in domains:
        specs = [task_spec(name) for name in task_names() if name not in tasks]
        found = [
            spec.name
            for spec in specs
            if spec.domain == domain
            and spec.assets is None
            and (spec.expert is not None or behaviour not in EXPERT_POLICIES)
        ]
        if not found:
            continue
        try:
            make_env(found[0]).close()
        except (MissingExtraError, MissingSimulatorError) as error:
            problems.append(str(error))
            continue
        places = np.linspace(0, len(found) - 1, min(at_most, len(found)))
        chosen += [found[place] for place in sorted({round(place) for place in places.tolist()})]
    return tuple(chosen), problems
