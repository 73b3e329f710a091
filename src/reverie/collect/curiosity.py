"""Targeted collection: go where the dream is doubtful (arXiv 2606.27326, section on collection).

Guards against farming stillness are always on: readings are divided by a floored motion, plans
that move less than real data are worth less, doing nothing competes under the same noises, and
where nothing beats it a random plan is executed.
"""

from dataclasses import dataclass

from reverie.collect.planner import OnDecision, PlannerPolicy
from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.hallucination.gauges import MOTION as MOTION_GAUGE
from reverie.hallucination.gauges import make_gauge
from reverie.models.api import WorldModel
from reverie.planning.objectives import CURIOSITY, MOTION, curious
from reverie.planning.plan import PlanConfig

CURIOUS = "curiosity"
"""What episodes record as their source."""
DEFAULT_GAUGE = "u_r/floored"


@dataclass(frozen=True, kw_only=True, slots=True)
class CuriosityConfig:
    """What is looked for, and how hard. The defaults are the paper's; small machines take less."""

    gauge: str = DEFAULT_GAUGE
    """Any gauge with a floored normaliser; keep one out of collection, for judging."""
    plan: PlanConfig = PlanConfig()
    jitter: float = added(0.0)
    """Std of the noise on every executed action, or of discrete ones the chance to be replaced.
    Where plans hold their actions, the data tell what single actions do by it alone."""

    def __post_init__(self) -> None:
        """Refuse jitter that cannot be."""
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"jitter must lie between 0 and 1, got {self.jitter}. Try 0.5.")


def curious_policy(
    world: WorldModel,
    task: str,
    task_motion: float,
    config: CuriosityConfig,
    *,
    on_decision: OnDecision | None = None,
) -> PlannerPolicy:
    """Make a policy that seeks what the model dreams badly.

    Args:
        world: The model whose doubts are sought.
        task: Where.
        task_motion: Mean motion of real data of the task, in the tokenizer's own units.
        config: What and how.
        on_decision: Told of every decision; its plan's readings are the live readings.
    """
    objective = curious(
        make_gauge(config.gauge, motion={task: task_motion}),
        make_gauge(MOTION_GAUGE),
        task_motion=task_motion,
    )
    return PlannerPolicy(
        world,
        objective=objective,
        config=config.plan,
        name=CURIOUS,
        is_restless=True,
        jitter=config.jitter,
        on_decision=on_decision,
    )


READINGS = (CURIOSITY, MOTION)
"""Names of the live readings of a curious plan."""
