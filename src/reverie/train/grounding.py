"""Dreamed rollouts played on in the simulator, from the same true state, by the same controllers.

An episode is its seed and its actions, so any moment of a recorded one can be reached again. What
is played from there is real: steps that a report must count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import DataError
from reverie.core.seeds import child_seed
from reverie.data.store import EpisodeStore
from reverie.data.windows import to_batch
from reverie.envs.api import TaskEnv
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.world import ClassicWorld
from reverie.planning.live import LiveConfig, Moment, play_from
from reverie.train.classic import Round


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grounded:
    """What candidates really earned from some of the starts."""

    rows: tuple[int, ...]
    """Indices of the starts; those at which an episode was already over are left out."""
    returns: Float[Tensor, "g k"]
    lifetimes: Float[Tensor, "g k"]
    num_steps: int
    """Real steps of the candidates."""
    num_replayed: int
    """Recorded steps that were taken once more to get to the starts."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grounding:
    """The simulator, and the recorded episodes that dreams start from."""

    world: ClassicWorld
    controller: ControllerConfig
    store: EpisodeStore
    data: Round
    """Episodes in the order in which a ``LatentStream`` joins them."""
    envs: Sequence[TaskEnv]

    def __call__(
        self, candidates: Float[Tensor, "k p"], frames: Sequence[int], horizon: int
    ) -> Grounded:
        """Play every candidate on from every start, at most ``horizon`` steps.

        Args:
            candidates: One vector of weights each.
            frames: Index in the stream of the newest frame of each start.
            horizon: Steps of a dream. The task's own time limit counts too.
        """
        live = LiveConfig(max_steps=horizon)
        rows: list[int] = []
        returns: list[list[float]] = []
        lifetimes: list[list[float]] = []
        num_steps = num_replayed = 0
        for row, frame in enumerate(frames):
            moment, taken = self._reach(frame)
            num_replayed += taken
            if moment is None:
                continue
            played = play_from(
                self.world, self.controller, candidates, self.envs, moment, config=live
            )
            rows.append(row)
            returns.append([float(sum(episode.rewards)) for episode in played])
            lengths = [len(episode.rewards) for episode in played]
            # A step that ends an episode is paid for but not survived.
            lifetimes.append(
                [float(n - one.terminated) for n, one in zip(lengths, played, strict=True)]
            )
            num_steps += sum(lengths)
        shape = (len(rows), len(candidates))
        return Grounded(
            rows=tuple(rows),
            returns=torch.tensor(returns).reshape(shape),
            lifetimes=torch.tensor(lifetimes).reshape(shape),
            num_steps=num_steps,
            num_replayed=num_replayed,
        )

    def _reach(self, frame: int) -> tuple[Moment | None, int]:
        """Go to a frame of the stream and count the steps; None where nothing can follow it."""
        name, place = self._find(frame)
        entry = self.store.entry(name)
        first = max(0, place + 1 - self.world.max_context)
        window = self.store.read_window(name, first, place + 1 - first)
        assert window.frames is not None
        env = self.envs[0]
        shown = env.reset(child_seed(entry.seed, "env"))
        for action in window.actions[:place]:
            result = env.step(action)
            shown = result.frame
            if result.terminated or result.truncated:
                return None, place
        if not np.array_equal(shown, window.frames[-1]):
            raise DataError(
                f"Episode '{name}' does not repeat: its seed and actions lead to another frame "
                f"{place}. Grounding needs episodes that this version of the simulator played; "
                f"collect them anew, or set search.ground_every=0."
            )
        context = to_batch([window], action_width=self.world.action_width)
        # The means of the posteriors, as a controller acts in the simulator.
        shape = (1, window.length, 1, self.world.latent_spec.num_channels)
        state = self.world.start(context, torch.zeros(shape, device=self.world.device))
        return Moment(snapshot=env.save(), state=state, seed=entry.seed), place

    def _find(self, frame: int) -> tuple[str, int]:
        """Return the episode of a frame of the stream, and its index there."""
        names = self.data.episode_ids
        ends = np.cumsum([self.store.entry(name).num_frames for name in names])
        episode = int(np.searchsorted(ends, frame, side="right"))
        begin = int(ends[episode - 1]) if episode else 0
        return names[episode], frame - begin
