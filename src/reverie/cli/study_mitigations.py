"""``reverie study mitigations``: what keeps a controller from exploiting its dream?"""

from pathlib import Path
from typing import Annotated

import tyro

from reverie.cli.train import Terminal, parse_settings


def mitigations(
    *,
    seeds: int | None = None,
    horizons: tuple[int, ...] = (),
    arms: tuple[str, ...] = (),
    data: Path | None = None,
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    debug: bool = False,
    out: Path = Path("runs/study-mitigations"),
    workers: int = 2,
) -> None:
    """Train CartPole's controller in the dream with each mitigation of drift, and with none.

    Contrast over actions, fine on norms, latent dropout, grounding, trust and temperatures, on one
    data set; real return, dream return, their correlation, drift beside its floor. The same command
    goes on after an interruption.

    Example: reverie study mitigations --seeds 3

    Args:
        seeds: Of V, M, search and score; 5 by default.
        horizons: Lengths of the dreams that controllers are searched in; 100 by default.
        arms: Some of the arms; all by default. The baseline is always among them.
        data: Store of the episodes to learn from; random play is collected by default.
        settings: Fields of the run that all arms share, as for 'reverie train cartpole-dream'.
        debug: Everything for a few steps, in seconds; says nothing of quality.
        out: Folder of everything; study.md is the table, study.png the picture.
        workers: Processes that collect.
    """
    from dataclasses import replace

    from reverie.core.config import override
    from reverie.recipes.mitigation_study import study_mitigations
    from reverie.recipes.mitigations import MitigationStudy, choose_arms, debug_study
    from reverie.recipes.studies import table

    study = debug_study() if debug else MitigationStudy()
    study = replace(
        study,
        run=override(study.run, parse_settings(settings)),
        arms=choose_arms(study.arms, arms),
        horizons=horizons or study.horizons,
        num_seeds=study.num_seeds if seeds is None else seeds,
    )
    with Terminal() as terminal:
        numbers = study_mitigations(study, out, data=data, num_workers=workers, audience=terminal)
    print(table(numbers))


COMMANDS = {"mitigations": mitigations}
