"""What keeps a controller from exploiting its dream? Every mitigation alone, against none of them.

All arms of a seed share the data, V, first weights and the random numbers of training, search and
score; they differ in what their settings change. Differences are paired by seed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.config import override, to_dict
from reverie.core.errors import ConfigError
from reverie.core.files import digest
from reverie.core.metrics import read_metrics
from reverie.core.registry import require_extra
from reverie.core.seeds import child_seed
from reverie.data.store import EpisodeStore
from reverie.envs.api import TaskEnv
from reverie.envs.registry import open_envs
from reverie.evaluate.dream_against_real import correlate, score_returns
from reverie.models.classic.objective import draw_latents
from reverie.models.classic.world import ClassicWorld
from reverie.planning.imagine import ImagineConfig, imagine
from reverie.recipes.classic_base import ClassicRunConfig
from reverie.recipes.classic_checks import RealLook, RoundFacts
from reverie.recipes.classic_report import drift_of, play_score
from reverie.recipes.classic_training import collect_first, make_parts
from reverie.recipes.mitigations import BASELINE, MitigationStudy
from reverie.recipes.studies import Shown, compared, number_of, require_plots, write_study
from reverie.train.classic import LatentStream, Round, read_stream, train_rnn, train_vae
from reverie.train.controller import RealPlay, train_controller
from reverie.train.grounding import Grounding
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.progress import Audience, Silence

COLUMNS: Mapping[str, str] = {
    "real return": "real_return",
    "minus baseline": "real_return_minus_baseline",
    "dream return": "dream_return",
    "dream − real": "gap",
    "Spearman": "spearman",
    "KL": "kl_nats",
    "KL floor": "floor_nats",
    "KL / floor": "kl_ratio",
    "error, 10 steps": "rmse_10",
    "action ratio": "action_ratio",
    "steering steps": "steering_steps",
}
"""Columns of the table and the measurements they show."""
METRICS = (
    *("real_return", "dream_return", "gap", "spearman", "spearman_within", "pearson"),
    *("kl_nats", "floor_nats", "kl_ratio", "rmse_10", "action_ratio"),
    *("steering_steps", "look_steps", "trust_auroc_first", "trust_auroc_last"),
)
_SHOWN = ("real return", "dream − real", "Spearman", "KL / floor")
"""Columns that are drawn."""
_RMSE_STEP = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Bench:
    """What all arms of one seed share."""

    study: MitigationStudy
    seed: int
    out: Path
    store: EpisodeStore
    envs: Sequence[TaskEnv]
    audience: Audience
    learned: Round
    held: Round

    @property
    def folder(self) -> Path:
        """Of this seed."""
        return self.out / f"seed-{self.seed}"

    @property
    def around(self) -> Surroundings:
        """Of V and M; caches lie beside the data."""
        return Surroundings(folder=self.out, seed=self.seed, audience=self.audience)


def study_mitigations(
    study: MitigationStudy,
    out: Path,
    *,
    data: Path | None = None,
    num_workers: int = 2,
    audience: Audience = Silence(),  # noqa: B008 - it keeps nothing
) -> dict[str, Any]:
    """Train and measure every arm of every seed, and compare; resumes by itself.

    Args:
        study: What is compared.
        out: Folder of everything.
        data: A store of the task's episodes; None collects them as the run says.
        num_workers: Processes that collect.
        audience: Is told what goes on.
    """
    require_extra("cma", "es", "search for controllers by CMA-ES")
    require_plots()
    store = _open_data(study, out, data, num_workers, audience)
    learned, held = _split(store, study.held_out)
    rows = _row_names(study)
    shape = (1, study.num_seeds)
    found = {row: {metric: np.full(shape, np.nan) for metric in METRICS} for row in rows}
    run = study.run
    with open_envs(run.data.tasks[0], run.score.side_by_side, frame_spec=run.data.frame) as envs:
        for seed in range(study.num_seeds):
            bench = _Bench(
                study=study,
                seed=seed,
                out=out,
                store=store,
                envs=envs,
                audience=audience,
                learned=learned,
                held=held,
            )
            for row, numbers in _run_seed(bench, rows).items():
                for metric in METRICS:
                    found[row][metric][0, seed] = number_of(numbers.get(metric))
    return _write(study, out, store, found)


def _row_names(study: MitigationStudy) -> dict[str, tuple[str, int]]:
    """Name the rows of the table; each is an arm at a horizon."""
    several = len(study.horizons) > 1
    return {
        f"{arm}, {horizon} steps" if several else arm: (arm, horizon)
        for horizon in study.horizons
        for arm in study.arms
    }


def _open_data(
    study: MitigationStudy, out: Path, data: Path | None, num_workers: int, audience: Audience
) -> EpisodeStore:
    order = study.run.data
    if data is None:
        data = out / "data"
        collect_first(order, data, audience, num_workers=num_workers)
    store = EpisodeStore.open(data)
    tasks = {entry.task for entry in store.index}
    if tasks != set(order.tasks) or store.frame_spec != order.frame:
        raise ConfigError(
            f"'{data}' holds episodes of {sorted(tasks)} at {store.frame_spec.height_px} px, the "
            f"study is of {order.tasks} at {order.frame.height_px} px. Name another store."
        )
    key = {"data": store.spec.id, "held_out": study.held_out, "run": to_dict(study.run)}
    PhaseFolder(path=out / "study", config=key).claim()
    return store


def _split(store: EpisodeStore, num_held: int) -> tuple[Round, Round]:
    """Hold every so many episodes out."""
    names = [entry.id for entry in store.index]
    if len(names) < 2 * num_held:
        raise ConfigError(
            f"'{store.path}' has {len(names)} episodes, too few to hold {num_held} out. Collect "
            f"more, or hold fewer out."
        )
    held = set(names[:: len(names) // num_held][:num_held])
    kept = tuple(name for name in names if name not in held)
    return Round(episode_ids=kept), Round(episode_ids=tuple(sorted(held)))


def _run_seed(bench: _Bench, rows: Mapping[str, tuple[str, int]]) -> dict[str, dict[str, Any]]:
    run = replace(bench.study.run, seed=bench.seed)
    vae, _ = make_parts(run)
    key = to_dict(run)
    shared = {name: key[name] for name in ("seed", "vae", "vae_training")}
    train_vae(
        vae,
        bench.store,
        run.vae_training,
        data=bench.learned,
        folder=PhaseFolder(path=bench.folder / "vae", config=shared),
        around=bench.around,
    )
    vae.requires_grad_(False)
    streams = [
        read_stream(vae, bench.store, part, action_width=run.rnn.action_width, around=bench.around)
        for part in (bench.learned, bench.held)
    ]
    found: dict[str, dict[str, Any]] = {}
    for row, (arm, horizon) in rows.items():
        bench.audience.say(f"mitigations: seed {bench.seed}, {row}")
        settings = {"seed": bench.seed, "search.horizon": horizon, **bench.study.arms[arm]}
        config = override(bench.study.run, settings)
        world = ClassicWorld(vae, make_parts(config)[1], config.dream)
        place = bench.folder / f"{horizon}-steps" / arm.replace(" ", "-")
        found[row] = _run_arm(bench, config, world, streams, place)
    return found


def _run_arm(
    bench: _Bench,
    config: ClassicRunConfig,
    world: ClassicWorld,
    streams: Sequence[LatentStream],
    place: Path,
) -> dict[str, Any]:
    """Train M (or read it, where another arm has the same), search for C, and measure both."""
    result = PhaseFolder(path=place / "result", config=to_dict(config))
    result.claim()
    if result.done is not None:
        return result.done
    stream, held = streams
    key = {"seed": config.seed, "rnn": to_dict(config.rnn)}
    key["rnn_training"] = to_dict(config.rnn_training)
    name = digest(json.dumps(key, sort_keys=True).encode())[:12]
    train_rnn(
        world.rnn,
        stream,
        config.rnn_training,
        folder=PhaseFolder(path=bench.folder / "models" / name / "rnn", config=key),
        around=bench.around,
    )
    world.rnn.requires_grad_(False)
    horizon = config.search.horizon
    look = RealLook(
        config=config, world=world, envs=bench.envs, stream=stream, horizon=horizon, round_index=0
    )
    ground = Grounding(
        world=world,
        controller=config.controller,
        store=bench.store,
        data=bench.learned,
        envs=bench.envs,
    )
    # The same seed and the same name in every arm: searches draw the same numbers.
    parameters = train_controller(
        world,
        config.controller,
        torch.zeros(config.controller.num_parameters),
        stream,
        config.search,
        folder=PhaseFolder(path=place / "controller", config=to_dict(config)),
        around=Surroundings(folder=place, seed=config.seed, audience=bench.audience),
        real=RealPlay(check=look, ground=ground),
    )
    facts = RoundFacts.read(place / "controller", 0, horizon, stream)
    numbers = _of_search(facts, place) | _of_dream(config, world, held)
    numbers |= _of_controller(config, world, bench.envs, parameters, held)
    result.finish(numbers)
    return numbers


def _of_search(facts: RoundFacts, place: Path) -> dict[str, Any]:
    """Say what the search's log holds: controllers dreamed and played, and real steps."""
    pairs = [pair for group in facts.groups for pair in group]
    link = correlate(*zip(*pairs, strict=True))
    inside = [correlate(*zip(*group, strict=True)).spearman for group in facts.groups]
    within = [value for value in inside if value is not None]
    last = read_metrics(place / "controller" / "metrics.jsonl")[-1]
    return {
        "spearman": link.spearman,
        "pearson": link.pearson,
        "spearman_within": float(np.mean(within)) if within else None,
        "num_pairs": link.num_pairs,
        "steering_steps": facts.grounded_steps,
        "look_steps": int(sum(float(look["real_steps"]) for look in facts.looks)),
        "trust_auroc_first": last.get("trust_auroc_first"),
        "trust_auroc_last": last.get("trust_auroc_last"),
    }


def _of_dream(config: ClassicRunConfig, world: ClassicWorld, held: LatentStream) -> dict[str, Any]:
    """Measure how far dreams drift from what happened in held-out episodes."""
    drift = drift_of(config, world, held)
    other = drift_of(config, world, held, exchanges_actions=True)
    return {
        "kl_nats": drift.kl_nats,
        "floor_nats": drift.floor_nats,
        "kl_ratio": drift.ratio,
        "rmse_10": drift.rmse[min(_RMSE_STEP, len(drift.rmse)) - 1],
        "action_ratio": float(np.mean(other.rmse) / np.mean(drift.rmse)),
    }


def _of_controller(
    config: ClassicRunConfig,
    world: ClassicWorld,
    envs: Sequence[TaskEnv],
    parameters: Float[Tensor, " p"],
    held: LatentStream,
) -> dict[str, Any]:
    """Score the distribution's mean for real and in dreams that begin where episodes begin."""
    score, horizon = config.score, config.search.horizon
    played = play_score(config, world, parameters, envs)
    returns = [float(sum(episode.rewards)) for episode in played]
    cut = float(np.mean([sum(episode.rewards[:horizon]) for episode in played]))
    dreamed = _dream_from_resets(config, world, parameters, held)
    real = score_returns(returns, min_episodes=score.episodes)
    return {
        "real_return": real.mean,
        "real_return_std": real.std,
        "real_return_cut": cut,
        "dream_return": dreamed,
        "gap": dreamed - cut,
    }


def _dream_from_resets(
    config: ClassicRunConfig,
    world: ClassicWorld,
    parameters: Float[Tensor, " p"],
    held: LatentStream,
) -> float:
    places = torch.nonzero(held.lanes.is_first[0])[:, 0].tolist()
    windows = held.cut(places, 1)
    noise = torch.Generator()
    noise.manual_seed(child_seed(config.seed, "dreams from resets"))
    starts = world.start_from_latents(
        draw_latents(windows.mean, windows.log_variance, noise),
        prev_actions=windows.prev_actions,
        is_first=windows.is_first,
        action_mask=held.lanes.action_mask.expand(len(places), -1),
        task=held.lanes.task * len(places),
    )
    dream = ImagineConfig(horizon=config.search.horizon, norm_fine=0.0)
    imagined = imagine(world, starts, config.controller, parameters[None], dream, noise)
    return float(imagined.returns.mean())


def _write(
    study: MitigationStudy,
    out: Path,
    store: EpisodeStore,
    found: Mapping[str, Mapping[str, Float[np.ndarray, "one seeds"]]],
) -> dict[str, Any]:
    names = _row_names(study)
    bases = {horizon: found[row] for row, (arm, horizon) in names.items() if arm == BASELINE}
    whole: dict[str, dict[str, Any]] = {
        row: compared(found[row], {BASELINE: bases[horizon]}) for row, (_, horizon) in names.items()
    }
    rows = {
        row: {column: numbers.get(metric) for column, metric in COLUMNS.items()}
        for row, numbers in whole.items()
    }
    runs = {
        row: {metric: values[0].tolist() for metric, values in metrics.items()}
        for row, metrics in found.items()
    }
    facts = {
        "seeds": study.num_seeds,
        "horizons": list(study.horizons),
        "episodes": len(store),
        "held_out": study.held_out,
        "real_steps": sum(entry.num_steps for entry in store.index),
        "arms": {name: dict(settings) for name, settings in study.arms.items()},
    }
    numbers = {"study": "mitigations", **facts, "rows": rows, "measured": whole, "runs": runs}
    shown: Shown = {
        column: {row: (runs[row][COLUMNS[column]], whole[row][COLUMNS[column]]) for row in rows}
        for column in _SHOWN
    }
    return write_study(out, numbers, shown)
