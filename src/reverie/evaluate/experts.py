"""How good an expert is: its score beside that of another behaviour from the same starts."""

from dataclasses import dataclass

import numpy as np

from reverie.core.seeds import child_seed, numpy_rng
from reverie.core.types import FrameSpec
from reverie.envs.api import Policy, TaskEnv
from reverie.envs.experts import make_expert
from reverie.envs.registry import make_env
from reverie.envs.undrawn import without_pictures
from reverie.evaluate.statistics import bootstrap_mean

TINY = FrameSpec(height_px=16, width_px=16)
"""Nobody looks at these frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a behaviour reached in one episode."""

    score: float
    """Normalised, at the end."""
    has_succeeded: bool
    """Whether the task counted as solved at some step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertMeasure:
    """An expert beside a baseline, over the same starts."""

    task: str
    num_episodes: int
    expert_score: float
    baseline_score: float
    low: float
    """Lower end of the 95 % interval of the mean difference, bootstrapped over episodes."""
    high: float
    success_share: float
    """Share of the expert's episodes that were solved at some step."""

    @property
    def is_better(self) -> bool:
        """Tell whether the interval lies above zero."""
        return self.low > 0.0


def measure_expert(
    task: str, *, baseline: Policy, num_episodes: int, seed: int = 0
) -> ExpertMeasure:
    """Play a task's expert and a baseline, usually uniform noise, from the same starts.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: The task has no expert.
        MissingExtraError: The simulator is an extra that is not installed.
    """
    expert = make_expert(task)
    env = without_pictures(make_env(task, frame_spec=TINY))
    try:
        seeds = [child_seed(seed, "experts", task, index) for index in range(num_episodes)]
        ours = [play_blind(env, expert, seed=one) for one in seeds]
        theirs = [play_blind(env, baseline, seed=one) for one in seeds]
    finally:
        env.close()
    scores = np.array([outcome.score for outcome in ours])
    others = np.array([outcome.score for outcome in theirs])
    low, high = bootstrap_mean(scores - others, rng=numpy_rng(seed, "bootstrap", task))
    return ExpertMeasure(
        task=task,
        num_episodes=num_episodes,
        expert_score=float(scores.mean()),
        baseline_score=float(others.mean()),
        low=low,
        high=high,
        success_share=float(np.mean([outcome.has_succeeded for outcome in ours])),
    )


def play_blind(env: TaskEnv, policy: Policy, *, seed: int) -> Outcome:
    """Play one episode without keeping its frames; seeds mean the same as in ``play_episode``."""
    env.reset(child_seed(seed, "env"))
    policy.start(env, numpy_rng(seed, "policy"))
    has_succeeded, score = False, 0.0
    for step in range(env.spec.max_steps):
        action = np.clip(policy.act(env, step), -1.0, 1.0).astype(np.float32, copy=False)
        result = env.step(action)
        score = float(result.info["score"])
        has_succeeded = has_succeeded or bool(result.info["success"])
        if result.terminated or result.truncated:
            break
    return Outcome(score=score, has_succeeded=has_succeeded)
