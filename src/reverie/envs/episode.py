"""The only loop that steps a simulator from reset to end."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from reverie.core.seeds import child_seed, numpy_rng
from reverie.core.types import Episode
from reverie.envs.api import Policy, StepResult, TaskEnv

OnStep = Callable[[int, StepResult], None]
"""Called after each step with its index and result."""


def play_episode(
    env: TaskEnv,
    policy: Policy,
    *,
    seed: int,
    max_steps: int | None = None,
    on_step: OnStep | None = None,
) -> Episode:
    """Play one episode and return it.

    The simulator and the policy get two independent children of ``seed``: the same seed gives the
    same episode, and another policy under the same seed meets the same start.

    Args:
        env: The environment; it is reset here.
        policy: Chooses the actions; what it returns is clipped to [-1, 1] before it is recorded.
        seed: Recorded in the episode.
        max_steps: Stop earlier than the task's own limit; None plays to the end.
        on_step: Called after every step, for pictures and progress.
    """
    frames = [env.reset(child_seed(seed, "env"))]
    parameters = policy.start(env, numpy_rng(seed, "policy"))
    limit = env.spec.max_steps if max_steps is None else min(max_steps, env.spec.max_steps)
    actions: list[Float32[np.ndarray, " a"]] = []
    rewards: list[float] = []
    behaviours: list[str] = []
    terminated, score = False, float("nan")
    for step in range(limit):
        action = np.clip(policy.act(env, step), -1.0, 1.0).astype(np.float32, copy=False)
        result = env.step(action)
        frames.append(result.frame)
        actions.append(action)
        rewards.append(result.reward)
        behaviours.append(policy.behaviour())
        terminated, score = result.terminated, float(result.info["score"])
        if on_step is not None:
            on_step(step, result)
        if result.terminated or result.truncated:
            break
    return Episode(
        frames=np.stack(frames),
        actions=np.array(actions, dtype=np.float32).reshape(len(actions), env.spec.action.width),
        rewards=np.array(rewards, dtype=np.float32),
        terminated=terminated,
        task=env.spec.name,
        source=policy.name,
        seed=seed,
        score=score,
        behaviours=tuple(behaviours) if len(set(behaviours)) > 1 else (),
        parameters=dict(parameters),
    )
