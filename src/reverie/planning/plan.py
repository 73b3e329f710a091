"""One decision: search action sequences in the dream, and say which one to execute how far.

The context is stored and computed once: every candidate is a fork of the state that is given.
All candidates of a decision dream under the same noises, so that luck favours none of them; the
best few are then rescored under fresh noises, because the best of many noisy values is too high.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.core.types import ActionSpec
from reverie.models.api import Gauge, Noise, RolloutState, StepContext, WorldModel
from reverie.planning.objectives import Objective, Readings, discounted, flags
from reverie.planning.optimisers import SearchConfig, SearchStart, check_values, make_optimiser

Proposal = Callable[[WorldModel, Any, int, torch.Generator], Float[Tensor, "k h a"]]
"""(world, state, steps, rng) → sequences worth trying, such as a policy head's. May be narrower
than the model's actions, and must not step the state: fork it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig:
    """How one decision is made. The defaults are the paper's planner (arXiv 2606.27326)."""

    horizon: int = 32
    """Steps of a candidate."""
    num_executed: int = 16
    """Steps of the plan that are executed before the next decision."""
    hold: int = 1
    """Steps that each searched action is held; longer ones reach farther with fewer numbers."""
    optimiser: str = "cem"
    search: SearchConfig = field(default_factory=SearchConfig)
    num_dreams: int = 2
    """Dreams per candidate, each under its own noise; their values are averaged."""
    num_finalists: int = 4
    """Candidates that are rescored with fresh noise in the end; 1 trusts the luckiest score."""
    tries_noop: bool = True
    """Doing nothing is a candidate. A model that has seen experts stand still only where they had
    arrived may believe that who stands still has arrived; then this is to be switched off."""
    is_warm: bool = True
    """Start from the part of the last plan that was not executed."""

    def __post_init__(self) -> None:
        """Refuse plans that do not fit together."""
        if min(self.horizon, self.num_executed, self.hold, self.num_dreams) < 1:
            raise ConfigError(
                f"horizon, num_executed, hold and num_dreams must be at least 1, got "
                f"{self.horizon}, {self.num_executed}, {self.hold} and {self.num_dreams}."
            )
        if self.num_executed > self.horizon or self.horizon % self.hold:
            raise ConfigError(
                f"num_executed must not exceed the horizon, and hold must divide it, got "
                f"{self.num_executed} and {self.hold} for a horizon of {self.horizon}."
            )
        if not 1 <= self.num_finalists <= self.search.num_candidates:
            raise ConfigError(
                f"num_finalists must lie between 1 and the {self.search.num_candidates} "
                f"candidates, got {self.num_finalists}."
            )

    @property
    def num_knots(self) -> int:
        """Actions that are searched, per lane."""
        return self.horizon // self.hold


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """What a decision came to."""

    actions: Float[Tensor, "h a"]
    """At the task's native width."""
    value: float
    """Mean over fresh dreams."""
    noop_value: float
    """Of doing nothing, under the same dreams."""
    readings: Readings
    """Of the chosen plan: name to (dreams, steps)."""
    num_trusted: int
    """Steps before the first flagged one; the whole horizon if none is flagged."""
    abstains: bool
    """Every finalist is flagged somewhere: do not rely on this plan beyond ``num_trusted``."""
    next_start: SearchStart
    """Where the search ended, for the next decision."""
    num_steps_dreamed: int
    """Dreamed steps, rows times frames."""

    @property
    def beats_noop(self) -> bool:
        """Whether the plan is worth more than doing nothing."""
        return self.value > self.noop_value

    def num_to_execute(self, wanted: int) -> int:
        """Return how many steps to execute: all wanted ones, or those before a flag."""
        return max(1, min(wanted, self.num_trusted)) if self.abstains else wanted


def plan(
    world: WorldModel,
    state: RolloutState,
    objective: Objective | Gauge,
    *,
    config: PlanConfig,
    action: ActionSpec,
    rng: torch.Generator,
    warm: SearchStart | None = None,
    proposals: Sequence[Proposal] = (),
) -> Plan:
    """Find a good action sequence from a state of one row, which is forked and not stepped.

    Args:
        world: Any world model.
        state: Of one row.
        objective: What is maximised; a gauge alone stands for the sum of its readings.
        config: How.
        action: Of the task: width and kind.
        rng: Draws candidates and noises.
        warm: Where to start, such as the last plan's ``next_start.after(num_executed)``.
        proposals: Sequences to try besides.

    Raises:
        ShapeError: A gauge read something that is not a number.
    """
    if not isinstance(objective, Objective):
        objective = discounted(objective)
    judge = _Judge(world, state, objective, config, action)
    first = SearchStart.wide(config.num_knots, action.width, config.search.first_std, world.device)
    if warm is not None and config.is_warm:
        # Only the mean carries over: what has become sure about the old steps is not about new.
        first = SearchStart(warm.mean, first.std)
    optimiser = make_optimiser(config.optimiser, first, config.search)
    noises = judge.draw(rng)
    seen = [judge.noop()] if config.tries_noop else []
    values = [judge.values(candidates, noises) for candidates in seen]
    for iteration in range(config.search.num_iterations):
        candidates = optimiser.ask(rng)
        if iteration == 0:
            # A search that begins cold is centred on doing nothing.
            centre = [first.mean[None]] if config.tries_noop or first.mean.any() else []
            guests = [*centre, *_knots(proposals, world, state, config, rng)]
            candidates = _with_guests(candidates, guests)
        value = judge.values(candidates, noises)
        optimiser.tell(candidates, value)
        seen.append(candidates)
        values.append(value)
    chosen = torch.cat(seen)[torch.cat(values).topk(config.num_finalists).indices]
    return judge.decide(chosen, judge.draw(rng), SearchStart(optimiser.mean, first.std))


class _Judge:
    """Dreams candidates from one state and values them."""

    def __init__(
        self,
        world: WorldModel,
        state: RolloutState,
        objective: Objective,
        config: PlanConfig,
        action: ActionSpec,
    ) -> None:
        self.world, self.state, self.objective = world, state, objective
        self.config, self.action = config, action
        self.num_steps_dreamed = 0

    def draw(self, rng: torch.Generator) -> list[Noise]:
        """Draw the noises of all steps, one row a dream, for all candidates alike."""
        return [
            self.world.draw_noise(self.config.num_dreams, rng) for _ in range(self.config.horizon)
        ]

    def noop(self) -> Float[Tensor, "1 h a"]:
        shape = (1, self.config.num_knots, self.action.width)
        return torch.zeros(shape, device=self.world.device)

    def actions(self, candidates: Float[Tensor, "k n a"]) -> Float[Tensor, "k h a"]:
        """Hold every searched action, and make it one that the task takes."""
        held = candidates.repeat_interleave(self.config.hold, dim=1)
        if self.action.kind == "discrete":
            return torch.nn.functional.one_hot(held.argmax(dim=2), self.action.width).to(held)
        return held

    def values(
        self, candidates: Float[Tensor, "k n a"], noises: list[Noise]
    ) -> Float[Tensor, " k"]:
        readings = self.readings(candidates, noises)
        value = self.objective.value(readings)
        check_values(value)
        return reduce(value, "(k s) -> k", "mean", s=self.config.num_dreams)

    @torch.no_grad()
    def readings(
        self, candidates: Float[Tensor, "k n a"], noises: list[Noise]
    ) -> Mapping[str, Float[Tensor, "r h"]]:
        """Dream all candidates side by side, each ``num_dreams`` times; rows r are (k s)."""
        actions = self.actions(candidates)
        num_dreams = self.config.num_dreams
        missing = self.world.action_width - actions.shape[2]
        actions = torch.nn.functional.pad(actions, (0, missing))
        actions = repeat(actions, "k h a -> (k s) h a", s=num_dreams)
        state: Any = self.state.fork(len(actions))
        columns: dict[str, list[Tensor]] = {name: [] for name in self.objective.gauges}
        for step, noise in enumerate(noises):
            before = state
            mine = _for_all(noise, len(candidates))
            state, prediction = self.world.step(before, actions[:, step], mine)
            context = StepContext(
                before=before, action=actions[:, step], prediction=prediction, after=state
            )
            for name, gauge in self.objective.gauges.items():
                columns[name].append(gauge(self.world, context))
        self.num_steps_dreamed += len(actions) * len(noises)
        return {name: torch.stack(column, dim=1) for name, column in columns.items()}

    def decide(
        self, finalists: Float[Tensor, "k n a"], noises: list[Noise], next_start: SearchStart
    ) -> Plan:
        """Rescore the finalists and doing nothing under fresh noises, and take the best."""
        candidates = torch.cat([finalists, self.noop()])
        readings = self.readings(candidates, noises)
        value = self.objective.value(readings)
        check_values(value)
        num_dreams = self.config.num_dreams
        means = reduce(value, "(k s) -> k", "mean", s=num_dreams)
        flagged = flags(readings, self.objective.risk_limit)
        # A step is trusted if no dream flags it.
        by_step = rearrange(flagged, "(k s) h -> k s h", s=num_dreams).any(dim=1)
        best = int(means[:-1].argmax())
        rows = slice(best * num_dreams, (best + 1) * num_dreams)
        risky = by_step[best].nonzero()
        return Plan(
            actions=self.actions(finalists[best][None])[0],
            value=float(means[best]),
            noop_value=float(means[-1]),
            readings={name: reading[rows] for name, reading in readings.items()},
            num_trusted=int(risky[0]) if len(risky) else self.config.horizon,
            abstains=bool(by_step[:-1].any(dim=1).all()),
            next_start=next_start,
            num_steps_dreamed=self.num_steps_dreamed,
        )


@torch.no_grad()
def imagine(
    world: WorldModel, state: RolloutState, actions: Float[Tensor, "h a"], rng: torch.Generator
) -> UInt8[Tensor, "h height width 3"]:
    """Paint the frames that a plan expects, one dream of it; the state is forked, not stepped."""
    padded = torch.nn.functional.pad(actions, (0, world.action_width - actions.shape[1]))
    dream: Any = state.fork(1)
    frames: list[Tensor] = []
    for action in padded:
        dream, _ = world.step(dream, action[None], world.draw_noise(1, rng))
        frames.append(world.decode(dream)[0])
    return torch.stack(frames)


def _for_all(noise: Noise, num_candidates: int) -> Noise:
    """Give all candidates the same noises: rows (k s) from rows s."""
    return Noise(
        start=repeat(noise.start, "s n d -> (k s) n d", k=num_candidates),
        commit=repeat(noise.commit, "s n d -> (k s) n d", k=num_candidates),
    )


def _knots(
    proposals: Sequence[Proposal],
    world: WorldModel,
    state: RolloutState,
    config: PlanConfig,
    rng: torch.Generator,
) -> list[Tensor]:
    """Ask for whole sequences, and keep the action at the start of every hold."""
    asked = [propose(world, state, config.horizon, rng) for propose in proposals]
    return [sequences[:, :: config.hold].clamp(-1.0, 1.0) for sequences in asked]


def _with_guests(
    candidates: Float[Tensor, "k n a"], guests: list[Tensor]
) -> Float[Tensor, "k n a"]:
    """Replace the last candidates; at most half of them."""
    if not guests:
        return candidates
    invited = torch.cat(guests)[: len(candidates) // 2].to(candidates)
    return torch.cat([candidates[: len(candidates) - len(invited)], invited])
