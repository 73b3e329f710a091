"""``reverie study detection``: how well readings say that a dream goes wrong."""

from pathlib import Path

from rich.console import Console


def detection(
    *,
    models: tuple[str, ...] = ("pocket",),
    tasks: tuple[str, ...] = (),
    episodes: int = 10,
    test_episodes: int = 7,
    behaviours: tuple[str, ...] = ("noise", "mixed"),
    twins: int = 3,
    workers: int = 2,
    out: Path = Path("runs/study-detection"),
) -> None:
    """Judge the calibrated probability beside every baseline, on other seeds and unseen families.

    The same command goes on where it was interrupted.

    Example: reverie study detection --models pocket --episodes 10

    Args:
        models: Names or folders; several, trained from other seeds, give intervals.
        tasks: Tasks to study; all of each model's by default.
        episodes: Episodes per task and behaviour to fit on.
        test_episodes: Other episodes per task and behaviour to judge on.
        behaviours: Who plays them; tasks without an expert need others, such as 'noise-ou' and
            'held'.
        twins: Dreams beside each dream, as samples of what could be true.
        workers: Processes.
        out: Folder for dreams, numbers, tables and reports.
    """
    from reverie.models.load import resolve_model
    from reverie.recipes.calibration import DreamOrder
    from reverie.recipes.detection_study import DetectionStudy, run_detection_study, tables

    console = Console()
    study = DetectionStudy(
        models=tuple(resolve_model(name) for name in models),
        out=out,
        fit=DreamOrder(
            tasks=tasks,
            behaviours=behaviours,
            episodes_per_behaviour=episodes,
            num_twins=twins,
        ),
        test_episodes=test_episodes,
        num_workers=workers,
    )
    with console.status("dreaming") as status:
        numbers = run_detection_study(study, tell=lambda task: status.update(f"watched {task}"))
    print(tables(numbers))


COMMANDS = {"detection": detection}
