"""Runs a task and says where it breaks the contract of ``TaskEnv``; what ``tasks check`` shows."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from reverie.core.seeds import numpy_rng
from reverie.core.types import DEFAULT_QUALITY, FrameSpec, RenderQuality
from reverie.envs.api import StepResult, TaskEnv
from reverie.envs.registry import make_env, task_spec


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCheck:
    """What one task did."""

    task: str
    problems: tuple[str, ...]
    """One sentence per broken promise; empty if all were kept."""
    num_steps: int
    """Steps of the timed episode."""
    rate_hz: float
    """Frames per second of that episode, drawing and resampling included."""
    score: float
    """Score of uniform noise."""


def check_task(
    task: str,
    *,
    frame_spec: FrameSpec,
    quality: RenderQuality = DEFAULT_QUALITY,
    seed: int = 0,
    num_steps: int | None = None,
) -> TaskCheck:
    """Play an episode of uniform noise, then repeat parts of it.

    Args:
        task: Name of the task.
        frame_spec: Size of its frames.
        quality: How carefully to draw it.
        seed: Of the episode and of the noise.
        num_steps: Steps to play; None plays to the end of the episode.

    Raises:
        UnknownNameError: There is no such task.
        MissingExtraError: The simulator is an extra that is not installed.
    """
    env = make_env(task, frame_spec=frame_spec, quality=quality)
    try:
        return _check(env, seed, num_steps)
    finally:
        env.close()


def _check(env: TaskEnv, seed: int, num_steps: int | None) -> TaskCheck:
    spec = task_spec(env.spec.name)
    limit = spec.max_steps if num_steps is None else min(num_steps, spec.max_steps)
    shape = (limit, spec.action.width)
    rng = numpy_rng(seed, "check", spec.name)
    actions = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    begun = time.perf_counter()
    first_frame = env.reset(seed)
    results = _play(env, actions)
    rate_hz = (len(results) + 1) / (time.perf_counter() - begun)
    problems = _problems_of_episode(env, results, limit)
    if first_frame.shape != env.frame_spec.shape:
        problems.append(f"The first frame has shape {first_frame.shape}.")
    half = len(results) // 2
    if not np.array_equal(env.reset(seed), first_frame):
        problems.append("Resetting to the same seed shows another first frame.")
    if not _are_same(_play(env, actions[:half]), results[:half]):
        problems.append("The same seed and actions give another episode.")
    snapshot = env.save()
    onward = _play(env, actions[half : len(results)])
    env.restore(snapshot)
    if not _are_same(_play(env, actions[half : len(results)]), onward):
        problems.append("Restoring a snapshot does not repeat what followed it.")
    return TaskCheck(
        task=spec.name,
        problems=tuple(problems),
        num_steps=len(results),
        rate_hz=rate_hz,
        score=float(results[-1].info["score"]),
    )


def _problems_of_episode(env: TaskEnv, results: list[StepResult], limit: int) -> list[str]:
    spec, last = env.spec, results[-1]
    problems: list[str] = []
    if any(result.frame.shape != env.frame_spec.shape for result in results):
        problems.append(f"A frame is not {env.frame_spec.shape}.")
    if not all(0.0 <= float(result.info["score"]) <= 1.0 for result in results):
        problems.append("A score leaves [0, 1].")
    if not all(np.isfinite(result.reward) for result in results):
        problems.append("A reward is not finite.")
    if last.terminated and not spec.can_terminate:
        problems.append(f"The task ended by itself at step {len(results)}, against its spec.")
    if not last.terminated and len(results) != limit:
        problems.append(f"The episode ended at step {len(results)}, before its limit.")
    elif not last.terminated and last.truncated != (limit == spec.max_steps):
        problems.append(f"The episode did not end at its limit of {spec.max_steps} steps.")
    return problems


def _play(env: TaskEnv, actions: Float32[np.ndarray, "t a"]) -> list[StepResult]:
    results: list[StepResult] = []
    for action in actions:
        results.append(env.step(action))
        if results[-1].terminated or results[-1].truncated:
            break
    return results


def _are_same(left: list[StepResult], right: list[StepResult]) -> bool:
    return len(left) == len(right) and all(
        one.reward == other.reward and np.array_equal(one.frame, other.frame)
        for one, other in zip(left, right, strict=True)
    )
