"""Behaviours that fill a store: noise of several kinds, experts, and mixtures of them.

The paper on multi-task hallucination names these behaviours and gives no numbers; the numbers
here are this project's own. What an episode draws goes into ``Episode.parameters``; where a
behaviour switches within an episode, the mapping that ``start`` returns grows until the end.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from reverie.core.registry import Registry
from reverie.core.types import ActionSpec
from reverie.envs.api import Policy, TaskEnv

SIGMA_RANGE = (0.1, 0.5)
"""Standard deviation of Gaussian and Ornstein-Uhlenbeck noise."""
THETA_RANGE = (0.05, 0.3)
"""Pull of Ornstein-Uhlenbeck noise towards zero, per step."""
TRANSFORM_CHANCE = 0.1
"""Chance per step that an expert's actions begin to be transformed."""
TRANSFORM_MEAN_STEPS = 8
TRANSFORM_MAX_STEPS = 32
DROP_CHANCE = 0.3
"""Chance of each lane to be dropped by the ``drop`` transform."""
TRANSFORMS = ("scale", "drop", "flip", "zero", "repeat")
SEGMENT_MEAN_STEPS = 25
SEGMENT_MIN_STEPS = 5
HOLD_MEAN_STEPS = 8
HOLD_MAX_STEPS = 32
EXTREME_CHANCE = 0.5
"""Chance of a held lane to be fully -1 or 1; what a planner tries, and a person's keys do."""
MIXED_WEIGHTS: Mapping[str, float] = {
    "expert": 0.30,
    "transformed-expert": 0.25,
    "noise": 0.25,
    "random": 0.15,
    "noop": 0.05,
}

POLICIES = Registry("policy", "'reverie collect --help' lists all")
POLICIES.add("random", "reverie.collect.policies:RandomPolicy")
POLICIES.add("noop", "reverie.collect.policies:NoopPolicy")
POLICIES.add("noise-gaussian", "reverie.collect.policies:GaussianPolicy")
POLICIES.add("noise-ou", "reverie.collect.policies:OrnsteinUhlenbeckPolicy")
POLICIES.add("noise-mixture", "reverie.collect.policies:ExpertMixturePolicy")
POLICIES.add("noise", "reverie.collect.policies:NoisePolicy")
POLICIES.add("held", "reverie.collect.policies:HeldPolicy")
POLICIES.add("expert", "reverie.collect.policies:ExpertPolicy")
POLICIES.add("transformed-expert", "reverie.collect.policies:TransformedExpertPolicy")
POLICIES.add("mixed", "reverie.collect.policies:MixedPolicy")

EXPERT_POLICIES = ("noise-mixture", "noise", "expert", "transformed-expert", "mixed")
"""Behaviours that need an expert of the task."""


def make_policy(name: str) -> Policy:
    """Make a behaviour by name; it fits any task, and may play any number of episodes."""
    return POLICIES.load(name)()


def fit_action(values: np.ndarray, spec: ActionSpec) -> Float32[np.ndarray, " a"]:
    """Clip to [-1, 1]; where actions are discrete, choose the largest lane instead."""
    if spec.kind == "discrete":
        one_hot = np.zeros(spec.width, dtype=np.float32)
        one_hot[int(np.argmax(values))] = 1.0
        return one_hot
    return np.clip(values, -1.0, 1.0).astype(np.float32)


class RandomPolicy:
    """Uniform in [-1, 1], anew for every lane and step."""

    name = "random"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Keep the stream."""
        self._rng = rng
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Draw an action."""
        return fit_action(self._rng.uniform(-1.0, 1.0, env.spec.action.width), env.spec.action)

    def behaviour(self) -> str:
        """Never switches."""
        return self.name


class NoopPolicy:
    """Zeros: what the world does by itself. The first choice where actions are discrete."""

    name = "noop"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw nothing."""
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Do nothing."""
        return fit_action(np.zeros(env.spec.action.width), env.spec.action)

    def behaviour(self) -> str:
        """Never switches."""
        return self.name


class GaussianPolicy:
    """Independent normal noise; its width is drawn per episode."""

    name = "noise-gaussian"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw sigma."""
        self._rng = rng
        self._sigma = float(rng.uniform(*SIGMA_RANGE))
        return {"sigma": self._sigma}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Draw an action."""
        spec = env.spec.action
        return fit_action(self._sigma * self._rng.standard_normal(spec.width), spec)

    def behaviour(self) -> str:
        """Never switches."""
        return self.name


def step_ornstein_uhlenbeck(
    values: np.ndarray, draw: np.ndarray, *, theta: float, sigma: float
) -> np.ndarray:
    """Return the next value of a process that is pulled to zero: x − θx + σε."""
    return values - theta * values + sigma * draw


class OrnsteinUhlenbeckPolicy:
    """Noise that wanders: steps resemble their predecessors, so bodies really move."""

    name = "noise-ou"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw theta and sigma; begin at zero."""
        self._rng = rng
        self._theta = float(rng.uniform(*THETA_RANGE))
        self._sigma = float(rng.uniform(*SIGMA_RANGE))
        self._values = np.zeros(env.spec.action.width)
        return {"theta": self._theta, "sigma": self._sigma}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Move the process one step; what is recorded is clipped, the process itself is not."""
        draw = self._rng.standard_normal(len(self._values))
        self._values = step_ornstein_uhlenbeck(
            self._values, draw, theta=self._theta, sigma=self._sigma
        )
        return fit_action(self._values, env.spec.action)

    def behaviour(self) -> str:
        """Never switches."""
        return self.name


class HeldPolicy:
    """One action held for a while, then another, as keys are held: its effect adds up."""

    name = "held"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Keep the stream."""
        self._rng = rng
        self._steps_left = 0
        return {}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Hold the action, or draw another."""
        spec = env.spec.action
        if self._steps_left == 0:
            self._steps_left = min(int(self._rng.geometric(1 / HOLD_MEAN_STEPS)), HOLD_MAX_STEPS)
            values = self._rng.uniform(-1.0, 1.0, spec.width)
            is_extreme = self._rng.random(spec.width) < EXTREME_CHANCE
            self._held = fit_action(np.where(is_extreme, np.sign(values), values), spec)
        self._steps_left -= 1
        return self._held.copy()

    def behaviour(self) -> str:
        """Never switches."""
        return self.name


class ExpertPolicy:
    """The scripted expert of the task at hand."""

    name = "expert"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Make and start the task's expert; a task without one is an error."""
        from reverie.envs.experts import make_expert

        self._expert: Policy = make_expert(env.spec.name)
        return self._expert.start(env, rng)

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Ask the expert."""
        return self._expert.act(env, step)

    def behaviour(self) -> str:
        """Never switches."""
        return self.name


class ExpertMixturePolicy:
    """λ·expert + (1 − λ)·random, with λ drawn per episode."""

    name = "noise-mixture"

    def __init__(self) -> None:
        """Start nothing yet."""
        self._expert = ExpertPolicy()

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw λ and start the expert."""
        self._rng = rng
        self._share = float(rng.uniform())
        return {"expert_share": self._share, "expert": dict(self._expert.start(env, rng))}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Mix one action."""
        spec = env.spec.action
        noise = self._rng.uniform(-1.0, 1.0, spec.width)
        expert = self._expert.act(env, step)
        return fit_action(self._share * expert + (1.0 - self._share) * noise, spec)

    def behaviour(self) -> str:
        """Never switches."""
        return self.name


class NoisePolicy:
    """One of the three structured noises, drawn per episode."""

    name = "noise"
    kinds = ("noise-gaussian", "noise-ou", "noise-mixture")

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw which one."""
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        self._inner = make_policy(kind)
        return {"kind": kind, **self._inner.start(env, rng)}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Ask the drawn noise."""
        return self._inner.act(env, step)

    def behaviour(self) -> str:
        """Name the drawn noise."""
        return self._inner.behaviour()


class TransformedExpertPolicy:
    """An expert whose actions are now and then scaled, dropped, flipped, zeroed or repeated."""

    name = "transformed-expert"

    def __init__(self) -> None:
        """Start nothing yet."""
        self._expert = ExpertPolicy()

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Start the expert; transforms are listed as they are drawn."""
        self._rng = rng
        self._transform: dict[str, Any] | None = None
        self._steps_left = 0
        self._keep = np.ones(env.spec.action.width)
        self._last = np.zeros(env.spec.action.width, dtype=np.float32)
        self._transforms: list[dict[str, Any]] = []
        return {"expert": dict(self._expert.start(env, rng)), "transforms": self._transforms}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Transform the expert's action, if a transform is on."""
        action = self._expert.act(env, step)
        if self._steps_left == 0:
            self._transform = None
            if self._rng.random() < TRANSFORM_CHANCE:
                self._begin(step)
        if self._transform is not None:
            self._steps_left -= 1
            action = fit_action(self._apply(self._transform, action), env.spec.action)
        self._last = action
        return action

    def behaviour(self) -> str:
        """Name the transform that is on, or the expert."""
        return "expert" if self._transform is None else f"expert-{self._transform['kind']}"

    def _begin(self, step: int) -> None:
        kind = TRANSFORMS[int(self._rng.integers(len(TRANSFORMS)))]
        steps = min(int(self._rng.geometric(1 / TRANSFORM_MEAN_STEPS)), TRANSFORM_MAX_STEPS)
        self._transform = {"kind": kind, "step": step, "num_steps": steps}
        if kind == "scale":
            self._transform["factor"] = float(self._rng.uniform())
        if kind == "drop":
            self._keep = (self._rng.random(len(self._last)) >= DROP_CHANCE).astype(np.float64)
            self._transform["kept_lanes"] = [int(lane) for lane in np.flatnonzero(self._keep)]
        self._steps_left = steps
        self._transforms.append(self._transform)

    def _apply(self, transform: dict[str, Any], action: np.ndarray) -> np.ndarray:
        kind = transform["kind"]
        if kind == "scale":
            return transform["factor"] * action
        if kind == "drop":
            return self._keep * action
        if kind == "repeat":
            return self._last
        return -action if kind == "flip" else np.zeros_like(action)


class MixedPolicy:
    """Segments of other behaviours: an episode visits what each alone would never reach."""

    name = "mixed"

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin the first segment; all are listed as they are drawn."""
        self._rng = rng
        self._segments: list[dict[str, Any]] = []
        self._begin(env, 0)
        return {"segments": self._segments}

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Ask the segment's behaviour; begin the next segment when one is over."""
        if step >= self._end:
            self._begin(env, step)
        return self._inner.act(env, step - self._segments[-1]["step"])

    def behaviour(self) -> str:
        """Name what chose the last action."""
        return self._inner.behaviour()

    def _begin(self, env: TaskEnv, step: int) -> None:
        names = tuple(MIXED_WEIGHTS)
        chances = np.array(list(MIXED_WEIGHTS.values()))
        name = names[int(self._rng.choice(len(names), p=chances / chances.sum()))]
        longer = self._rng.geometric(1 / (SEGMENT_MEAN_STEPS - SEGMENT_MIN_STEPS + 1))
        num_steps = SEGMENT_MIN_STEPS - 1 + int(longer)
        self._end = step + num_steps
        self._inner = make_policy(name)
        parameters = self._inner.start(env, self._rng)
        self._segments.append(
            {"step": step, "num_steps": num_steps, "policy": name, "parameters": parameters}
        )
