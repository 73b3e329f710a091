"""Does it help to see rare tasks as often as common ones? Three continuations of one training.

A corpus with a long tail is collected, and a base model learns it frame by frame, so that common
tasks drown rare ones. From that one checkpoint training goes on in every way that is compared, for
as many steps: all differences are paired by seed, and a seed is a corpus, an order and a noise.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder
from reverie.core.config import to_dict
from reverie.core.errors import ConfigError
from reverie.core.files import write_json
from reverie.core.seeds import child_seed
from reverie.core.types import FrameSpec
from reverie.data.sampling import Balance
from reverie.data.store import EpisodeStore
from reverie.models.load import load_world_model, save_world_model, weights_hash
from reverie.recipes.adapt import CODEC, REPLAY_POLICIES
from reverie.recipes.evaluation import EvaluationOrder, evaluate_live, quick_order, write_results
from reverie.recipes.finetune import FinetuneConfig, FinetuneJob, finetune
from reverie.recipes.studies import (
    Shown,
    compared,
    number_of,
    require_plots,
    spread_by_task,
    write_study,
)
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.progress import Audience, Silence

CONTROL = "frame-uniform"
BEFORE = "before"
WAYS: Mapping[str, Balance] = {
    CONTROL: "windows",
    "loss re-weighted": "loss",
    "coverage-aware": "tasks",
}
"""How tasks are balanced in each continuation."""
GAIN = "rollout_gain_db"
"""What is drawn, task by task."""
METRICS = ("reconstruction_psnr_db", "action_shuffle_ratio", GAIN)


def study_finetune(num_tokenizer: int = 300, num_dynamics: int = 200) -> FinetuneConfig:
    """Return the training of one stage, base or continuation."""
    config = FinetuneConfig()
    tokenizer, dynamics = config.tokenizer_training, config.dynamics_training
    return replace(
        config,
        tokenizer_training=replace(
            tokenizer, fit=replace(tokenizer.fit, total_steps=num_tokenizer)
        ),
        dynamics_training=replace(dynamics, fit=replace(dynamics.fit, total_steps=num_dynamics)),
        objective=replace(config.objective, total_steps=num_dynamics),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CoverageStudy:
    """A corpus with a long tail, and how it is learned."""

    episodes: Mapping[str, int] = field(
        default_factory=lambda: {
            "pygame-air-hockey": 96,
            "pygame-spaceship": 24,
            "pygame-cowboy": 6,
            "pygame-whirlpool": 2,
        }
    )
    """Episodes of each task; the shipped model knows none of these tasks."""
    max_steps: int = 120
    """Per episode."""
    policies: Mapping[str, float] = field(default_factory=lambda: dict(REPLAY_POLICIES))
    num_seeds: int = 5
    finetune: FinetuneConfig = field(default_factory=study_finetune)
    """Of the base; each continuation is as long again."""
    evaluation: EvaluationOrder = field(default_factory=quick_order)

    def __post_init__(self) -> None:
        """Refuse a corpus without a tail."""
        if len(set(self.episodes.values())) < 2:
            raise ConfigError(
                f"A corpus with a long tail has tasks of different size, got "
                f"{dict(self.episodes)}. Name fewer episodes for some."
            )


def study_coverage(
    model: Path,
    study: CoverageStudy,
    out: Path,
    *,
    num_workers: int = 2,
    audience: Audience = Silence(),  # noqa: B008 - it keeps nothing
) -> dict[str, Any]:
    """Continue one training in every way for every seed, and compare; resumes by itself.

    Args:
        model: What the base begins from; it should know none of the tasks.
        study: What is learned.
        out: Folder of everything.
        num_workers: Processes that collect.
        audience: Is told what goes on.
    """
    require_plots()
    tasks = tuple(study.episodes)
    names = (BEFORE, *WAYS)
    found = {n: {m: np.full((len(tasks), study.num_seeds), np.nan) for m in METRICS} for n in names}
    for seed in range(study.num_seeds):
        for name, numbers in _run_seed(model, study, out, seed, num_workers, audience).items():
            for metric in METRICS:
                for row, task in enumerate(tasks):
                    found[name][metric][row, seed] = number_of(numbers[task][metric])
    facts = {"episodes": dict(study.episodes), "seeds": study.num_seeds}
    rows = {name: compared(found[name], {"control": found[CONTROL]}) for name in WAYS}
    rows = {BEFORE: compared(found[BEFORE], {}), **rows}
    by_task = spread_by_task(found, tasks)
    shown: Shown = {
        f"{task}, {count} episodes": {
            name: (found[name][GAIN][row].tolist(), by_task[name][task][GAIN]) for name in names
        }
        for row, (task, count) in enumerate(study.episodes.items())
    }
    numbers = {"study": "coverage", **facts, "rows": rows, "by_task": by_task}
    return write_study(out, numbers, shown)


def _run_seed(
    model: Path,
    study: CoverageStudy,
    out: Path,
    seed: int,
    num_workers: int,
    audience: Audience,
) -> dict[str, dict[str, Any]]:
    folder = out / f"seed-{seed}"
    world = load_world_model(model)
    key = {
        "model": weights_hash(world),
        "episodes": dict(study.episodes),
        "policies": dict(study.policies),
        "max_steps": study.max_steps,
        "finetune": to_dict(study.finetune),
    }
    PhaseFolder(path=folder, config=json.loads(json.dumps(key))).claim()
    data = _corpus(world.tokenizer.frame_spec, study, folder / "data", seed, num_workers)
    stage = _Stage(study=study, data=data, seed=seed, audience=audience)
    base = stage.train(model, folder / "base", "windows")
    found = {BEFORE: stage.measure(base, folder / "base")}
    for name, balance in WAYS.items():
        audience.say(f"coverage: seed {seed}, {name}")
        place = folder / name.replace(" ", "-")
        found[name] = stage.measure(stage.train(base, place, balance), place)
    return found


def _corpus(
    frame: FrameSpec, study: CoverageStudy, path: Path, seed: int, num_workers: int
) -> Path:
    EpisodeStore.open_or_create(path, frame, CODEC)
    for task, count in study.episodes.items():
        order = CollectOrder(
            tasks=(task,),
            policies=dict(study.policies),
            episodes_per_task=count,
            seed=child_seed(seed, "coverage study"),
            frame=frame,
            codec=CODEC,
            step_limits=(study.max_steps,),
        )
        collect(order, path, num_workers=num_workers)
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stage:
    """What every training and every measurement of one seed shares."""

    study: CoverageStudy
    data: Path
    seed: int
    audience: Audience

    def train(self, start: Path, folder: Path, balance: Balance) -> Path:
        """Go on from a model; all ways of one seed draw with the same random numbers."""
        model = folder / "model"
        if not (model / "model.json").exists():
            job = FinetuneJob(
                base=start,
                store=self.data,
                targets=tuple(self.study.episodes),
                config=replace(self.study.finetune, balance=balance),
            )
            around = Surroundings(folder=folder, seed=self.seed, audience=self.audience)
            card = f"# Coverage study\n\nTrained with balance '{balance}', seed {self.seed}.\n"
            save_world_model(model, finetune(job, around), card=card, provenance={})
        return model

    def measure(self, model: Path, folder: Path) -> dict[str, Any]:
        """Play fresh episodes of every task of the corpus and measure the model on them."""
        done = folder / "summary.json"
        if not done.exists():
            order = replace(self.study.evaluation, tasks=tuple(self.study.episodes))
            tasks = evaluate_live(load_world_model(model), order)
            title = f"{folder.name}, seed {self.seed}"
            numbers = write_results(tasks, folder / "report", title=title, facts={})
            write_json(done, numbers["tasks"])
        return json.loads(done.read_text())
