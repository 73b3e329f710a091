"""Fit a model's calibrated probability on fresh dreams, judge it on others, write the report."""

import json
import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reverie.collect.policies import make_policy
from reverie.core.config import to_dict
from reverie.core.errors import ConfigError
from reverie.core.files import digest, write_json
from reverie.envs.registry import task_spec
from reverie.evaluate.calibration_report import write_calibration_report
from reverie.evaluate.clips import cut_clips
from reverie.evaluate.detection import (
    ALPHA,
    CANDIDATES,
    OPTIONS,
    FitOrder,
    Judged,
    apply_calibration,
    build_bank,
    compare_within,
    fit_calibration,
    judge,
    judge_candidates,
    with_novelty,
)
from reverie.evaluate.evaluation import plain
from reverie.evaluate.live import LiveConfig, choose_tasks, collect_heldout
from reverie.evaluate.reconstruction import reconstruct
from reverie.evaluate.rollout import RolloutConfig
from reverie.evaluate.watched import WatchedDreams, join_watched, load_watched, watch_clips
from reverie.hallucination.calibrate import CONTEXT, Calibration, calibration_setup
from reverie.hallucination.novelty import NoveltyBank
from reverie.hallucination.verifier import save_verifier
from reverie.hallucination.verifier_training import VerifierTraining
from reverie.hallucination.watch import NUM_TWINS
from reverie.models.api import WorldModel
from reverie.models.families import load_any_world
from reverie.models.load import model_digest
from reverie.recipes.verifier import SIGNAL, fit_verifier, judge_verifier

BEHAVIOURS = ("noise", "mixed")
"""Who plays the episodes that are dreamed; both need an expert of the task."""
FIT_SERIES = "calibration"
TEST_SERIES = "calibration-test"
WITH_VERIFIER = tuple((*channels, SIGNAL) for channels in OPTIONS[:2])
PUBLISHED_SINGLE = ("u_r and motion", "u_f and motion", "u_s and motion", "u_r", "u_f", "u_s")
"""Candidates that use one published predictor, raw or with motion."""

OnDreams = Callable[[str, WatchedDreams], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class DreamOrder:
    """Which dreams are watched."""

    tasks: tuple[str, ...] = ()
    """Empty means every task of the model."""
    series: str = FIT_SERIES
    """Other series have other seeds."""
    behaviours: tuple[str, ...] = BEHAVIOURS
    episodes_per_behaviour: int = 10
    max_steps: int = 100
    clips_per_episode: int = 2
    horizon: int = 32
    """Dreamed frames; the probability looks 8 ahead, so the last 8 have no label."""
    batch_rows: int = 16
    num_twins: int = NUM_TWINS
    """Dreams beside each dream: more know better what to expect, and cost more."""

    def __post_init__(self) -> None:
        """Refuse orders that no calibration can be fitted to."""
        if self.horizon < 9 or self.episodes_per_behaviour < 1 or self.clips_per_episode < 1:
            raise ConfigError(
                f"A calibration needs dreams of at least 9 frames and one episode, got horizon "
                f"{self.horizon} and {self.episodes_per_behaviour} episodes. Try --episodes 10."
            )
        if self.num_twins < 2:
            raise ConfigError(
                f"Twins are compared with each other: at least 2 are needed, got {self.num_twins}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRun:
    """One call of ``reverie calibrate``."""

    model: Path
    out: Path
    fit: DreamOrder = DreamOrder()
    test: DreamOrder = DreamOrder(series=TEST_SERIES, episodes_per_behaviour=7)
    bank_per_task: int = 256
    """Real frames of each task in the novelty bank."""
    num_workers: int = 2
    saves: bool = True
    """Write the calibration into the model's folder; otherwise only into ``out``."""
    verifier: VerifierTraining | None = None
    """Also train a verifier, and let the probability look at it if that helps on tasks left
    out of the fit."""
    device: str = "cpu"
    """Where every process puts its copy of the model."""


def calibration_run(
    model: Path,
    out: Path,
    fit: DreamOrder,
    *,
    test_episodes: int = 7,
    num_workers: int = 2,
    saves: bool = True,
    verifier: VerifierTraining | None = None,
    device: str = "cpu",
) -> CalibrationRun:
    """Order a calibration that is judged on dreams like those it is fitted to, of other seeds."""
    return CalibrationRun(
        model=model,
        out=out,
        fit=fit,
        test=replace(fit, series=TEST_SERIES, episodes_per_behaviour=test_episodes),
        num_workers=num_workers,
        saves=saves,
        verifier=verifier,
        device=device,
    )


def watch_tasks(
    folder: Path,
    order: DreamOrder,
    cache: Path,
    *,
    num_workers: int,
    device: str = "cpu",
    on_dreams: OnDreams | None = None,
) -> WatchedDreams:
    """Watch dreams of every task, several tasks at a time; what was dreamed is kept and reused.

    Args:
        folder: Model folder.
        order: Which dreams.
        cache: Folder for the watched dreams, named by model and order: an interrupted run goes on.
        num_workers: Processes.
        device: Where every process puts its copy of the model.
        on_dreams: Called with each task as soon as it is there.
    """
    tasks = choose_tasks(load_any_world(folder), order.tasks)
    key = digest(f"{model_digest(folder)} {_key(order)}".encode())[:12]
    paths = {task: cache / f"{key}-{order.series}-{task}.npz" for task in tasks}
    jobs = [
        (str(folder), device, task, order, path)
        for task, path in paths.items()
        if not path.exists()
    ]
    if num_workers < 2 or len(jobs) < 2:
        for job in jobs:
            _watch_job(job)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(num_workers, len(jobs)), mp_context=context) as pool:
            for task in pool.map(_watch_job, jobs):
                if on_dreams is not None:
                    on_dreams(task, load_watched(paths[task]))
    return join_watched([load_watched(path) for path in paths.values()])


def _key(order: DreamOrder) -> str:
    facts = to_dict(order)
    del facts["tasks"], facts["batch_rows"]
    return json.dumps(facts, sort_keys=True)


def _watch_job(job: tuple[str, str, str, DreamOrder, Path]) -> str:
    folder, device, task, order, path = job
    torch.set_num_threads(1)
    watch_task(load_any_world(Path(folder), device=device), task, order).save(path)
    return task


def watch_task(world: WorldModel, task: str, order: DreamOrder) -> WatchedDreams:
    """Play episodes of one task and watch the model dream them."""
    episodes = [
        episode
        for behaviour in order.behaviours
        for episode in collect_heldout(
            task,
            frame_spec=world.tokenizer.frame_spec,
            make_policy=lambda _, name=behaviour: make_policy(name),
            config=LiveConfig(
                num_episodes=order.episodes_per_behaviour,
                max_steps=order.max_steps,
                series=f"{order.series}-{behaviour}",
            ),
        )
    ]
    context = min(CONTEXT, world.max_context)
    clips = cut_clips(
        episodes,
        action_width=world.action_width,
        num_per_episode=order.clips_per_episode,
        num_frames=context + order.horizon,
    )
    real = reconstruct(world, clips, batch_rows=order.batch_rows)
    config = RolloutConfig(context=context, horizon=order.horizon, batch_rows=order.batch_rows)
    return watch_clips(world, clips, real, config, num_twins=order.num_twins)


def domains_of(tasks: Sequence[str]) -> dict[str, str]:
    """Return the domain of every task."""
    return {task: task_spec(task).domain for task in tasks}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CalibrationResult:
    """What a run made and found."""

    calibration: Calibration
    bank: NoveltyBank
    fit: WatchedDreams
    test: WatchedDreams
    judged: tuple[Judged, ...]
    """The probability first, then every baseline."""
    numbers: dict[str, Any]


def run_calibration(run: CalibrationRun, *, on_dreams: OnDreams | None = None) -> CalibrationResult:
    """Watch, fit, judge, save; the same command goes on where it was interrupted."""
    cache = run.out / "dreams"
    fit, test = (
        watch_tasks(
            run.model,
            order,
            cache,
            num_workers=run.num_workers,
            device=run.device,
            on_dreams=on_dreams,
        )
        for order in (run.fit, run.test)
    )
    bank = build_bank(fit, num_per_task=run.bank_per_task)
    fit = with_novelty(fit, bank, excludes_own=True)
    test = with_novelty(test, bank, excludes_own=False)
    world, checkpoint = load_any_world(run.model, device=run.device), model_digest(run.model)
    trained = None
    if run.verifier is not None:
        trained = fit_verifier(world, fit, test, run.verifier)
        fit, test = trained.fit, trained.test
    order = FitOrder(
        setup=calibration_setup(checkpoint, world),
        domains=domains_of(tuple(set(fit.task))),
        options=OPTIONS if trained is None else (*OPTIONS, *WITH_VERIFIER),
    )
    calibration = _described(fit_calibration(fit, order), run)
    candidates = CANDIDATES if trained is None else {**CANDIDATES, SIGNAL: (SIGNAL,)}
    judged = judge_candidates(fit, test, order, candidates)
    numbers = calibration_numbers(calibration, judged, test)
    target = run.model if run.saves else run.out
    if trained is not None:
        numbers[SIGNAL] = judge_verifier(trained.verifier, test)
        save_verifier(trained.verifier, target, checkpoint=checkpoint)
    calibration.save(target)
    bank.save(target)
    write_json(run.out / "calibration-report.json", plain(numbers))
    return CalibrationResult(
        calibration=calibration,
        bank=bank,
        fit=fit,
        test=test,
        judged=tuple(judged),
        numbers=numbers,
    )


def report_calibration(result: CalibrationResult, path: Path, *, title: str) -> Path:
    """Write the HTML report of a run."""
    return write_calibration_report(
        path, result.judged, result.test, result.numbers, known=result.fit, title=title
    )


def _described(calibration: Calibration, run: CalibrationRun) -> Calibration:
    provenance = {
        "command": "reverie calibrate",
        "fitted_on": to_dict(run.fit),
        "bank": f"{run.bank_per_task} real frames a task of the same episodes",
    }
    return replace(calibration, provenance=provenance)


def calibration_numbers(
    calibration: Calibration, judged: Sequence[Judged], test: WatchedDreams
) -> dict[str, Any]:
    """Return the plain numbers of a judgement: every candidate, and the comparison that counts."""
    return {
        "candidates": {item.name: judged_numbers(item) for item in judged},
        **against_published(judged, test),
        "channels": list(calibration.channels),
        "num_fit_dreams": calibration.num_dreams,
        "num_test_dreams": test.num_rows,
        "alpha": ALPHA,
        "thresholds": {
            group: asdict(item) for group, item in calibration.thresholds[f"{ALPHA:g}"].items()
        },
    }


def against_published(judged: Sequence[Judged], test: WatchedDreams) -> dict[str, Any]:
    """Compare the probability with the best published predictor by the within-task AUROC."""
    by_name = {item.name: item for item in judged}
    best = max(
        (by_name[name] for name in PUBLISHED_SINGLE if name in by_name),
        key=lambda item: _or(item.diverged.within_mean, 0.0),
    )
    difference = compare_within(by_name["probability"].clip_scores, best.clip_scores, test)
    return {"best_published": best.name, "probability_minus_best_published": asdict(difference)}


def judged_numbers(item: Judged) -> dict[str, Any]:
    """Return the numbers of one candidate."""
    return {
        "ece": item.steps.ece,
        "brier": item.steps.brier,
        "log_loss": item.steps.log_loss,
        "base_rate": item.steps.base_rate,
        "num_steps": item.steps.num_steps,
        "num_steps_dropped": item.steps.num_dropped,
        "step_auroc": item.step_auroc,
        "spearman": asdict(item.gain),
        "auroc_divergence": asdict(item.diverged),
        "ece_by_task": {task: score.ece for task, score in item.by_task.items()},
        "reliability": [asdict(part) for part in item.steps.bins],
        "detection": {group: asdict(score) for group, score in item.detection.items()},
        "settled": asdict(item.settled),
    }


def _or(value: float, other: float) -> float:
    return other if math.isnan(value) else value


def judge_saved(calibration: Calibration, bank: NoveltyBank, dreams: WatchedDreams) -> Judged:
    """Judge a saved calibration on new dreams."""
    dreams = with_novelty(dreams, bank, excludes_own=False)
    return judge("probability", dreams, *apply_calibration(calibration, dreams))
