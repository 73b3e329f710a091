"""Episodes of a task for a model that does not know it yet: curious ones, or any behaviour's."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from reverie.collect.curiosity import CURIOUS, READINGS, CuriosityConfig, curious_policy
from reverie.collect.planner import Decision
from reverie.collect.policies import make_policy
from reverie.collect.watch import Watched
from reverie.core.files import write_bytes
from reverie.core.seeds import child_seed
from reverie.core.types import Episode
from reverie.data.store import EpisodeStore
from reverie.envs.api import Policy
from reverie.envs.episode import play_episode
from reverie.envs.registry import make_env
from reverie.evaluate.reconstruction import real_motion
from reverie.models.api import WorldModel
from reverie.parallel.pool import make_pool
from reverie.parallel.precision import Precision, autocast
from reverie.recipes.planning import flow_steps, loaded_world

_ENCODED_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ExploreConfig:
    """How one task is explored."""

    task: str
    policy: str = CURIOUS
    """``curiosity``, any behaviour of ``reverie collect``, or ``all``."""
    seed: int = 0
    curiosity: CuriosityConfig = CuriosityConfig()
    num_flow_steps: int | None = None
    precision: Precision = "float32"
    max_steps: int | None = None

    def item_id(self, index: int, policy: str) -> str:
        """Name an episode; what is stored under the name is not played again."""
        limit = "" if self.max_steps is None else f"/{self.max_steps}"
        return f"{self.task}/{policy}/{index:06d}/{self.item_seed(index)}{limit}"

    def item_seed(self, index: int) -> int:
        """Return the seed of an episode: the same start for every behaviour."""
        return child_seed(self.seed, "explore", self.task, index)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExploreJob:
    """One episode to play."""

    config: ExploreConfig
    model: str
    store: str
    readings: str
    """Folder of the live readings."""
    index: int
    policy: str
    task_motion: float
    """Mean motion of real data of the task; not read by behaviours without a model."""
    device: str = "cpu"

    @property
    def id(self) -> str:
        """The episode's name in the store."""
        return self.config.item_id(self.index, self.policy)


def explore(jobs: Sequence[ExploreJob], *, num_workers: int) -> Iterator[ExploreJob]:
    """Play and store episodes, yielding each job when its episode is safe; order may vary."""
    if min(num_workers, len(jobs)) < 2:  # noqa: PLR2004 - one process needs no pool
        for job in jobs:
            yield _play(job)
        return
    with make_pool(min(num_workers, len(jobs))) as pool:
        for finished in as_completed([pool.submit(_play, job) for job in jobs]):
            yield finished.result()


def _play(job: ExploreJob) -> ExploreJob:
    config = job.config
    world = loaded_world(job.model, job.device)
    decisions: list[Decision] = []
    env = Watched(make_env(config.task, frame_spec=world.tokenizer.frame_spec), world.max_context)
    try:
        with (
            flow_steps(world, config.num_flow_steps),
            torch.inference_mode(),
            autocast(world.device, config.precision),
        ):
            policy = _policy(job, world, decisions.append)
            episode = play_episode(
                env, policy, seed=config.item_seed(job.index), max_steps=config.max_steps
            )
    finally:
        env.close()
    if decisions:
        # Before the episode: killed in between, both are made again, and nothing is lost.
        _write_readings(Path(job.readings) / f"{job.index:06d}.jsonl", decisions, episode)
    EpisodeStore.open(job.store).writer().append(episode, id=job.id)
    return job


def _policy(job: ExploreJob, world: WorldModel, on_decision: Callable[[Decision], None]) -> Policy:
    if job.policy != CURIOUS:
        return make_policy(job.policy)
    config = job.config
    return curious_policy(
        world, config.task, job.task_motion, config.curiosity, on_decision=on_decision
    )


def _write_readings(path: Path, decisions: Sequence[Decision], episode: Episode) -> None:
    """Write what the model read, one line a step that was really taken."""
    lines: list[str] = []
    for decision in decisions:
        means = {name: decision.plan.readings[name].mean(dim=0).tolist() for name in READINGS}
        for offset in range(min(decision.num_executed, episode.num_steps - decision.step)):
            row: Mapping[str, Any] = {
                "step": decision.step + offset,
                **{name: values[offset] for name, values in means.items()},
                "value": decision.plan.value,
                "noop_value": decision.plan.noop_value,
                # The readings are those of the plan; a random sequence was executed instead.
                "is_random": decision.is_random,
                "reward": float(episode.rewards[decision.step + offset]),
            }
            lines.append(json.dumps(row))
    write_bytes(path, ("\n".join(lines) + "\n").encode())


@torch.inference_mode()
def encode_episode(world: WorldModel, episode: Episode) -> torch.Tensor:
    """Return the latents (1 t n d) of all frames of an episode."""
    pieces, state = [], None
    for chunk in torch.from_numpy(episode.frames)[None].split(_ENCODED_AT_ONCE, dim=1):
        latents, state = world.tokenizer.encode(chunk.to(world.device), state)
        pieces.append(latents)
    return torch.cat(pieces, dim=1)


def frame_vectors(world: WorldModel, episodes: Sequence[Episode]) -> list[Float[np.ndarray, "_ w"]]:
    """Return the latents of every episode, one row a frame: where it has been."""
    return [encode_episode(world, item)[0].flatten(1).cpu().numpy() for item in episodes]


def motion_of(world: WorldModel, episodes: Sequence[Episode]) -> float:
    """Return the mean motion of real episodes, as the model's tokenizer sees it."""
    return float(np.mean([real_motion(world, encode_episode(world, item)) for item in episodes]))
