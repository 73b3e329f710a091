"""One simulator and one dream of it, moving under the same actions."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional

from reverie.core.seeds import child_seed
from reverie.core.types import Episode
from reverie.models.api import RolloutState, StepContext
from reverie.serve.lookout import Lookout, Seen, heat_of
from reverie.serve.protocol import Heat, Outlook
from reverie.serve.show import Measured, Show

Clock = Callable[[], float]

_SMALLEST_MSE = 1e-10
"""Equal pictures read 100 dB."""
_SMOOTHING = 0.9
"""Share that the running mean of a duration keeps per frame."""
_NOTHING = Measured(raw={}, normalised={})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moment:
    """What both worlds look like now."""

    real: UInt8[np.ndarray, "h w 3"]
    dream: UInt8[np.ndarray, "h w 3"]
    is_dreaming: bool
    """False while real frames are gathered; both pictures are real then."""
    horizon: int
    """Dreamed frames since the last real one."""
    measured: Measured
    outlook: Outlook | None
    heat: Heat | None
    psnr_db: float | None
    reward: float
    dreamed_reward: float | None
    continues: float | None
    score: float | None
    ending: str | None
    """Why the simulator's episode is over, or None while it runs."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    frame: UInt8[np.ndarray, "h w 3"]
    action: Float32[np.ndarray, " a"]
    """The action that led to the frame; zeros at the first one."""
    reward: float


class Stage:
    """Both worlds of one task. Holds the last real frames, never the whole episode."""

    def __init__(self, show: Show, task: str, *, context_frames: int, clock: Clock) -> None:
        """Make the simulator; ``reset`` begins.

        Args:
            show: The model.
            task: One of its tasks.
            context_frames: Real frames to gather before the dream begins; cut to what the model
                can use.
            clock: Used only to measure how long each world takes.
        """
        self.spec = show.spec(task)
        self.context_frames = min(context_frames, show.world.max_context)
        self.env = show.make_env(task)
        self.simulator_s: float | None = None
        self.dream_s: float | None = None
        self.episode_step = 0
        self._show = show
        self._clock = clock
        # One more than the model reads: the action that led to the oldest frame is then known.
        self._seen: deque[_Seen] = deque(maxlen=show.world.max_context + 1)
        self._state: RolloutState | None = None
        self._lookout: Lookout | None = None
        self._horizon = 0
        self._rng = torch.Generator(device=show.world.device)
        self.moment: Moment | None = None

    @property
    def context_seen(self) -> int:
        """Real frames gathered so far, at most ``context_frames``."""
        return min(len(self._seen), self.context_frames)

    def reset(self, seed: int) -> Moment:
        """Begin an episode in the simulator and forget the dream."""
        frame = self.env.reset(child_seed(seed, "env"))
        self._rng.manual_seed(child_seed(seed, "dream"))
        self._seen.clear()
        self._seen.append(_Seen(frame, np.zeros(self.spec.action.width, np.float32), 0.0))
        self.episode_step = 0
        self._state, self._horizon = None, 0
        self.moment = self._begin_dream_if_ready(score=None, ending=None)
        return self.moment

    def reseed(self) -> Moment | None:
        """Start the dream from the present real frames; None while too few are known."""
        if self.moment is None or len(self._seen) < self.context_frames:
            return None
        self.moment = self._begin_dream_if_ready(score=self.moment.score, ending=self.moment.ending)
        return self.moment

    def advance(self, action: Float32[np.ndarray, " a"]) -> Moment:
        """Step the simulator and, once it has begun, the dream."""
        begun_s = self._clock()
        result = self.env.step(action)
        self.simulator_s = _running(self.simulator_s, self._clock() - begun_s)
        self.episode_step += 1
        self._seen.append(_Seen(result.frame, action.copy(), result.reward))
        score = float(result.info["score"])
        ending = _ending(result.terminated, result.truncated)
        if self._state is None:
            self.moment = self._begin_dream_if_ready(score=score, ending=ending)
        else:
            self.moment = self._dream(action, score=score, ending=ending)
        return self.moment

    def close(self) -> None:
        """Release the simulator."""
        self.env.close()

    def _begin_dream_if_ready(self, *, score: float | None, ending: str | None) -> Moment:
        newest = self._seen[-1]
        dream, psnr_db = newest.frame, None
        if len(self._seen) >= self.context_frames:
            dream = self._begin_dream()
            psnr_db = psnr(newest.frame, dream)
        return Moment(
            real=newest.frame,
            dream=dream,
            is_dreaming=self._state is not None,
            horizon=self._horizon,
            measured=_NOTHING,
            outlook=None,
            heat=None,
            psnr_db=psnr_db,
            reward=newest.reward,
            dreamed_reward=None,
            continues=None,
            score=score,
            ending=ending,
        )

    @torch.inference_mode()
    def _begin_dream(self) -> UInt8[np.ndarray, "h w 3"]:
        world = self._show.world
        context = self._show.make_context(*self._recent_episode()).to(world.device)
        noise = world.draw_context_noise(1, context.num_frames, self._rng)
        self._state, self._horizon = world.start(context, noise), 0
        still = world.decode(self._state)[0].cpu().numpy()
        self._lookout = Lookout(self._show, context, self._state, still)
        return still

    def _recent_episode(self) -> tuple[Episode, int]:
        is_whole = len(self._seen) == self.episode_step + 1
        later = list(self._seen)[1:]
        width = self.spec.action.width
        episode = Episode(
            frames=np.stack([seen.frame for seen in self._seen]),
            actions=np.array([seen.action for seen in later], np.float32).reshape(-1, width),
            rewards=np.array([seen.reward for seen in later], np.float32),
            terminated=False,
            task=self.spec.name,
            source="human",
            seed=0,
        )
        return episode, 0 if is_whole else 1

    @torch.inference_mode()
    def _dream(
        self, action: Float32[np.ndarray, " a"], *, score: float | None, ending: str | None
    ) -> Moment:
        assert self._state is not None, "dreaming before the context was gathered"
        begun_s = self._clock()
        world, before = self._show.world, self._state
        row = torch.from_numpy(action).to(world.device)[None]
        padded = functional.pad(row, (0, world.action_width - row.shape[1]))
        after, prediction = world.step(before, padded, world.draw_noise(1, self._rng))
        picture = world.decode(after)[0].cpu().numpy()
        step = StepContext(before=before, action=padded, prediction=prediction, after=after)
        assert self._lookout is not None, "a dream runs without anybody looking"
        seen = self._lookout.look(world, step, self._seen[-1].frame, picture)
        moment = self._dreamed(picture, step, seen, score=score, ending=ending)
        self.dream_s = _running(self.dream_s, self._clock() - begun_s)
        return moment

    def _measure(self, step: StepContext, seen: Seen) -> Measured:
        if seen.signals and self._show.read_signals is not None:
            return self._show.read_signals(self.spec.name, seen.signals)
        return self._show.read(self._show.world, step)

    def _dreamed(
        self,
        picture: UInt8[np.ndarray, "h w 3"],
        step: StepContext,
        seen: Seen,
        *,
        score: float | None,
        ending: str | None,
    ) -> Moment:
        newest, prediction = self._seen[-1], step.prediction
        measured = self._measure(step, seen)
        self._state, self._horizon = step.after, self._horizon + 1
        return Moment(
            real=newest.frame,
            dream=picture,
            is_dreaming=True,
            horizon=self._horizon,
            measured=measured,
            outlook=seen.outlook,
            heat=heat_of(self._show.world, picture),
            psnr_db=psnr(newest.frame, picture),
            reward=newest.reward,
            dreamed_reward=float(prediction.reward[0]),
            continues=float(prediction.continues[0]),
            score=score,
            ending=ending,
        )


def psnr(real: UInt8[np.ndarray, "h w 3"], dream: UInt8[np.ndarray, "h w 3"]) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB, at most 100."""
    error = (real.astype(np.float64) - dream.astype(np.float64)) / 255.0
    return float(-10.0 * np.log10(max(np.mean(error**2), _SMALLEST_MSE)))


def _ending(terminated: bool, truncated: bool) -> str | None:
    if terminated:
        return "the task ended"
    return "the time limit was reached" if truncated else None


def _running(mean: float | None, value: float) -> float:
    return value if mean is None else _SMOOTHING * mean + (1.0 - _SMOOTHING) * value
