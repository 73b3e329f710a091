"""All measurements of one model on one task, and their plain numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from reverie.core.seeds import numpy_rng
from reverie.core.types import Episode
from reverie.evaluate.action_following import Following, FollowingConfig, follow_actions
from reverie.evaluate.clips import Clips, cut_clips
from reverie.evaluate.heat import HeatScore, score_heat
from reverie.evaluate.live import ControlEffect
from reverie.evaluate.metrics import (
    IGNORED_RATIO,
    ClipGains,
    Drift,
    action_ratio,
    measure_drift,
    onsets,
    psnr,
    step_gains,
)
from reverie.evaluate.predictors import (
    TaskReadings,
    clip_readings,
    compare_predictors,
    step_readings,
)
from reverie.evaluate.reconstruction import Reconstruction, real_motion, reconstruct
from reverie.evaluate.rollout import Rollout, RolloutConfig, dream_clips, fit_config, measure_fps
from reverie.evaluate.statistics import bootstrap_mean
from reverie.evaluate.table import GAIN, RATIO, ClipTable
from reverie.hallucination.thresholds import TaskThresholds, fit_task
from reverie.models.api import WorldModel

MIN_RECONSTRUCTION_DB = 33.0
MIN_GAIN_DB = 0.0
MIN_RATIO = 1.5
"""What the shipped model is held to, on every task."""
RARELY_SHOWN = 0.05
"""Below this share of moments, the next frame cannot show what the last action was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How much is measured."""

    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    following: FollowingConfig = field(default_factory=FollowingConfig)
    clips_per_episode: int = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskEvaluation:
    """Everything measured on one task."""

    task: str
    clips: Clips
    reconstruction: Reconstruction
    rollout: Rollout
    gains: ClipGains
    following: Following
    single_step: Following | None
    """The same model with one substep a frame, to compare with published ratios."""
    control: ControlEffect | None
    """What actions change in the simulator; None without a simulator or varying actions."""
    motion: float
    """Mean motion of the real clips, in the tokenizer's own units."""
    dream_fps: float
    heat: HeatScore
    """How well the heat map points at what is wrong."""

    @property
    def diverged_steps(self) -> Bool[np.ndarray, "b t"]:
        """True where the dream is no better than the decoded still, over the last steps."""
        return step_gains(self.rollout.dream, self.rollout.decoded_still) <= 0.0

    @property
    def drift(self) -> Drift:
        """How the dream falls behind its tokenizer."""
        return measure_drift(self.rollout.dream, self.rollout.ceiling)

    @property
    def readings(self) -> TaskReadings:
        """What this task adds to the comparison of predictors."""
        ratio = self.following.ratio
        ignored = math.nan if math.isnan(ratio) else float(ratio <= IGNORED_RATIO)
        return TaskReadings(
            rollout=self.rollout, gains=self.gains, motion=self.motion, ignored=ignored
        )

    @property
    def is_shown_at_once(self) -> bool:
        """False where the simulator's next frame (almost) never depends on the last action."""
        return self.control is None or self.control.shows_next >= RARELY_SHOWN

    def thresholds(self) -> TaskThresholds:
        """Fit the task's limits to the floored readings of these dreams."""
        steps = step_readings(self.readings)
        floored = {
            name.partition("/")[0]: values
            for name, values in steps.items()
            if name.endswith("/floored")
        }
        return fit_task(floored, self.diverged_steps, motion=self.motion)


def evaluate_task(
    world: WorldModel,
    episodes: Sequence[Episode],
    config: EvaluationConfig,
    *,
    single_step: WorldModel | None = None,
    control: ControlEffect | None = None,
) -> TaskEvaluation:
    """Measure a model on held-out episodes of one task.

    Args:
        world: The model.
        episodes: Held-out episodes of one task, by a behaviour that moves.
        config: How much is measured.
        single_step: The same model with one substep a frame, or None.
        control: What actions change in the simulator, or None.
    """
    rollout_config = config.rollout
    clips = cut_clips(
        episodes,
        action_width=world.action_width,
        num_per_episode=config.clips_per_episode,
        num_frames=rollout_config.num_frames,
    )
    rollout_config = fit_config(world, clips, rollout_config)
    real = reconstruct(world, clips, batch_rows=rollout_config.batch_rows)
    rollout = dream_clips(world, clips, real, rollout_config)
    following = follow_actions(world, clips, real.latents, config.following)
    once = None
    if single_step is not None:
        once = follow_actions(single_step, clips, real.latents, config.following)
    return TaskEvaluation(
        task=clips.task,
        clips=clips,
        reconstruction=real,
        rollout=rollout,
        gains=ClipGains.of(
            dream=rollout.dream, still=rollout.still, decoded_still=rollout.decoded_still
        ),
        following=following,
        single_step=once,
        control=control,
        motion=real_motion(world, real.latents),
        dream_fps=measure_fps(world, clips, rollout_config),
        heat=score_heat(world, clips, rollout.frames, context=rollout_config.context),
    )


def task_numbers(task: TaskEvaluation) -> dict[str, Any]:
    """Return the numbers of one task, JSON-compatible; None where one is undefined."""
    moving = task.gains.moving_gain[~task.gains.is_static]
    decoded = task.gains.gain_decoded[~task.gains.is_static]
    following, once, drift = task.following, task.single_step, task.drift
    onset = onsets(task.diverged_steps)
    return plain(
        {
            "reconstruction_psnr_db": psnr(task.reconstruction.errors.mean()),
            "reconstruction_single_frame_psnr_db": psnr(task.reconstruction.single_errors.mean()),
            "rollout_gain_db": _mean(moving),
            "rollout_gain_interval_db": bootstrap_mean(
                moving, rng=numpy_rng(0, "interval", task.task)
            ),
            "rollout_gain_median_db": _median(moving),
            "rollout_gain_decoded_db": _mean(decoded),
            "action_shuffle_ratio": following.ratio,
            "action_shuffle_ratio_4_steps": following.ratio_later,
            "zero_action_ratio": following.ratio_of("zero"),
            "time_shuffle_ratio": following.ratio_of("time"),
            "sequence_shuffle_ratio": following.ratio_of("sequence"),
            "sequence_shuffle_ratio_one_substep": once.ratio_of("sequence") if once else math.nan,
            "action_shuffle_ratio_one_substep": once.ratio if once else math.nan,
            "dream_fps": task.dream_fps,
            "rollout_psnr_db": psnr(task.rollout.dream.mean()),
            "persistence_psnr_db": psnr(task.rollout.still.mean()),
            "tokenizer_ceiling_psnr_db": psnr(task.rollout.ceiling.mean()),
            "drift_gap_db": drift.gap_db,
            "drift_slope_db_per_segment": drift.slope_db,
            "num_clips": task.clips.num_clips,
            "num_static_clips": int(task.gains.is_static.sum()),
            "num_diverged_clips": int(task.gains.has_diverged.sum()),
            "diverged_step_share": task.diverged_steps.mean(),
            "median_divergence_onset": _median(onset),
            "num_short_episodes": task.clips.num_short_episodes,
            "num_windows": len(following.true),
            "num_windows_without_donor": following.num_without_donor,
            "ignored_window_share": _mean(following.ignored),
            "num_undefined_readings": {
                name: int((~np.isfinite(values)).sum())
                for name, values in task.rollout.readings.items()
            },
            "mean_readings": {
                name: _mean(values) for name, values in task.rollout.readings.items()
            },
            "real_motion": task.motion,
            "heat_auroc": task.heat.auroc,
            "heat_motion_auroc": task.heat.motion_auroc,
            "num_heat_clips": task.heat.num_clips,
            "control": None if task.control is None else asdict(task.control),
        }
    )


def all_numbers(tasks: Sequence[TaskEvaluation]) -> dict[str, Any]:
    """Return the numbers of every task, their means, and the comparison of predictors."""
    by_task = {task.task: task_numbers(task) for task in tasks}
    means = {
        name: plain(_mean(np.array([_number(numbers[name]) for numbers in by_task.values()])))
        for name in (
            "reconstruction_psnr_db",
            "rollout_gain_db",
            "action_shuffle_ratio",
            "action_shuffle_ratio_4_steps",
            "dream_fps",
        )
    }
    scores = compare_predictors([task.readings for task in tasks])
    return {
        "tasks": by_task,
        "mean": means,
        "predictors": {score.name: plain(asdict(score)) for score in scores},
        "misses": {task.task: misses for task in tasks if (misses := list_misses(task))},
    }


def clip_table(tasks: Sequence[TaskEvaluation]) -> ClipTable:
    """Return one row a clip: ratio, readings over the clip's mean motion, gain (may be NaN)."""
    names = {"u_r/clip": "u_r_norm", "u_f/clip": "u_f_norm", "u_s/clip": "u_s_norm", "m": "m"}
    columns: dict[str, list[Float[np.ndarray, " clips"]]] = {RATIO: [], GAIN: []}
    for task in tasks:
        readings = clip_readings(task.readings)
        # Windows are listed clip by clip, as many in each.
        errors = [
            values.reshape(task.clips.num_clips, -1)
            for values in (task.following.true, task.following.others["shuffled"])
        ]
        ratios = [action_ratio(true, other) for true, other in zip(*errors, strict=True)]
        columns[RATIO].append(np.array(ratios))
        columns[GAIN].append(task.gains.moving_gain)
        nothing = np.full(task.clips.num_clips, np.nan)
        for name, column in names.items():
            columns.setdefault(column, []).append(readings.get(name, nothing))
    return ClipTable(
        tasks=tuple(task.task for task in tasks for _ in range(task.clips.num_clips)),
        values={name: np.concatenate(parts) for name, parts in columns.items()},
    )


def list_misses(task: TaskEvaluation) -> list[str]:
    """Say, in sentences, which bars a task misses and what is known of the reason."""
    numbers = task_numbers(task)
    found: list[str] = []
    quality = _number(numbers["reconstruction_psnr_db"])
    if not quality >= MIN_RECONSTRUCTION_DB:
        found.append(f"reconstruction {quality:.1f} dB is below {MIN_RECONSTRUCTION_DB:.0f} dB")
    gain = _number(numbers["rollout_gain_db"])
    if not gain > MIN_GAIN_DB:
        reason = " (every clip is static)" if math.isnan(gain) else ""
        found.append(f"rollout gain {gain:.2f} dB is not above {MIN_GAIN_DB:.0f} dB{reason}")
    ratio = _number(numbers["action_shuffle_ratio"])
    if not ratio >= MIN_RATIO:
        text = f"action-shuffle ratio {ratio:.2f} is below {MIN_RATIO}"
        if not task.is_shown_at_once and task.control is not None:
            text += (
                f"; in the simulator another last action changes the next frame in only "
                f"{task.control.shows_next:.0%} of moments, so no model can show it one step "
                f"ahead (after 4 steps the ratio is "
                f"{_number(numbers['action_shuffle_ratio_4_steps']):.2f})"
            )
        elif math.isnan(ratio):
            text = "action-shuffle ratio is undefined: actions do not vary"
        found.append(text)
    return found


def plain(value: Any) -> Any:
    """Turn numbers into what JSON can hold; not-a-number and infinities become None."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating, np.ndarray)):
        number = float(value)
        return number if math.isfinite(number) else None
    return value


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _mean(values: Float[np.ndarray, "*any"]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _median(values: Float[np.ndarray, "*any"]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan
