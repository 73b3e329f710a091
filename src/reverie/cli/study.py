"""``reverie study``: experiments that anyone can run again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reverie.cli.train import Terminal, parse_settings


def cautious(
    *,
    model: str = "pocket",
    tasks: tuple[str, ...] = (),
    variants: tuple[str, ...] = (),
    episodes: int = 5,
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    out: Path = Path("runs/study-cautious"),
    workers: int = 2,
) -> None:
    """Does caution help? Plan with and without it from the same starts.

    Compares prices on doubt, survival, early stop and a control with shuffled doubts: score, goal
    reached at any time, return. The same command goes on after an interruption.

    Example: reverie study cautious --tasks pygame-point-maze-var1 pygame-pong

    Args:
        model: Name of a shipped model, or the path of a model folder; it needs limits of readings.
        tasks: Tasks to play; all of the model's by default.
        variants: Some of the kinds of caution, such as "price 1"; all by default. Plain planning is
            always among them.
        episodes: Starts per task.
        settings: Fields of the planning order, as for 'reverie plan'.
        out: Folder of everything; study.md is the table, study.png the picture.
        workers: Processes.
    """
    from reverie.core.config import override
    from reverie.models.load import read_manifest, resolve_model
    from reverie.recipes.cautious_study import CautiousStudy, choose_variants, study_cautious
    from reverie.recipes.planning import PlanningOrder
    from reverie.recipes.studies import table

    folder = resolve_model(model)
    order = PlanningOrder(
        tasks=tasks or read_manifest(folder).dynamics.tasks, num_episodes=episodes
    )
    study = CautiousStudy(
        planning=override(order, parse_settings(settings)), variants=choose_variants(variants)
    )
    with Terminal() as terminal:
        numbers = study_cautious(folder, study, out, num_workers=workers, audience=terminal)
    print(table(numbers))


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetedSize:
    """How much is played and trained."""

    seeds: int = 5
    """Seeds of collection and training per task and source."""
    episodes: int = 12
    """Episodes per task."""
    plan_episodes: int = 4
    """Episodes that are played with each adapted model; 0 for none."""


def targeted(
    *,
    model: str = "pocket",
    tasks: tuple[str, ...] = (),
    policies: tuple[str, ...] = (),
    size: Annotated[TargetedSize, tyro.conf.OmitArgPrefixes] = TargetedSize(),  # noqa: B008
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    plan_settings: Annotated[
        tuple[str, ...], tyro.conf.arg(name="set-plan", metavar="PATH=VALUE")
    ] = (),
    out: Path = Path("runs/study-targeted"),
    workers: int = 2,
) -> None:
    """Which data teach a model a new task? Adapt it from several sources and compare.

    At equal numbers of episodes: reconstruction, rollout gain, action-shuffle ratio, the score of
    planning; cells and reward that the source saw. The same command goes on after an interruption.

    Example: reverie study targeted --tasks pygame-air-hockey --seeds 2

    Args:
        model: Name of a shipped model, or the path of a model folder.
        tasks: Tasks that the model does not know; three MiniArcade games by default.
        policies: Sources; noop, random, expert, curiosity and all of these in turn by default.
        size: How many seeds and episodes.
        settings: Fields of the order of adapting, as for 'reverie adapt', such as num_rounds.
        plan_settings: Fields of the planning order, as for 'reverie plan': max_steps,
            plan.horizon …
        out: Folder of everything; study.md is the table, study.png the picture.
        workers: Processes.
    """
    from dataclasses import replace

    from reverie.core.config import override
    from reverie.models.load import resolve_model
    from reverie.recipes.adapt import AdaptOrder, cpu_order
    from reverie.recipes.planning import PlanningOrder
    from reverie.recipes.studies import table
    from reverie.recipes.targeted_study import TargetedStudy, study_targeted

    def make_order(task: str, num_episodes: int, policy: str) -> AdaptOrder:
        return override(cpu_order(task, num_episodes, policy), parse_settings(settings))

    study = TargetedStudy()
    names = tasks or study.tasks
    study = replace(
        study,
        tasks=names,
        policies=policies or study.policies,
        num_seeds=size.seeds,
        num_episodes=size.episodes,
        plan_episodes=size.plan_episodes,
        make_order=make_order,
        planning=override(PlanningOrder(tasks=names), parse_settings(plan_settings)),
    )
    with Terminal() as terminal:
        numbers = study_targeted(
            resolve_model(model), study, out, num_workers=workers, audience=terminal
        )
    print(table(numbers))


def coverage(
    *,
    model: str = "pocket",
    seeds: int = 5,
    tokenizer_steps: int = 300,
    dynamics_steps: int = 200,
    out: Path = Path("runs/study-coverage"),
    workers: int = 2,
) -> None:
    """Does it help to see rare tasks as often as common ones? Continue one training three ways.

    A corpus with a long tail (96, 24, 6 and 2 episodes of four games) is learned frame by frame,
    then continued frame by frame, with a re-weighted loss, and with all tasks drawn alike. The same
    command goes on after an interruption.

    Example: reverie study coverage --seeds 2

    Args:
        model: Name of a shipped model, or the path of a model folder; the base begins from it.
        seeds: Corpora, orders and noises.
        tokenizer_steps: Per stage, base or continuation.
        dynamics_steps: Per stage.
        out: Folder of everything; study.md is the table, study.png the gain of every task.
        workers: Processes that collect.
    """
    from reverie.models.load import resolve_model
    from reverie.recipes.coverage_study import CoverageStudy, study_coverage, study_finetune
    from reverie.recipes.studies import table

    stage = study_finetune(tokenizer_steps, dynamics_steps)
    study = CoverageStudy(num_seeds=seeds, finetune=stage)
    with Terminal() as terminal:
        numbers = study_coverage(
            resolve_model(model), study, out, num_workers=workers, audience=terminal
        )
    print(table(numbers))


COMMANDS = {"cautious": cautious, "targeted": targeted, "coverage": coverage}
"""Second word to function."""
