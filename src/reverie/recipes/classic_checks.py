"""Looks at the real simulator while C is trained in the dream; they only say when to stop."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from reverie.core.config import to_dict
from reverie.core.metrics import read_metrics
from reverie.core.seeds import child_seed, numpy_rng
from reverie.envs.api import TaskEnv
from reverie.models.classic.world import ClassicWorld
from reverie.planning.imagine import ImagineConfig, imagine
from reverie.planning.live import LiveConfig, LiveEpisode, play_many
from reverie.recipes.classic_base import ClassicPlaces, ClassicRunConfig
from reverie.train.classic import LatentStream
from reverie.train.controller import draw_starts
from reverie.train.phase import PhaseFolder


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RealLook:
    """Plays the distribution's mean, and some candidates, in the simulator and in the dream."""

    config: ClassicRunConfig
    world: ClassicWorld
    envs: Sequence[TaskEnv]
    stream: LatentStream
    horizon: int
    round_index: int

    def __call__(self, candidates: Float[Tensor, "k p"], generation: int) -> dict[str, float | str]:
        """Return real and dreamed returns; the first candidate is the distribution's mean."""
        rounds, config = self.config.rounds, self.config
        some = candidates[: 1 + rounds.check_candidates]
        each = max(1, rounds.check_episodes // 2)
        counts = [rounds.check_episodes] + [each] * (len(some) - 1)
        rows = torch.cat(
            [repeat(one, "p -> r p", r=n) for one, n in zip(some, counts, strict=True)]
        )
        seeds = [
            child_seed(config.seed, "look", self.round_index, generation, number)
            for count in counts
            for number in range(count)
        ]
        episodes = self.play(rows, seeds)
        returns = np.array([sum(episode.rewards) for episode in episodes])
        means = [float(part.mean()) for part in np.split(returns, np.cumsum(counts)[:-1])]
        dreamed = self._dream(some)
        return {
            "real_return": means[0],
            "real_return_std": float(returns[: counts[0]].std()),
            "real_steps": float(sum(len(episode.rewards) for episode in episodes)),
            "dream_return_of_mean": dreamed[0],
            "pairs": json.dumps([list(pair) for pair in zip(dreamed, means, strict=True)]),
        }

    def play(self, rows: Float[Tensor, "k p"], seeds: Sequence[int]) -> list[LiveEpisode]:
        """Play one real episode per row of parameters; one row plays them all."""
        live = LiveConfig(max_steps=self.config.rounds.max_look_steps)
        controller = self.config.controller
        return list(play_many(self.world, controller, rows, self.envs, seeds, config=live))

    def _dream(self, candidates: Float[Tensor, "k p"]) -> list[float]:
        """Dream returns under starts and noise that are the same at every look."""
        draws = numpy_rng(self.config.seed, "look", "dream")
        search = self.config.search
        starts = draw_starts(
            self.world, self.stream, search.num_starts, context=search.start_context, rng=draws
        )
        noise = torch.Generator()
        noise.manual_seed(int(draws.integers(2**62)))
        config = ImagineConfig(horizon=self.horizon, ends=search.uses_end, norm_fine=0.0)
        found = imagine(self.world, starts, self.config.controller, candidates, config, noise)
        return [float(value) for value in found.returns.mean(dim=0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundFacts:
    """What one round left in its logs."""

    index: int
    horizon: int
    num_frames: int
    """Real frames that V and M knew."""
    looks: tuple[dict[str, float | int | str], ...]
    """Lines of the log that hold a look at the simulator."""
    grounded_steps: int = 0
    """Real steps that steered the search in the place of dreams."""

    @staticmethod
    def read(folder: Path, index: int, horizon: int, stream: LatentStream) -> "RoundFacts":
        """Read a finished round."""
        lines = read_metrics(folder / "metrics.jsonl")
        return RoundFacts(
            index=index,
            horizon=horizon,
            num_frames=stream.num_real_frames,
            looks=tuple(line for line in lines if "real_return" in line),
            grounded_steps=int(sum(float(line.get("ground_steps", 0.0)) for line in lines)),
        )

    @property
    def groups(self) -> list[list[tuple[float, float]]]:
        """Pairs (dream return, real return) of each look, the mean's first."""
        return [
            [(pair[0], pair[1]) for pair in json.loads(str(look["pairs"]))] for look in self.looks
        ]


def is_good_enough(
    look: RealLook, parameters: Float[Tensor, " p"], facts: RoundFacts, folder: Path
) -> bool:
    """Tell whether a run may end with this round; what was played for that is not played again.

    A look is a few episodes, and the best of several such looks is lucky: its verdict counts only
    if as many episodes as ``confirm_episodes`` repeat it.
    """
    rounds, config = look.config.rounds, look.config
    if rounds.ends_at is None or float(facts.looks[-1]["real_return"]) < rounds.ends_at:
        return False
    phase = PhaseFolder(path=folder, config=to_dict(config))
    phase.claim()
    if phase.done is None:
        seeds = [
            child_seed(config.seed, "confirm", look.round_index, number)
            for number in range(rounds.confirm_episodes)
        ]
        played = look.play(parameters[None], seeds)
        returns = [float(sum(episode.rewards)) for episode in played]
        steps = sum(len(episode.rewards) for episode in played)
        spread = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
        measured = {
            "real_return": float(np.mean(returns)),
            "standard_error": spread / len(returns) ** 0.5,
            "real_steps": steps,
        }
        phase.finish(measured)
    assert phase.done is not None
    return float(phase.done["real_return"]) - float(phase.done["standard_error"]) >= rounds.ends_at


def confirmed_steps(places: ClassicPlaces) -> int:
    """Count the real steps that were played to see whether a run may end."""
    found = places.root.glob("rounds/*/confirm/done.json")
    facts = [PhaseFolder(path=path.parent, config={}).done or {} for path in found]
    return sum(int(one["real_steps"]) for one in facts)
