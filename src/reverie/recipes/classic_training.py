"""A whole classic run: collect, V, M, C in the dream, look at the simulator, and round again.

Every part has a folder in the run's folder and goes on where it stopped.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reverie.collect.collector import CollectStatus, collect
from reverie.collect.order import CollectOrder
from reverie.core.config import to_dict
from reverie.core.registry import require_extra
from reverie.core.seeds import child_seed
from reverie.data.exporters.hf import export_hf, is_exported
from reverie.data.store import EpisodeStore
from reverie.envs.api import TaskEnv
from reverie.envs.registry import open_envs
from reverie.models.classic.mdn_rnn import MdnRnn
from reverie.models.classic.vae import Vae
from reverie.models.classic.world import ClassicWorld
from reverie.planning.live import LiveConfig, play_many
from reverie.recipes.classic_base import (
    ClassicPlaces,
    ClassicRunConfig,
    RoundsConfig,
    check_classic_run,
)
from reverie.recipes.classic_checks import RealLook, RoundFacts, is_good_enough
from reverie.recipes.classic_limits import fit_limits
from reverie.recipes.classic_report import finish_run
from reverie.train.classic import LatentStream, Round, read_stream, train_rnn, train_vae
from reverie.train.controller import RealPlay, train_controller
from reverie.train.grounding import Grounding
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.progress import Audience, Progress
from reverie.train.student import train_student

SHAKEN = "shaken-controller"
_LEANING_RANDOM_SHARE = 0.2
_LEAN_STEPS = 40.0


def run_classic(config: ClassicRunConfig, around: Surroundings, *, num_workers: int = 2) -> Path:
    """Train V, M and C from nothing, or go on where an earlier call stopped.

    C is trained in the dream alone, unless ``search.ground_every`` says otherwise: real episodes
    are data for V and M, and looks that decide nothing but when there are rounds enough.

    Args:
        config: The whole run.
        around: Folder, seed and audience.
        num_workers: Processes that collect the first round.

    Returns:
        The folder of the model.
    """
    check_classic_run(config)
    if config.student is None:
        require_extra("cma", "es", "train a controller by CMA-ES")
    else:
        require_extra("stable_baselines3", "rl", "train a controller by PPO")
    if config.exports_dataset:
        require_extra("datasets", "data", "export to Hugging Face's datasets")
    places = ClassicPlaces(root=around.folder)
    around.audience.say(f"{config.recipe}: everything goes to {places.root}")
    collect_first(config.data, places.data, around.audience, num_workers=num_workers)
    vae, rnn = make_parts(config)
    parameters = torch.zeros(config.controller.num_parameters)
    world = ClassicWorld(vae, rnn, config.dream)
    facts: list[RoundFacts] = []
    side_by_side, frame = config.score.side_by_side, config.data.frame
    with open_envs(config.data.tasks[0], side_by_side, frame_spec=frame) as envs:
        stream: LatentStream | None = None
        for index, horizon in enumerate(config.rounds.horizons):
            if 0 < index <= config.rounds.vae_rounds:
                # V learns anew: what M and C know is of the old latents.
                world.rnn.load_state_dict(make_parts(config)[1].state_dict())
                parameters = torch.zeros_like(parameters)
            stream = _learn_world(config, places, around, world, index)
            look = RealLook(
                config=config,
                world=world,
                envs=envs,
                stream=stream,
                horizon=horizon,
                round_index=index,
            )
            parameters = _learn_to_act(config, places, around, parameters, look)
            facts.append(RoundFacts.read(places.part(index, "controller"), index, horizon, stream))
            if is_good_enough(look, parameters, facts[-1], places.part(index, "confirm")):
                around.audience.say(f"round {index}: good enough; no further round is needed")
                break
            if index + 1 < len(config.rounds.horizons):
                _collect_round(config, places, around, world, parameters, envs, index + 1)
        assert stream is not None, "a run has at least one round"
        finish_run(config, places, around, world, parameters, envs, stream, facts)
    fit_limits(config, places, around.audience)
    if config.exports_dataset and not is_exported(places.dataset):
        rows = export_hf(EpisodeStore.open(places.data), places.dataset)
        around.audience.say(f"{rows} real frames are in {places.dataset}, for load_dataset")
    around.audience.say(f"{config.recipe}: the model is in {places.model}")
    return places.model


def make_parts(config: ClassicRunConfig) -> tuple[Vae, MdnRnn]:
    """Build untrained V and M; the same seed gives the same first weights."""
    # Layers draw their first weights from torch's global generator; it is given back unchanged.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(config.seed, "classic", "weights"))
        return Vae(config.vae), MdnRnn(config.rnn)


def collect_first(order: CollectOrder, path: Path, audience: Audience, *, num_workers: int) -> None:
    """Collect the episodes that the first V and M learn from, or those that are missing."""

    def show(status: CollectStatus) -> None:
        audience.show(
            Progress(
                phase="collect",
                done=status.num_done,
                total=status.num_ordered,
                unit="episodes",
                rates={"frames": status.frames_per_s},
            )
        )

    PhaseFolder(path=path, config=to_dict(order)).claim()
    status = collect(order, path, num_workers=num_workers, progress=show)
    audience.say(f"collect: {status.num_ordered} episodes, {status.num_found} from before")


def _learn_world(
    config: ClassicRunConfig,
    places: ClassicPlaces,
    around: Surroundings,
    world: ClassicWorld,
    index: int,
) -> LatentStream:
    """Let V (in early rounds) and M learn from everything collected so far."""
    store = EpisodeStore.open(places.data)
    data = episodes_until(store, index, mirror=config.mirror)
    if index <= config.rounds.vae_rounds:
        world.vae.requires_grad_(True)
        train_vae(
            world.vae,
            store,
            config.vae_refresh if index else config.vae_training,
            data=data,
            folder=_folder(config, places.part(index, "vae"), index),
            around=around,
        )
    world.vae.requires_grad_(False)
    stream = read_stream(
        world.vae, store, data, action_width=config.rnn.action_width, around=around
    )
    world.rnn.requires_grad_(True)
    train_rnn(
        world.rnn,
        stream,
        config.rnn_refresh if index > config.rounds.vae_rounds else config.rnn_training,
        folder=_folder(config, places.part(index, "rnn"), index),
        around=around,
    )
    world.rnn.requires_grad_(False)
    return stream


def _learn_to_act(
    config: ClassicRunConfig,
    places: ClassicPlaces,
    around: Surroundings,
    parameters: Float[Tensor, " p"],
    look: RealLook,
) -> Float[Tensor, " p"]:
    """Train C in the dream of this round, by CMA-ES or by PPO."""
    index = look.round_index
    folder = _folder(config, places.part(index, "controller"), index)
    given = (look.world, config.controller, parameters, look.stream)
    if config.student is not None:
        student = replace(config.student, horizon=look.horizon)
        return train_student(*given, student, folder=folder, around=around, check=look)
    settings = replace(config.search, horizon=look.horizon, enough=config.rounds.ends_at)
    ground = Grounding(
        world=look.world,
        controller=config.controller,
        store=(store := EpisodeStore.open(places.data)),
        data=episodes_until(store, index, mirror=config.mirror),
        envs=look.envs,
    )
    real = RealPlay(check=look, ground=ground)
    return train_controller(*given, settings, folder=folder, around=around, real=real)


def episodes_until(store: EpisodeStore, index: int, *, mirror: tuple[float, ...] = ()) -> Round:
    """List the episodes that round ``index`` learns from: its own, and all before it."""
    by_round = [
        (_round_of(entry.id), entry.id) for entry in store.index if _round_of(entry.id) <= index
    ]
    by_round.sort()
    newest = sum(1 for number, _ in by_round if number == index) if index else 0
    names = tuple(name for _, name in by_round)
    return Round(episode_ids=names, num_newest=newest, mirror=mirror)


def _collect_round(
    config: ClassicRunConfig,
    places: ClassicPlaces,
    around: Surroundings,
    world: ClassicWorld,
    parameters: Float[Tensor, " p"],
    envs: Sequence[TaskEnv],
    index: int,
) -> None:
    """Play with the controller and some noise; what is stored already is not played again."""
    store, rounds = EpisodeStore.open(places.data), config.rounds
    for kind, (count, live) in _kinds(rounds).items():
        names = {
            f"round-{index:02d}/{kind}/{number:05d}": child_seed(
                config.seed, "round", index, kind, number
            )
            for number in range(count)
        }
        todo = {name: seed for name, seed in names.items() if name not in store}
        if not todo:
            continue
        rows = parameters[None]
        if kind == SHAKEN:
            rows = torch.stack([_shaken(parameters, seed, rounds) for seed in todo.values()])
        with store.writer() as writer:
            played = play_many(
                world,
                config.controller,
                rows,
                envs,
                list(todo.values()),
                config=live,
                keeps_frames=True,
            )
            for name, episode in zip(todo, played, strict=True):
                writer.append(episode.to_episode(kind), id=name)
        lengths = _lengths(places.data, names)
        around.audience.say(
            f"collect round {index}: {count} episodes of '{kind}', "
            f"{np.mean(lengths):.0f} steps on average"
        )


def _kinds(rounds: RoundsConfig) -> dict[str, tuple[int, LiveConfig]]:
    """Say how many episodes of a round are played how."""
    shares = {
        "noisy-controller": rounds.noisy_share,
        "leaning-controller": rounds.leaning_share,
        SHAKEN: rounds.shaken_share,
    }
    counts = {kind: round(share * rounds.episodes_per_round) for kind, share in shares.items()}
    counts = {"controller": rounds.episodes_per_round - sum(counts.values()), **counts}
    random_shares = {"noisy-controller": 0.5, "leaning-controller": _LEANING_RANDOM_SHARE}
    return {
        kind: (
            count,
            LiveConfig(
                random_share=random_shares.get(kind, rounds.random_share),
                lean_steps=_LEAN_STEPS if kind == "leaning-controller" else 0.0,
                source=kind,
                max_steps=rounds.max_collect_steps,
            ),
        )
        for kind, count in counts.items()
    }


def _shaken(
    parameters: Float[Tensor, " p"], seed: int, rounds: RoundsConfig
) -> Float[Tensor, " p"]:
    generator = torch.Generator()
    generator.manual_seed(child_seed(seed, "shaken"))
    scale = rounds.shaken_std * parameters.square().mean().sqrt()
    return parameters + scale * torch.randn(parameters.shape, generator=generator)


def _lengths(path: Path, names: dict[str, int]) -> list[int]:
    store = EpisodeStore.open(path)
    return [store.entry(name).num_steps for name in names]


def _round_of(episode_id: str) -> int:
    return int(episode_id[6:8]) if episode_id.startswith("round-") else 0


def _folder(config: ClassicRunConfig, path: Path, index: int) -> PhaseFolder:
    """Name the settings that a part depends on: others may change when a run goes on."""
    whole = to_dict(config)
    names = ["seed", "data", "mirror", "vae", "vae_training"]
    if path.name != "vae":
        names += ["rnn", "rnn_training", "dream"]
    if index or path.name == "controller":
        names += ["vae_refresh", "rnn", "rnn_training", "rnn_refresh", "dream", "controller"]
        names += ["search", "student", "rounds"]
    return PhaseFolder(
        path=path, config={name: whole[name] for name in dict.fromkeys(names) if name in whole}
    )


RUNNER = (check_classic_run, run_classic)
"""What ``reverie train`` calls for a ``ClassicRunConfig``."""
