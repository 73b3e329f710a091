"""Dreams side by side that end, are cut and begin anew row by row; no Gymnasium in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.models.api import Gauge, RolloutState, StepContext, WorldModel

Observation = Literal["features", "latent", "frame"]
OBSERVATION_LIMIT = 1e3
"""Features are clipped here: spaces without bounds alarm Gymnasium's checker. A healthy latent
stays a hundred times smaller."""
PAPER_END_THRESHOLD = 1 / 11
"""Where the weighted logit of Ha & Schmidhuber crosses zero: probability 1 / (1 + weight)."""


class JoinableState(RolloutState, Protocol):
    """A rollout state whose rows can be put beside those of others."""

    @staticmethod
    def join(states: Sequence[Any]) -> Any:
        """Put dreams of any age side by side."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DreamConfig:
    """When a dream stops, and what is shown of it."""

    horizon: int = 100
    """Steps after which a dream is cut; a cut is a truncation, not a death."""
    end: Literal["threshold", "sample"] = "threshold"
    """Whether the dream ends where the chance to end crosses ``end_threshold``, or by a draw."""
    end_threshold: float = 0.5
    """The paper's rule is 1 / 11, see ``PAPER_END_THRESHOLD``."""
    observation: Observation = "features"
    """``features``: what a controller reads (the latent, where a family has no more than that);
    ``latent``: the latent alone; ``frame``: the decoded picture."""
    gauge_limit: float = float("inf")
    """A reading of the gauge above it cuts the dream."""

    def __post_init__(self) -> None:
        """Refuse dreams that cannot go on or end."""
        if self.horizon < 1 or not 0 < self.end_threshold <= 1:
            raise ConfigError(
                f"A dream needs a horizon of at least 1 and an end_threshold in (0, 1], got "
                f"{self.horizon} and {self.end_threshold}."
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DreamStep:
    """What one step of all rows gave."""

    rewards: Float[Tensor, " b"]
    terminated: Bool[Tensor, " b"]
    """The dream says that the task ended."""
    truncated: Bool[Tensor, " b"]
    """The horizon was reached, or the gauge cut the dream."""
    distrusted: Bool[Tensor, " b"]
    """The gauge cut the dream."""


class Dreams:
    """A batch of dreams over a pool of starts. Draws everything from one generator."""

    def __init__(
        self,
        world: WorldModel,
        starts: JoinableState,
        num_rows: int,
        *,
        config: DreamConfig,
        gauge: Gauge | None = None,
    ) -> None:
        """Prepare; ``restart`` begins.

        Args:
            world: Any world model.
            starts: A state whose rows are the starts to draw from: from ``world.start`` on as
                many contexts as wanted. It is never stepped.
            num_rows: Dreams side by side.
            config: When they stop.
            gauge: What may cut them, with ``config.gauge_limit``.
        """
        if num_rows < 1:
            raise ConfigError(f"At least one dream is needed, got {num_rows}.")
        self.world, self.config, self.gauge = world, config, gauge
        self._starts, self._num_rows = starts, num_rows
        self._state: Any = None
        self._ages = torch.zeros(num_rows, dtype=torch.long)
        self.rng = torch.Generator(device=world.device)

    @property
    def num_rows(self) -> int:
        """Dreams side by side."""
        return self._num_rows

    @property
    def state(self) -> Any:
        """The rollout state of all rows."""
        assert self._state is not None, "restart() begins the dreams"
        return self._state

    def restart(self, rows: Sequence[int] | None = None) -> None:
        """Begin the given rows anew from starts drawn from the pool; all by default."""
        chosen = list(range(self._num_rows)) if rows is None else list(rows)
        if not chosen:
            return
        drawn = torch.randint(
            self._starts.num_rows, (len(chosen),), generator=self.rng, device=self.rng.device
        )
        fresh = self._starts.select(drawn.tolist())
        self._ages[chosen] = 0
        if len(chosen) == self._num_rows:
            self._state = fresh
            return
        joined = type(fresh).join([self.state, fresh])
        order = list(range(self._num_rows))
        for place, row in enumerate(chosen):
            order[row] = self._num_rows + place
        self._state = joined.select(order)

    @torch.no_grad()
    def step(self, actions: Float[Tensor, "b a"]) -> DreamStep:
        """Dream one frame in every row, whether it has ended or not."""
        before = self.state
        noise = self.world.draw_noise(self._num_rows, self.rng)
        after, prediction = self.world.step(before, actions.to(self.world.device), noise)
        self._ages += 1
        distrusted = torch.zeros(self._num_rows, dtype=torch.bool)
        if self.gauge is not None:
            step = StepContext(before=before, action=actions, prediction=prediction, after=after)
            distrusted = (self.gauge(self.world, step) > self.config.gauge_limit).cpu()
        self._state = after
        terminated = self._ended(1 - prediction.continues).cpu()
        return DreamStep(
            rewards=prediction.reward.cpu(),
            terminated=terminated,
            truncated=((self._ages >= self.config.horizon) | distrusted) & ~terminated,
            distrusted=distrusted,
        )

    def observe(self) -> Tensor:
        """Return what is shown of every row."""
        kind, state = self.config.observation, self.state
        if kind == "frame":
            return self.world.decode(state).cpu()
        reads = getattr(self.world, "features", None)
        if kind == "features" and reads is not None:
            return _bounded(reads(state))
        return _bounded(state.latent.flatten(1))

    def _ended(self, chance: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        if self.config.end == "threshold":
            return chance > self.config.end_threshold
        return torch.rand(chance.shape, generator=self.rng, device=self.rng.device) < chance


def _bounded(values: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
    return values.float().clamp(-OBSERVATION_LIMIT, OBSERVATION_LIMIT).cpu()
