"""A policy that plans in a dream, step after step, with a receding horizon."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from reverie.collect.watch import Watched
from reverie.core.errors import ConfigError
from reverie.core.types import ActionSpec
from reverie.envs.api import TaskEnv
from reverie.models.api import WorldModel
from reverie.planning.objectives import Objective
from reverie.planning.optimisers import SearchStart
from reverie.planning.plan import Plan, PlanConfig, Proposal, plan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decision:
    """One decision of a planning policy."""

    step: int
    """Of the episode."""
    state: Any
    """Where the dream started: a ``RolloutState`` of one row. May be forked."""
    plan: Plan
    num_executed: int
    is_random: bool
    """Nothing beat doing nothing, and a random sequence is executed instead of the plan."""
    seconds: float


OnDecision = Callable[[Decision], None]


class PlannerPolicy:
    """Plans in a world model, executes the beginning of each plan, and plans again.

    Its environment must be ``Watched``: the context of every dream is what was really seen.
    """

    def __init__(
        self,
        world: WorldModel,
        *,
        objective: Objective,
        config: PlanConfig,
        name: str = "planner",
        is_restless: bool = False,
        jitter: float = 0.0,
        proposals: Sequence[Proposal] = (),
        on_decision: OnDecision | None = None,
    ) -> None:
        """Make a policy that may play any number of episodes.

        Args:
            world: Dreams.
            objective: What plans maximise.
            config: How a decision is made.
            name: What episodes record as their source.
            is_restless: Act at random where no plan is worth more than doing nothing.
            jitter: Std of the noise on what is executed, or of discrete actions the chance of
                each to be replaced.
            proposals: Sequences to try besides, such as a policy head's.
            on_decision: Told of every decision, for logs and pictures.
        """
        self.name = name
        self._world, self._objective, self._config = world, objective, config
        self._is_restless, self._jitter, self._proposals = is_restless, jitter, proposals
        self._on_decision = on_decision

    def start(self, env: TaskEnv, rng: np.random.Generator) -> Mapping[str, Any]:
        """Begin an episode; everything that is drawn comes from ``rng``."""
        if not isinstance(env, Watched):
            raise ConfigError(
                f"A planner must see what happens: wrap the simulator of '{env.spec.name}' in "
                f"collect.watch.Watched."
            )
        self._rng = torch.Generator(self._world.device)
        self._rng.manual_seed(int(rng.integers(2**62)))
        self._numpy_rng = rng
        self._warm: SearchStart | None = None
        self._waiting: deque[Float32[np.ndarray, " a"]] = deque()
        self._counts = {"decisions": 0, "abstentions": 0, "random_plans": 0, "dreamed_steps": 0}
        return self._counts

    def act(self, env: TaskEnv, step: int) -> Float32[np.ndarray, " a"]:
        """Return the next action of the plan; make a new plan when it is used up."""
        assert isinstance(env, Watched), "start() has checked it"
        if not self._waiting:
            self._decide(env, step)
        return self._waiting.popleft()

    def behaviour(self) -> str:
        """Never switches."""
        return self.name

    def _decide(self, env: Watched, step: int) -> None:
        begun_s = time.perf_counter()
        world, config = self._world, self._config
        context = env.context(world.action_width)
        noise = world.draw_context_noise(1, context.num_frames, self._rng)
        state = world.start(context, noise)
        found = plan(
            world,
            state,
            self._objective,
            config=config,
            action=env.spec.action,
            rng=self._rng,
            warm=self._warm,
            proposals=self._proposals,
        )
        wanted = found.num_to_execute(config.num_executed)
        is_random = self._is_restless and not found.beats_noop
        actions = found.actions.float().cpu().numpy()
        if is_random:
            actions = self._random_actions(env.spec.action)
        self._waiting.extend(self._jittered(actions[:wanted], env.spec.action))
        self._warm = found.next_start.after(wanted // config.hold)
        self._count(found, is_random=is_random)
        if self._on_decision is not None:
            self._on_decision(
                Decision(
                    step=step,
                    state=state,
                    plan=found,
                    num_executed=wanted,
                    is_random=is_random,
                    seconds=time.perf_counter() - begun_s,
                )
            )

    def _random_actions(self, spec: ActionSpec) -> Float32[np.ndarray, "h a"]:
        knots = self._numpy_rng.uniform(-1.0, 1.0, (self._config.num_knots, spec.width))
        if spec.kind == "discrete":
            knots = np.eye(spec.width)[knots.argmax(axis=1)]
        return knots.repeat(self._config.hold, axis=0).astype(np.float32)

    def _jittered(
        self, actions: Float32[np.ndarray, "n a"], spec: ActionSpec
    ) -> Float32[np.ndarray, "n a"]:
        if self._jitter == 0:
            return actions
        if spec.kind == "discrete":
            is_replaced = self._numpy_rng.random((len(actions), 1)) < self._jitter
            others = np.eye(spec.width)[self._numpy_rng.integers(spec.width, size=len(actions))]
            return np.where(is_replaced, others, actions).astype(np.float32)
        noise = self._jitter * self._numpy_rng.standard_normal(actions.shape)
        return np.clip(actions + noise, -1.0, 1.0).astype(np.float32)

    def _count(self, found: Plan, *, is_random: bool) -> None:
        self._counts["decisions"] += 1
        self._counts["abstentions"] += found.abstains
        self._counts["random_plans"] += is_random
        self._counts["dreamed_steps"] += found.num_steps_dreamed
