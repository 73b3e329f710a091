"""From what a watch sees to the features of a calibrated probability; no truth, no task names.

A *channel* is one number per step on a scale where logistic regression makes sense: logarithms of
readings, decibels of errors. Most channels also give their recent history: trailing mean, largest
value so far, and slope.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.core.registry import unknown_name_message
from reverie.hallucination.normalise import RunningMotion

Signals = Mapping[str, Float[Tensor, " b"]]

TRAILING_STEPS = 4
"""Steps of the trailing means: what the per-step divergence averages over."""
SMALLEST = 1e-6
"""Readings and errors are raised to this before a logarithm."""

_TO_DECIBEL = 10.0 / math.log(10.0)


def _log(values: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    # clamp() would turn NaN into the limit on some devices; what is undefined stays undefined.
    return torch.where(values.isnan(), values, values.clamp(min=SMALLEST)).log()


def _decibel(error: Float[Tensor, " b"], signals: Signals) -> Float[Tensor, " b"]:
    return _TO_DECIBEL * _log(error + signals["ceiling_mse"])


Channel = Callable[[Signals], Float[Tensor, " b"]]

CHANNELS: Mapping[str, Channel] = {
    "u_r": lambda s: _log(s["u_r"]),
    "u_f": lambda s: _log(s["u_f"]),
    "u_s": lambda s: _log(s["u_s"]),
    "m": lambda s: _log(s["m"]),
    "consistency": lambda s: _log(s["consistency"]),
    "response": lambda s: _log(s["response"]) - _log(s["m"]),
    "action": lambda s: s["action_size"],
    "step": lambda s: _log(s["step"]),
    # What the dream's error would be if a twin under other noise were the truth.
    "twin": lambda s: _decibel(s["twin_mse"], s),
    "moved": lambda s: _decibel(s["moved_mse"], s),
    "expected_gain": lambda s: _decibel(s["twin_mse"], s) - _decibel(s["moved_mse"], s),
    "ceiling": lambda s: _log(s["ceiling_mse"]),
    "hindcast": lambda s: _decibel(s["hindcast_mse"], s),
    "hindcast_gain": lambda s: (
        _decibel(s["hindcast_mse"], s) - _decibel(s["hindcast_still_mse"], s)
    ),
    # The same with other truths: each twin, for the still frame as well as for the dream.
    "twin_gain": lambda s: _decibel(s["twin_mse"], s) - _decibel(s["twin_still_mse"], s),
    "twin_worst": lambda s: -s["twin_worst_db"],
    "twin_spread": lambda s: _decibel(s["twin_spread_mse"], s),
    "outlier": lambda s: _decibel(s["twin_mse"], s) - _decibel(s["twin_spread_mse"], s),
    # A raw frame, repeated, carries no error of the tokenizer; the dream and its twins do.
    "raw_gain": lambda s: (
        _decibel(s["twin_mse"], s) - _TO_DECIBEL * _log(s["twin_raw_mse"] - s["ceiling_mse"])
    ),
    "frame_motion": lambda s: _decibel(s["frame_motion_mse"], s),
    "context_motion": lambda s: _decibel(s["context_motion_mse"], s),
    "slowing": lambda s: _decibel(s["context_motion_mse"], s) - _decibel(s["frame_motion_mse"], s),
    "knn_global": lambda s: _log(s["knn_global"]),
    "knn_local": lambda s: _log(s["knn_local"]),
    "verifier": lambda s: -s["verifier"],
}
"""Larger is more suspicious wherever that is known. ``m/mean`` needs no channel of its own."""

TOTALS: Mapping[str, tuple[Channel, Channel]] = {
    # The rollout gain so far, with the twins as the truth.
    "raw_total": (
        lambda s: s["twin_mse"] + s["ceiling_mse"],
        lambda s: (s["twin_raw_mse"] - s["ceiling_mse"]).clamp(min=SMALLEST),
    ),
    "still_total": (
        lambda s: s["twin_mse"] + s["ceiling_mse"],
        lambda s: s["twin_still_mse"] + s["ceiling_mse"],
    ),
}
"""Two signals that are summed over the dream so far; the channel is their ratio in decibels."""

CONSTANT = ("step", "ceiling", "hindcast", "hindcast_gain", "context_motion")
"""Channels whose history says nothing new."""
HISTORY = ("mean", "max", "slope")
MOTION_MEAN = "motion_mean"
"""Logarithm of the running mean of motion (decay 0.99, bias corrected)."""

PUBLISHED = ("u_r", "u_f", "u_s", "m", "step", MOTION_MEAN)
"""The predictors of arXiv 2606.27326, their motion, and the age of the dream."""
WATCHED = (
    *PUBLISHED,
    *("consistency", "response", "action", "twin", "moved", "expected_gain"),
    *("ceiling", "hindcast", "hindcast_gain"),
    *("twin_gain", "twin_worst", "twin_spread", "outlier", "raw_gain"),
    *("frame_motion", "context_motion", "slowing"),
    *("raw_total", "still_total"),
)
"""All that needs neither training data nor a verifier."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureState:
    """The recent history of every channel. A value: ``update`` returns the next one."""

    recent: Mapping[str, tuple[Float[Tensor, " b"], ...]] = field(default_factory=dict)
    largest: Mapping[str, Float[Tensor, " b"]] = field(default_factory=dict)
    motion: RunningMotion | None = None
    sums: Mapping[str, tuple[Float[Tensor, " b"], Float[Tensor, " b"]]] = field(
        default_factory=dict
    )

    def select(self, rows: Sequence[int]) -> "FeatureState":
        """Keep the given rows, in the given order."""
        index = list(rows)
        motion = self.motion
        if motion is not None:
            motion = RunningMotion(total=motion.total[index], weight=motion.weight)
        return FeatureState(
            recent={
                name: tuple(values[index] for values in kept) for name, kept in self.recent.items()
            },
            largest={name: values[index] for name, values in self.largest.items()},
            motion=motion,
            sums={name: (one[index], two[index]) for name, (one, two) in self.sums.items()},
        )


def feature_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Name every feature of some channels, in order.

    Raises:
        ConfigError: There is no such channel.
    """
    names: list[str] = []
    for channel in channels:
        known = (*CHANNELS, *TOTALS, MOTION_MEAN)
        if channel not in known:
            hint = f"Known channels: {', '.join(known)}"
            raise ConfigError(unknown_name_message("channel", channel, known, hint))
        names.append(channel)
        if channel in CHANNELS and channel not in CONSTANT:
            names += [f"{channel}/{kind}" for kind in HISTORY]
    return tuple(names)


def step_features(
    state: FeatureState, signals: Signals, channels: Sequence[str]
) -> tuple[FeatureState, Float[Tensor, "b f"]]:
    """Turn the signals of one more step into features, in the order of ``feature_names``.

    Args:
        state: Of the same dreams after the step before; a fresh one at the first step.
        signals: What the watch saw, and what else the channels need.
        channels: Which ones.
    """
    columns: list[Float[Tensor, " b"]] = []
    recent: dict[str, tuple[Float[Tensor, " b"], ...]] = {}
    largest: dict[str, Float[Tensor, " b"]] = {}
    sums: dict[str, tuple[Float[Tensor, " b"], Float[Tensor, " b"]]] = {}
    motion = state.motion
    for channel in channels:
        if channel == MOTION_MEAN:
            moved = signals["m"].double()
            motion = (motion or RunningMotion.start(len(moved))).update(moved)
            columns.append(_log(motion.value))
            continue
        if channel in TOTALS:
            above, below = (part(signals).double() for part in TOTALS[channel])
            before = state.sums.get(channel, (0.0, 0.0))
            sums[channel] = (before[0] + above, before[1] + below)
            columns.append(_TO_DECIBEL * (_log(sums[channel][0]) - _log(sums[channel][1])))
            continue
        value = CHANNELS[channel](signals).double()
        columns.append(value)
        if channel in CONSTANT:
            continue
        kept = (*state.recent.get(channel, ()), value)[-TRAILING_STEPS:]
        mean = torch.stack(kept).mean(dim=0)
        top = torch.maximum(state.largest[channel], value) if channel in state.largest else value
        recent[channel], largest[channel] = kept, top
        columns += [mean, top, value - mean]
    after = FeatureState(recent=recent, largest=largest, motion=motion, sums=sums)
    return after, torch.stack(columns, dim=1)


def dream_features(
    signals: Mapping[str, Float[Tensor, "b t"]], channels: Sequence[str]
) -> Float[Tensor, "b t f"]:
    """Turn the signals of whole dreams into features: the same, step by step."""
    state = FeatureState()
    num_steps = next(iter(signals.values())).shape[1]
    steps: list[Float[Tensor, "b f"]] = []
    for step in range(num_steps):
        at_step = {name: values[:, step] for name, values in signals.items()}
        state, values = step_features(state, at_step, channels)
        steps.append(values)
    return torch.stack(steps, dim=1)
