"""Held-out episodes straight from the simulators, and what an action can change in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.errors import ConfigError, DataError
from reverie.core.registry import unknown_name_message
from reverie.core.seeds import child_seed, numpy_rng
from reverie.core.types import Episode, FrameSpec
from reverie.envs.api import Policy, TaskEnv
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env, task_names
from reverie.evaluate.action_following import LATER_STEPS, MIN_DIFFERENCE
from reverie.evaluate.metrics import frame_errors
from reverie.models.api import WorldModel

MakePolicy = Callable[[str], Policy]
"""Task name to a behaviour that moves."""

MOVING_BEHAVIOUR = "noise"
"""Gaussian, Ornstein-Uhlenbeck or a mixture with the expert: it moves in every task, always."""
HELD_OUT_SEED = 0x48454C44_4F555400
"""Root of evaluation episodes. Training seeds are children of small roots, so none is shared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveConfig:
    """How many episodes are played, and how long."""

    num_episodes: int = 6
    max_steps: int = 100
    """Played steps per episode; enough for four clips of 24 frames."""
    num_probes: int = 16
    """Places where the effect of an action is measured, over all episodes."""
    series: str = "held-out"
    """Episodes of another series have other seeds: what was calibrated on is not judged on."""

    def __post_init__(self) -> None:
        """Refuse evaluations of nothing."""
        if min(self.num_episodes, self.max_steps, self.num_probes) < 1:
            raise ConfigError(
                f"An evaluation needs at least 1 episode, 1 step and 1 probe, got "
                f"{self.num_episodes}, {self.max_steps} and {self.num_probes}. Try --episodes 8."
            )


def choose_tasks(world: WorldModel, asked: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks to evaluate; names the model does not know are refused."""
    for name in asked:
        if name not in world.tasks:
            hint = f"The model knows: {', '.join(world.tasks)}"
            raise ConfigError(unknown_name_message("task", name, world.tasks, hint))
    known = set(task_names())
    missing = [name for name in world.tasks if name not in known]
    if not asked and missing:
        raise ConfigError(
            f"This version has no simulator for {', '.join(missing)}. Name the tasks to evaluate "
            f"with --tasks."
        )
    return tuple(asked) or tuple(world.tasks)


def collect_heldout(
    task: str, *, frame_spec: FrameSpec, make_policy: MakePolicy, config: LiveConfig
) -> list[Episode]:
    """Play fresh episodes of a task with seeds that training never uses.

    Args:
        task: A task name.
        frame_spec: Of the model.
        make_policy: Called once with the task's name.
        config: How many and how long.
    """
    env = make_env(task, frame_spec=frame_spec)
    policy = make_policy(task)
    try:
        return [
            play_episode(
                env,
                policy,
                seed=child_seed(HELD_OUT_SEED, config.series, task, index),
                max_steps=config.max_steps,
            )
            for index in range(config.num_episodes)
        ]
    finally:
        env.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlEffect:
    """What another action changes in the simulator itself, from the same moment.

    A game that draws a position and integrates it with the old velocity shows nothing of the last
    action in the next frame. No model can then have a one-step action-shuffle ratio above 1.
    """

    next_pixels: float
    """Share of the next frame's pixels that another last action changes."""
    next_mse: float
    """Mean squared difference of the next frames, [0, 1] units."""
    later_pixels: float
    """The same four frames later, all four actions exchanged."""
    later_mse: float
    shows_next: float
    """Share of moments where the next frame shows any difference."""
    num_probes: int


def measure_control(
    task: str, episodes: Sequence[Episode], *, frame_spec: FrameSpec, config: LiveConfig
) -> ControlEffect | None:
    """Replay episodes in the simulator and branch off under other recorded actions.

    Returns:
        The effect, or None where no two recorded actions differ by more than 0.1.

    Raises:
        DataError: A replayed frame differs from the recorded one: the task is not repeatable, or
            the episodes are of another version of it.
    """
    env = make_env(task, frame_spec=frame_spec)
    try:
        pairs = [
            pair
            for index, probes in _choose_probes(episodes, config.num_probes)
            for pair in _branch(env, episodes, index, probes)
        ]
    finally:
        env.close()
    if not pairs:
        return None
    own, other = (np.stack(side) for side in zip(*pairs, strict=True))
    changed = (own != other).any(axis=-1).mean(axis=(-1, -2))
    errors = frame_errors(own, other)
    return ControlEffect(
        next_pixels=float(changed[:, 0].mean()),
        next_mse=float(errors[:, 0].mean()),
        later_pixels=float(changed[:, 1].mean()),
        later_mse=float(errors[:, 1].mean()),
        shows_next=float((changed[:, 0] > 0).mean()),
        num_probes=len(pairs),
    )


def _choose_probes(
    episodes: Sequence[Episode], num_probes: int
) -> list[tuple[int, tuple[int, ...]]]:
    per_episode = max(1, num_probes // max(1, len(episodes)))
    chosen = []
    for index, episode in enumerate(episodes):
        last = episode.num_steps - LATER_STEPS
        if last >= 0:
            steps = np.linspace(last / (per_episode + 1), last, per_episode)
            chosen.append((index, tuple(sorted({int(step) for step in steps}))))
    return chosen


def _branch(
    env: TaskEnv, episodes: Sequence[Episode], index: int, probes: Sequence[int]
) -> list[tuple[UInt8[np.ndarray, "2 h w 3"], UInt8[np.ndarray, "2 h w 3"]]]:
    episode = episodes[index]
    frame = env.reset(child_seed(episode.seed, "env"))
    pairs = []
    for step in range(max(probes) + 1):
        if not np.array_equal(frame, episode.frames[step]):
            raise DataError(
                f"'{episode.task}' with seed {episode.seed} does not repeat: frame {step} differs "
                f"from the recorded one. Collect the episodes again with this version."
            )
        if step in probes:
            donor = _donor_actions(episodes, index, step)
            if donor is not None:
                own = episode.actions[step : step + LATER_STEPS]
                snapshot = env.save()
                pairs.append((_play(env, own), _play(env, donor, snapshot)))
                env.restore(snapshot)
        frame = env.step(episode.actions[step]).frame
    return pairs


def _donor_actions(
    episodes: Sequence[Episode], index: int, step: int
) -> Float32[np.ndarray, "4 a"] | None:
    own = episodes[index].actions[step]
    candidates = [
        (other, begin)
        for other, episode in enumerate(episodes)
        for begin in range(episode.num_steps - LATER_STEPS + 1)
        if np.abs(episode.actions[begin] - own).max() > MIN_DIFFERENCE
    ]
    if not candidates:
        return None
    rng = numpy_rng(HELD_OUT_SEED, "donor", index, step)
    other, begin = candidates[int(rng.integers(len(candidates)))]
    return episodes[other].actions[begin : begin + LATER_STEPS]


def _play(
    env: TaskEnv, actions: Float32[np.ndarray, "4 a"], snapshot: object | None = None
) -> UInt8[np.ndarray, "2 h w 3"]:
    """Return the next frame and the fourth; an episode that ends stays at its last frame."""
    if snapshot is not None:
        env.restore(snapshot)
    frames: list[UInt8[np.ndarray, "h w 3"]] = []
    for action in actions:
        result = env.step(action)
        frames.append(result.frame)
        if result.terminated or result.truncated:
            break
    return np.stack([frames[0], frames[-1]])
