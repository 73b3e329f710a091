"""A whole run: collect, train the tokenizer, cache its latents, train the dynamics, evaluate.

Every phase has a folder in the run's folder and goes on where it stopped, so that running the
same config again is always the way to continue.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reverie.collect.collector import CollectStatus, collect
from reverie.collect.order import CollectOrder
from reverie.core.config import to_dict
from reverie.core.registry import require_extra
from reverie.core.seeds import child_seed
from reverie.data.store import EpisodeStore
from reverie.envs.registry import task_spec
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.dynamics.objective import DynamicsObjective
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.language import make_language_table
from reverie.models.tokenizer import TOKENIZERS
from reverie.recipes.base import RunConfig, check_run
from reverie.recipes.export import export_measured
from reverie.recipes.hooks import dynamics_hooks, tokenizer_hooks
from reverie.train.dynamics import cache_latents, train_dynamics
from reverie.train.loop import Hook
from reverie.train.phase import PhaseFolder, Surroundings, main_first
from reverie.train.progress import Audience, Progress
from reverie.train.state import TrainState
from reverie.train.tokenizer import train_tokenizer

MODEL_FOLDER = "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """What lies where in a run's folder."""

    root: Path

    @property
    def data(self) -> Path:
        """What is learned from."""
        return self.root / "data" / "train"

    @property
    def held_out(self) -> Path:
        """What is never learned from."""
        return self.root / "data" / "held-out"

    @property
    def pictures(self) -> Path:
        """Rollouts drawn while training."""
        return self.root / "pictures"

    @property
    def report(self) -> Path:
        """What was measured at the end."""
        return self.root / "report"

    @property
    def model(self) -> Path:
        """The playable model."""
        return self.root / MODEL_FOLDER


Export = Callable[[ShortcutWorld, RunConfig, Path, Path, Audience], None]
"""Measures the finished world and writes it: model folder, report folder, who is told."""


def run(
    config: RunConfig,
    around: Surroundings,
    *,
    export: Export = export_measured,
    num_workers: int = 2,
) -> Path:
    """Train a model from nothing, or go on where an earlier call stopped; return its folder.

    Args:
        config: The whole run.
        around: Folder, seed, ranks and audience.
        export: Evaluates the finished model and writes its folder.
        num_workers: Processes that collect.
    """
    check_run(config)
    # Asked for now, not after all the training.
    require_extra("matplotlib.figure", "eval", "draw the plots of the report at the end of a run")
    places = Places(root=around.folder)
    around.audience.say(f"{config.recipe}: everything goes to {places.root}")
    main_first(around.ranks, lambda: collect_data(config, places, around, num_workers=num_workers))
    store, held_out = EpisodeStore.open(places.data), EpisodeStore.open(places.held_out)
    tokenizer = _train_tokenizer(config, store, held_out, places, around)
    world = _train_dynamics(config, tokenizer, store, held_out, places, around)
    main_first(
        around.ranks,
        lambda: export(world, config, places.model, places.report, around.audience),
    )
    around.audience.say(f"{config.recipe}: the model is in {places.model}")
    return places.model


def collect_data(
    config: RunConfig, places: Places, around: Surroundings, *, num_workers: int
) -> None:
    """Collect what both stores still lack."""
    held_out = replace(
        config.data,
        episodes_per_task=config.held_out_episodes_per_task,
        seed=child_seed(config.data.seed, "held-out"),
    )
    for path, order in ((places.data, config.data), (places.held_out, held_out)):
        PhaseFolder(path=path, config=to_dict(order)).claim()
        _collect(order, path, around, num_workers=num_workers)


def _collect(order: CollectOrder, path: Path, around: Surroundings, *, num_workers: int) -> None:
    def show(status: CollectStatus) -> None:
        rate = status.num_collected / status.seconds if status.seconds > 0 else 0.0
        around.audience.show(
            Progress(
                phase=f"collect {path.name}",
                done=status.num_done,
                total=status.num_ordered,
                unit="episodes",
                rates={"episodes": rate, "frames": status.frames_per_s},
            )
        )

    status = collect(order, path, num_workers=num_workers, progress=show)
    around.audience.say(
        f"collect {path.name}: {status.num_ordered} episodes in {path}, {status.num_found} of "
        f"them from before"
    )


def _train_tokenizer(
    config: RunConfig,
    store: EpisodeStore,
    held_out: EpisodeStore,
    places: Places,
    around: Surroundings,
) -> Any:
    with _seeded(child_seed(config.seed, "tokenizer", "weights")):
        tokenizer = TOKENIZERS.load(config.tokenizer_name)(config.tokenizer)
    train_tokenizer(
        tokenizer.to(around.ranks.device),
        store,
        config.tokenizer_training,
        folder=PhaseFolder(path=places.root / "tokenizer", config=_tokenizer_config(config)),
        around=around,
        hooks=tokenizer_hooks(tokenizer, held_out, places.pictures),
    )
    return tokenizer


def _train_dynamics(
    config: RunConfig,
    tokenizer: Any,
    store: EpisodeStore,
    held_out: EpisodeStore,
    places: Places,
    around: Surroundings,
) -> ShortcutWorld:
    latents = cache_latents(tokenizer, store, places.root / "latents", around=around)
    with _seeded(child_seed(config.seed, "dynamics", "weights")):
        objective = DynamicsObjective(
            DynamicsNet(config.dynamics),
            config.heads,
            config.objective,
            latent_limit=1 / tokenizer.spec.scale,
        )
    _teach_language(objective, config, around)
    objective.to(around.ranks.device)
    world = ShortcutWorld(
        tokenizer,
        objective.net,
        objective.reward_head,
        objective.continue_head,
        objective.policy_head,
    )
    hooks = [
        _at_trained_steps(hook, world, config)
        for hook in dynamics_hooks(world, held_out, places.pictures)
    ]
    train_dynamics(
        objective,
        store,
        latents,
        config.dynamics_training,
        folder=PhaseFolder(path=places.root / "dynamics", config=_dynamics_config(config)),
        around=around,
        hooks=hooks,
    )
    for index, stage in enumerate(config.stages):
        objective.config = stage.objective
        objective.requires_grad_(True)
        objective.net.requires_grad_(stage.trains == "everything")
        folder = PhaseFolder(
            path=places.root / stage.name, config=_dynamics_config(config, num_stages=index + 1)
        )
        train_dynamics(
            objective,
            store,
            latents,
            stage.training,
            folder=folder,
            around=replace(around, seed=child_seed(config.seed, stage.name)),
            hooks=hooks,
        )
    return world.eval().requires_grad_(False)


def _teach_language(objective: DynamicsObjective, config: RunConfig, around: Surroundings) -> None:
    """Lay the table of instruction embeddings into the network, and say what made it."""
    table = make_language_table(
        config.language,
        {name: task_spec(name).instruction for name in config.data.tasks},
        width=config.dynamics.language_dim,
        file=Path(config.language_file) if config.language_file else None,
    )
    if table is not None:
        objective.net.task_embeddings.copy_(table.embeddings)
        around.audience.say(f"{config.recipe}: instructions embedded by {table.made_by}")


def _at_trained_steps(hook: Hook, world: ShortcutWorld, config: RunConfig) -> Hook:
    """Dream with the finest step until coarser ones have been trained for a while."""

    def look(state: TrainState) -> dict[str, float]:
        # Coarse steps learn from finer ones; right after they begin they know nothing yet.
        first_fair_step = 2 * config.objective.first_bootstrap_step
        is_finest = state.step < first_fair_step
        coarse, finest = config.dynamics.num_flow_steps, config.dynamics.shortcut.num_levels
        world.num_flow_steps = finest if is_finest else coarse
        try:
            return hook(state) | {"num_flow_steps": float(world.num_flow_steps)}
        finally:
            world.num_flow_steps = coarse

    return look


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # Layers draw their first weights from torch's global generator; it is given back unchanged.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _tokenizer_config(config: RunConfig) -> dict[str, Any]:
    whole = to_dict(config)
    names = ("seed", "data", "tokenizer", "tokenizer_training")
    return _without_clocks({name: whole[name] for name in names})


def _dynamics_config(config: RunConfig, num_stages: int = 0) -> dict[str, Any]:
    """Return what the result depends on after so many stages; later ones do not matter."""
    whole = to_dict(replace(config, stages=config.stages[:num_stages]))
    for stage in whole.get("stages", ()):
        stage["training"]["fit"] = {"total_steps": stage["training"]["fit"]["total_steps"]}
    whole.pop("held_out_episodes_per_task")
    whole.pop("evaluation")
    whole.pop("stored_precision")
    return _without_clocks(whole)


def _without_clocks(config: dict[str, Any]) -> dict[str, Any]:
    # When a run logs or saves changes no weight, so it may differ when the run goes on.
    for training in ("tokenizer_training", "dynamics_training"):
        if training in config:
            total_steps = config[training]["fit"]["total_steps"]
            config[training] = config[training] | {"fit": {"total_steps": total_steps}}
    return config


RUNNER = (check_run, run)
"""What ``reverie train`` calls for a ``RunConfig``."""
