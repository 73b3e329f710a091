"""Does caution help? Plans with and without it, from the same starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.errors import ConfigError
from reverie.core.registry import keep_named
from reverie.recipes.caution import Caution
from reverie.recipes.planning import (
    PLANNER,
    PlannedEpisode,
    PlanningOrder,
    read_episodes,
    run_planning,
)
from reverie.recipes.studies import (
    Found,
    average,
    compared,
    require_plots,
    write_compared,
)
from reverie.train.progress import Audience, Silence

PLAIN = "plain"
SHUFFLED = "shuffled"
VARIANTS: Mapping[str, Caution] = {
    PLAIN: Caution(),
    "price 0.3": Caution(kind="price", beta=0.3),
    "price 1": Caution(kind="price", beta=1.0),
    "price 3": Caution(kind="price", beta=3.0),
    f"price 1, {SHUFFLED}": Caution(kind="price", beta=1.0, is_shuffled=True),
    "survival": Caution(kind="survival"),
    "stop": Caution(kind="stop"),
}
"""Kinds of caution that are compared on the same starts."""


def choose_variants(names: tuple[str, ...]) -> dict[str, Caution]:
    """Keep plain planning and the named variants; no name keeps all.

    Raises:
        UnknownNameError: There is no such variant.
    """
    hint = f"The variants are: {'; '.join(VARIANTS)}"
    return keep_named("variant", VARIANTS, names, always=PLAIN, hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class CautiousStudy:
    """Planning with and without caution, on the same starts."""

    planning: PlanningOrder
    variants: Mapping[str, Caution] = field(default_factory=lambda: dict(VARIANTS))

    def __post_init__(self) -> None:
        """Refuse studies that have nothing to compare with."""
        if PLAIN not in self.variants:
            raise ConfigError(f"A study of caution needs the variant '{PLAIN}' to compare with.")


def study_cautious(
    model: Path,
    study: CautiousStudy,
    out: Path,
    *,
    num_workers: int = 2,
    audience: Audience = Silence(),  # noqa: B008 - it keeps nothing
) -> dict[str, Any]:
    """Play every variant from the same starts, and compare each with plain planning.

    A variant whose control with shuffled doubts is among them is compared with that as well: only
    this tells doubt from noise in the search.
    """
    require_plots()
    found: dict[str, Found] = {}
    abstentions: dict[str, float] = {}
    for name, caution in study.variants.items():
        audience.say(f"cautious: {name}")
        order = replace(study.planning, caution=caution)
        folder = out / name.replace(" ", "-").replace(",", "")
        run_planning(model, order, folder, num_workers=num_workers)
        episodes = [item for item in read_episodes(folder, order) if item.policy == PLANNER]
        found[name] = _outcomes(episodes, order)
        decisions = sum(item.counts["decisions"] for item in episodes)
        abstentions[name] = sum(item.counts["abstentions"] for item in episodes) / decisions
    rows = {
        name: {
            **compared(mine, _others(name, study.variants, found), average),
            "abstention_share": abstentions[name],
        }
        for name, mine in found.items()
    }
    facts = {"tasks": list(study.planning.tasks), "episodes": study.planning.num_episodes}
    numbers = {"study": "cautious", **facts, "rows": rows}
    return write_compared(out, numbers, found, PLAIN)


def _outcomes(episodes: Sequence[PlannedEpisode], order: PlanningOrder) -> Found:
    """Return what became of every start: the score, the goal reached at any time, the return."""
    columns = {
        "score": [item.score for item in episodes],
        "success_any": [float(item.success_any) for item in episodes],
        "return": [item.total_reward for item in episodes],
    }
    shape = (len(order.tasks), order.num_episodes)
    return {name: np.array(values).reshape(shape) for name, values in columns.items()}


def _others(
    name: str, variants: Mapping[str, Caution], found: Mapping[str, Found]
) -> dict[str, Found]:
    """Return what a variant is compared with: plain planning, and its own shuffled control."""
    others = {PLAIN: found[PLAIN]}
    caution = variants[name]
    for control, other in variants.items():
        if caution.kind != "none" and other == replace(caution, is_shuffled=True):
            others[SHUFFLED] = found[control]
    return others
