"""The end of a classic run: limits by which the page colours the readings of its dream."""

from reverie.core.errors import CheckpointError, DataError
from reverie.envs.registry import task_spec
from reverie.evaluate.live import MOVING_BEHAVIOUR, LiveConfig
from reverie.hallucination.thresholds import load_thresholds, reading_setup
from reverie.models.families import load_any_world
from reverie.recipes.classic_base import ClassicPlaces, ClassicRunConfig
from reverie.recipes.evaluation import EvaluationOrder, evaluate_live, fit_thresholds
from reverie.train.progress import Audience


def fit_limits(config: ClassicRunConfig, places: ClassicPlaces, audience: Audience) -> None:
    """Fit the limits of a finished model to dreams of fresh episodes; done once for its weights.

    Where no episode is long enough to dream from, there are none, and the audience is told.
    """
    if config.limit_episodes < 1:
        return
    world = load_any_world(places.model)
    try:
        load_thresholds(places.model, reading_setup(places.model, world))
        return
    except (CheckpointError, DataError):
        audience.say(f"limits: the page's readings, from {config.limit_episodes} fresh episodes")
    order = EvaluationOrder(
        tasks=config.data.tasks,
        live=LiveConfig(num_episodes=config.limit_episodes),
        behaviour=_behaviour(config),
        has_single_substep=False,
    )
    try:
        measured = evaluate_live(world, order)
    except DataError as error:
        # The run is whole without them; an agent that ends all its episodes early is no fault.
        audience.say(f"limits: none yet. {error} Then: reverie evaluate MODEL --fit-thresholds")
        return
    fit_thresholds(places.model, world, measured)


def _behaviour(config: ClassicRunConfig) -> str:
    """Who plays: noise around the task's expert, or where there is none, who played the data."""
    if task_spec(config.data.tasks[0]).expert is not None:
        return MOVING_BEHAVIOUR
    return max(config.data.policies, key=lambda name: config.data.policies[name])
