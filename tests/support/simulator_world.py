"""The simulator itself behind the protocol of a world model: the perfect dream."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.seeds import child_seed
from reverie.core.types import Episode
from reverie.envs.registry import make_env
from reverie.models.api import Noise, Prediction
from tests.support.worlds import FRAME_SPEC, PlainState, RuleWorld, still_rule


@dataclass(frozen=True, kw_only=True)
class SimulatorState(PlainState):
    """A snapshot a row; a row that has ended keeps its last frame."""

    snapshots: tuple[object | None, ...]

    def select(self, rows: list[int]) -> Self:
        snapshots = tuple(self.snapshots[row] for row in rows)
        return replace(super().select(rows), snapshots=snapshots)


class SimulatorWorld(RuleWorld):
    """Knows the snapshot behind every frame of some episodes, and steps the simulator from it."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        super().__init__(still_rule)
        self.env = make_env(episodes[0].task, frame_spec=FRAME_SPEC)
        self.known: dict[bytes, object] = {}
        for episode in episodes:
            self.env.reset(child_seed(episode.seed, "env"))
            for step, action in enumerate(episode.actions):
                seen = episode.frames[max(0, step - self.max_context + 1) : step + 1]
                self.known[seen.tobytes()] = self.env.save()
                self.env.step(action)

    def start(self, context: Batch, noise: Tensor) -> Any:
        assert context.frames is not None
        latents, _ = self.tokenizer.encode(context.frames)
        return SimulatorState(
            latent=latents[:, -1],
            snapshots=tuple(self.known[row.numpy().tobytes()] for row in context.frames),
            num_frames=context.num_frames,
            task=context.task,
        )

    def step(self, state: Any, action: Tensor, noise: Noise) -> tuple[Any, Prediction]:
        frames: list[np.ndarray] = []
        snapshots: list[object | None] = []
        for row, snapshot in enumerate(state.snapshots):
            if snapshot is None:
                frames.append(self.decode(state)[row].numpy())
                snapshots.append(None)
                continue
            self.env.restore(snapshot)
            result = self.env.step(action[row, : self.env.spec.action.width].numpy())
            frames.append(result.frame)
            is_over = result.terminated or result.truncated
            snapshots.append(None if is_over else self.env.save())
        latents, _ = self.tokenizer.encode(torch.from_numpy(np.stack(frames))[:, None])
        ones = torch.ones(len(frames))
        prediction = Prediction(
            latent=latents[:, 0],
            reward=0 * ones,
            continues=ones,
            features=latents.flatten(1),
            trace=latents,
        )
        after = replace(
            state,
            latent=latents[:, 0],
            snapshots=tuple(snapshots),
            num_frames=state.num_frames + 1,
        )
        return after, prediction
