"""A model meets a new task: collect where it dreams badly, learn, and collect again.

Everything lies in one folder, and every step of the way leaves a file when it is done, so that the
same command goes on after any interruption. No stored episode is ever played twice or lost.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie.collect.collector import collect
from reverie.collect.curiosity import CURIOUS, CuriosityConfig
from reverie.collect.order import CollectOrder
from reverie.collect.policies import POLICIES
from reverie.core.config import added, to_dict
from reverie.core.errors import ConfigError
from reverie.core.files import write_json
from reverie.core.registry import unknown_name_message
from reverie.core.seeds import child_seed
from reverie.core.types import Episode
from reverie.data.store import EpisodeStore
from reverie.envs.registry import task_names, task_spec
from reverie.evaluate.evaluation import TaskEvaluation
from reverie.hallucination.coverage import new_cell_share
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import load_world_model, save_world_model, weights_hash
from reverie.recipes.evaluation import (
    EvaluationOrder,
    evaluate_live,
    fit_thresholds,
    quick_order,
    write_results,
)
from reverie.recipes.explore import (
    ExploreConfig,
    ExploreJob,
    explore,
    frame_vectors,
    motion_of,
)
from reverie.recipes.extend import Language, extend_world
from reverie.recipes.finetune import FinetuneConfig, FinetuneJob, finetune
from reverie.recipes.planning import QUICK_PLAN
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.progress import Audience, Progress

CODEC = "zstd"
REPLAY_POLICIES = {"mixed": 2.0, "noise": 1.0, "random": 1.0}
REPLAY_LIMITS = (32, 32, 32, 32, 32, 32, 400)
"""Lengths dealt to replayed episodes, as the pocket recipe deals them."""
WARMUP_POLICY = "random"
ALL = "all"
"""A source that is every source in turn."""
SOURCES = ("noop", "random", "expert", CURIOUS)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptOrder:
    """What is adapted to what, and how."""

    explore: ExploreConfig
    """The new task, and who plays it."""
    num_episodes: int = 50
    """Of the new task, over all rounds."""
    num_rounds: int = 2
    """Times that the model learns; it collects with what it learned before."""
    num_warmup: int = 2
    """Of these episodes, those at the beginning that are random: motion is measured on them."""
    replay_episodes: int = 28
    """Per task that the model knows: what keeps it from forgetting them."""
    replay_tasks: tuple[str, ...] | None = added(None)
    """Which of these tasks; None takes all that have a simulator here."""
    language: Language = added(Language())
    """Where the new task's instruction comes from, if the model keeps a table of them."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    evaluation: EvaluationOrder = field(default_factory=quick_order)
    """Measured on the new task and on ``num_watched`` old ones before and after every round."""
    num_watched: int = 1
    stops_when_seen: bool = True
    """End a round early when its newest episodes visit hardly any new cells."""
    seen_window: int = 10
    """The newest episodes that are looked at for that."""
    seen_share: float = 0.05
    """They must visit this share of new cells, or the round ends."""

    def __post_init__(self) -> None:
        """Refuse orders that cannot be carried out, before anything is played."""
        task_spec(self.explore.task)
        for name in self.sources:
            if name != CURIOUS:
                POLICIES.target(name)
        if not 1 <= self.num_rounds <= self.num_episodes:
            raise ConfigError(
                f"Every round needs an episode: got {self.num_rounds} rounds for "
                f"{self.num_episodes} episodes."
            )
        if not 1 <= self.num_warmup <= self.num_episodes:
            raise ConfigError(
                f"num_warmup must lie between 1 and the {self.num_episodes} episodes, got "
                f"{self.num_warmup}: motion is measured on them."
            )

    def episodes_until(self, round_index: int) -> int:
        """Return how many episodes there are when a round has collected; rounds are alike."""
        return self.num_episodes * (round_index + 1) // self.num_rounds

    @property
    def sources(self) -> tuple[str, ...]:
        """Who plays, in turn."""
        return SOURCES if self.explore.policy == ALL else (self.explore.policy,)

    def policy_of(self, index: int) -> str:
        """Return who plays an episode."""
        if index < self.num_warmup:
            return WARMUP_POLICY
        return self.sources[(index - self.num_warmup) % len(self.sources)]


def cpu_order(task: str, num_episodes: int = 50, policy: str = CURIOUS) -> AdaptOrder:
    """Order what two CPU cores do with the pocket model in about an hour."""
    plan = replace(QUICK_PLAN, horizon=16, num_executed=8, num_finalists=2)
    curiosity = CuriosityConfig(plan=plan)
    explore_config = ExploreConfig(
        task=task, policy=policy, curiosity=curiosity, num_flow_steps=2, precision="auto"
    )
    return AdaptOrder(explore=explore_config, num_episodes=num_episodes)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    def round(self, index: int) -> Path:
        return self.root / f"round-{index}"

    def model(self, index: int) -> Path:
        """The model after a round; -1 is the base with a place for the task."""
        return self.root / "base" if index < 0 else self.round(index) / "model"


def run_adapt(
    base: Path, order: AdaptOrder, around: Surroundings, *, num_workers: int = 2
) -> dict[str, Any]:
    """Adapt a model to a task, or go on where an earlier call stopped; return what was measured.

    Args:
        base: Folder of the model.
        order: What to do.
        around: Folder, seed, audience; the result lies in ``round-N/model``.
        num_workers: Processes that play.

    Raises:
        ConfigError: The folder belongs to another order.
    """
    places = _Places(root=around.folder)
    _prepare(base, order, places, around, num_workers=num_workers)
    measured = [_measure(order, places, -1, around)]
    for index in range(order.num_rounds):
        _collect_round(order, places, index, around, num_workers=num_workers)
        _learn_round(order, places, index, around)
        measured.append(_measure(order, places, index, around))
    numbers = {"task": order.explore.task, "policy": order.explore.policy, "rounds": measured}
    write_json(around.folder / "adapt.json", numbers)
    return numbers


def _prepare(
    base: Path, order: AdaptOrder, places: _Places, around: Surroundings, *, num_workers: int
) -> None:
    """Claim the folder, make the task a place in the model, and collect what keeps it whole."""
    world = load_world_model(base)
    key = {"base": weights_hash(world), **to_dict(order)}
    PhaseFolder(path=around.folder, config=json.loads(json.dumps(key))).claim()
    _make_place(world, base, order, places, around.audience)
    _replay(world, order, places, num_workers=num_workers)


def _make_place(
    world: ShortcutWorld, base: Path, order: AdaptOrder, places: _Places, audience: Audience
) -> None:
    """Write the model as it came, with a place for the task."""
    if (places.model(-1) / "model.json").exists():
        return
    task = order.explore.task
    if world.net.config.embeds_tasks and task not in world.tasks:
        audience.say(f"the instruction of '{task}' is embedded by: {order.language.source}")
    _keep_model(extend_world(world, (task,), order.language), places.model(-1), order, base)


def _replay(world: ShortcutWorld, order: AdaptOrder, places: _Places, *, num_workers: int) -> None:
    """Collect episodes of the known tasks, so that they stay in the mix."""
    EpisodeStore.open_or_create(places.data, world.tokenizer.frame_spec, CODEC)
    tasks = replayed_tasks(world.tasks, order)
    if not tasks or order.replay_episodes < 1:
        return
    replay = CollectOrder(
        tasks=tasks,
        policies=_playable(tasks),
        episodes_per_task=order.replay_episodes,
        seed=child_seed(order.explore.seed, "replay"),
        frame=world.tokenizer.frame_spec,
        codec=CODEC,
        step_limits=REPLAY_LIMITS,
    )
    collect(replay, places.data, num_workers=num_workers)


def replayed_tasks(known: tuple[str, ...], order: AdaptOrder) -> tuple[str, ...]:
    """Return the tasks of a model that are played again; a released one names some without games.

    Raises:
        ConfigError: The order names a task that the model does not know.
    """
    if order.replay_tasks is not None:
        for task in order.replay_tasks:
            if task not in known:
                hint = "replay_tasks are tasks that the model knows"
                raise ConfigError(unknown_name_message("task", task, known, hint))
    wanted = known if order.replay_tasks is None else order.replay_tasks
    here = set(task_names())
    return tuple(task for task in wanted if task in here and task != order.explore.task)


def _playable(tasks: tuple[str, ...]) -> dict[str, float]:
    """Behaviours that need an expert are left out where a task has none."""
    has_experts = all(task_spec(task).expert is not None for task in tasks)
    return REPLAY_POLICIES if has_experts else {"noise-ou": 1.0, "random": 1.0}


def _collect_round(
    order: AdaptOrder, places: _Places, index: int, around: Surroundings, *, num_workers: int
) -> None:
    """Collect until the round has its episodes, or the newest ones show nothing new."""
    mark = places.round(index) / "collected.json"
    if mark.exists():
        return
    world = load_world_model(places.model(index - 1), device=around.ranks.device)
    reason, num_collected = "all episodes are there", 0
    for start, stop in _chunks(order, places, index):
        motion = 0.0
        if stop > order.num_warmup:
            motion = motion_of(world, _episodes(order, places, order.num_warmup))
        there = _stored(order, places, stop)
        jobs = [
            _job(order, places, item, index, motion, around.ranks.device)
            for item in range(start, stop)
            if item not in there
        ]
        for job in explore(jobs, num_workers=num_workers):
            there.append(job.index)
            around.audience.show(
                Progress(
                    phase=f"explore {index}",
                    done=len(there),
                    total=order.episodes_until(index),
                    unit="episodes",
                )
            )
            around.audience.say(f"explore: stored {job.id}")
        num_collected = stop
        if order.stops_when_seen and _is_seen(order, places, world, stop):
            reason = "the newest episodes visit hardly any new cells"
            break
    write_json(mark, {"num_episodes": num_collected, "reason": reason})
    around.audience.say(f"round {index}: {num_collected} episodes; {reason}")


def _chunks(order: AdaptOrder, places: _Places, index: int) -> Iterator[tuple[int, int]]:
    """Yield the episodes of a round in pieces, the same ones however often it is interrupted."""
    start, wanted = 0, order.episodes_until(index)
    if index > 0:
        # An earlier round may have ended early; what it left is collected now.
        before = json.loads((places.round(index - 1) / "collected.json").read_text())
        start = int(before["num_episodes"])
    if start < order.num_warmup:
        stop = min(order.num_warmup, wanted)
        yield start, stop
        start = stop
    while start < wanted:
        stop = min(start + order.seen_window, wanted)
        yield start, stop
        start = stop


def _stored(order: AdaptOrder, places: _Places, wanted: int) -> list[int]:
    store = EpisodeStore.open(places.data)
    config = order.explore
    return [i for i in range(wanted) if config.item_id(i, order.policy_of(i)) in store]


def _episodes(order: AdaptOrder, places: _Places, wanted: int) -> list[Episode]:
    store, config = EpisodeStore.open(places.data), order.explore
    return [
        store.read_episode(config.item_id(index, order.policy_of(index)))
        for index in _stored(order, places, wanted)
    ]


def collected_episodes(folder: Path, order: AdaptOrder) -> list[Episode]:
    """Read the episodes of the new task that a run in some folder has collected."""
    return _episodes(order, _Places(root=folder), order.num_episodes)


def _is_seen(order: AdaptOrder, places: _Places, world: ShortcutWorld, wanted: int) -> bool:
    episodes = _episodes(order, places, wanted)
    if len(episodes) < 2 * order.seen_window:
        return False
    points = frame_vectors(world, episodes)
    earlier, later = points[: -order.seen_window], points[-order.seen_window :]
    share = new_cell_share(np.concatenate(earlier), np.concatenate(later))
    return share < order.seen_share


def _job(
    order: AdaptOrder,
    places: _Places,
    item: int,
    index: int,
    motion: float,
    device: torch.device,
) -> ExploreJob:
    return ExploreJob(
        config=order.explore,
        model=str(places.model(index - 1)),
        store=str(places.data),
        readings=str(places.root / "readings"),
        index=item,
        policy=order.policy_of(item),
        task_motion=motion,
        device=str(device),
    )


def _learn_round(order: AdaptOrder, places: _Places, index: int, around: Surroundings) -> None:
    folder = places.model(index)
    if (folder / "model.json").exists():
        return
    job = FinetuneJob(
        base=places.model(index - 1),
        store=places.data,
        targets=(order.explore.task,),
        config=order.finetune,
    )
    inside = replace(
        around, folder=places.round(index), seed=child_seed(around.seed, "round", index)
    )
    world = finetune(job, inside)
    _keep_model(world, folder, order, places.model(index - 1))


def _keep_model(world: ShortcutWorld, folder: Path, order: AdaptOrder, base: Path) -> None:
    task = order.explore.task
    save_world_model(
        folder,
        world,
        card=f"# {task}\n\nA model that was adapted to `{task}` by `reverie adapt`.\n",
        provenance={"base": base.name, "order": to_dict(order)},
    )


def _measure(
    order: AdaptOrder, places: _Places, index: int, around: Surroundings
) -> dict[str, Any]:
    """Measure a round's model on the new task and on old ones; -1 is the model as it came."""
    report = places.root / ("before" if index < 0 else f"round-{index}") / "report"
    done = report / "summary.json"
    if done.exists():
        return json.loads(done.read_text())
    world = load_world_model(places.model(index), device=around.ranks.device)
    task = order.explore.task
    watched = tuple(name for name in world.tasks if name != task)[: order.num_watched]
    evaluation = replace(order.evaluation, tasks=(task, *watched))
    with torch.inference_mode(False):
        tasks: list[TaskEvaluation] = evaluate_live(world, evaluation)
    fit_thresholds(places.model(index), world, tasks)
    numbers = write_results(tasks, report, title=f"{task}, round {index}", facts={})
    write_json(done, numbers["tasks"])
    around.audience.say(f"round {index}: the report is {report / 'report.html'}")
    return json.loads(done.read_text())
