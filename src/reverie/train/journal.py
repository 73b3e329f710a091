"""What the loop writes down: metrics as JSON lines, progress for people, alarms."""

import math
import statistics
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from reverie.core.metrics import MetricWriter
from reverie.models.objective import LossReport
from reverie.parallel.checks import TrainingError
from reverie.parallel.ranks import Ranks
from reverie.train.progress import Audience, Progress

ALARM_RATIO = 10.0
"""A gradient this many times longer than the median of the recent ones is reported."""

_NUM_NORMS = 200
_MIN_NORMS = 20
_SMOOTHING = 0.5


class Journal:
    """Collects readings on the device; reads them only when it writes."""

    def __init__(
        self,
        phase: str,
        total_steps: int,
        *,
        metrics: MetricWriter | None,
        audience: Audience,
        ranks: Ranks,
    ) -> None:
        """Start with an empty page.

        Args:
            phase: What is trained.
            total_steps: Steps of the whole phase, for the time left.
            metrics: Where numbers go; None writes none.
            audience: Who is told.
            ranks: Readings are means over them.
        """
        self._ranks = ranks
        self._phase = phase
        self._total_steps = total_steps
        self._metrics = metrics
        self._audience = audience
        self._pending: list[dict[str, Tensor]] = []
        self._norms: deque[float] = deque(maxlen=_NUM_NORMS)
        self._lr = 0.0
        self._rate = 0.0
        self._since = time.perf_counter()

    def note(self, report: LossReport, *, gradient_norm: Tensor, lr: float) -> None:
        """Keep the readings of one step where they are."""
        own = {"loss": report.total.detach(), "gradient_norm": gradient_norm.detach()}
        self._pending.append(report.terms | own)
        self._lr = lr

    def flush(self, step: int, *, frames_per_step: int) -> None:
        """Write the means since the last flush, and raise if one is not finite on any rank.

        Every rank must call this together.

        Args:
            step: Steps done.
            frames_per_step: Frames per step, for the speed.
        """
        if not self._pending:
            return
        series = _to_floats(self._pending, self._ranks)
        num_steps, self._pending = len(self._pending), []
        self._check(series, step, num_steps)
        means = {name: statistics.fmean(values) for name, values in series.items()}
        now = time.perf_counter()
        rate = num_steps / max(now - self._since, 1e-9)
        self._since = now
        self._rate = rate if not self._rate else _blend(self._rate, rate)
        rates = {"steps": self._rate, "frames": self._rate * frames_per_step}
        speeds = {f"{name}_per_s": round(value, 3) for name, value in rates.items()}
        self.write(step, means | {"lr": self._lr} | speeds)
        self._audience.show(
            Progress(
                phase=self._phase, done=step, total=self._total_steps, rates=rates, values=means
            )
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of a step."""
        if self._metrics is not None and values:
            self._metrics.write(step, values)

    def saved(self, folder: Path | None) -> None:
        """Tell that a checkpoint is on the disk: from now on a crash cannot lose these steps."""
        if folder is not None:
            step = int(folder.name.removeprefix("step-"))
            self._audience.say(f"{self._phase}: saved step {step} in {folder}")

    def _check(self, series: Mapping[str, list[float]], step: int, num_steps: int) -> None:
        for name in ("loss", "gradient_norm"):
            for offset, value in enumerate(series[name]):
                if not math.isfinite(value):
                    raise TrainingError(
                        f"The {name.replace('_', ' ')} of the {self._phase} is {value} at step "
                        f"{step - num_steps + 1 + offset}. Nothing broken was saved: run the same "
                        f"command to go back to the last checkpoint; if it happens again, lower "
                        f"the learning rate."
                    )
        for norm in series["gradient_norm"]:
            if len(self._norms) >= _MIN_NORMS:
                median = statistics.median(self._norms)
                if norm > ALARM_RATIO * median:
                    self._alarm(step, norm, median)
            self._norms.append(norm)

    def _alarm(self, step: int, norm: float, median: float) -> None:
        self._audience.say(
            f"{self._phase}: the gradient norm reached {norm:.3g} before step {step}, "
            f"{norm / median:.0f} times its median {median:.3g}. It was clipped; if this repeats, "
            f"lower the learning rate."
        )
        self.write(step, {"alarm_gradient_norm": norm, "alarm_median": median})


def _to_floats(pending: list[dict[str, Tensor]], ranks: Ranks) -> dict[str, list[float]]:
    # Terms may differ between steps (a bootstrap term appears later), so each has its own list.
    series: dict[str, list[Tensor]] = {}
    for readings in pending:
        for name, value in readings.items():
            series.setdefault(name, []).append(value.float())
    return {name: ranks.mean(torch.stack(values)).tolist() for name, values in series.items()}


def _blend(old: float, new: float) -> float:
    return _SMOOTHING * old + (1 - _SMOOTHING) * new
