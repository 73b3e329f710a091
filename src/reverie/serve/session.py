"""One person at the page: messages in, messages out. No sockets, no threads, no own clock."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

import reverie
from reverie.core.errors import ReverieError
from reverie.core.seeds import child_seed, numpy_rng
from reverie.envs.api import Policy
from reverie.planning.live import Agent
from reverie.serve.drivers import Wander, rest_action
from reverie.serve.overlay import dream_level, judge, to_thresholds
from reverie.serve.protocol import (
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    Act,
    Autopilot,
    ClientMessage,
    Frame,
    Notice,
    Pause,
    Problem,
    ProtocolError,
    Reseed,
    Reset,
    SetAutopilot,
    SetRate,
    Shown,
    Start,
    Started,
    StepOnce,
    Welcome,
    finite_or_none,
)
from reverie.serve.show import Library, Show, find_show
from reverie.serve.stage import Clock, Moment, Stage

Outgoing = Welcome | Started | Notice | Problem | Shown

_SEED_BITS = 31
"""Drawn seeds are short enough for a person to type and for a browser's numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionConfig:
    """How a session begins."""

    rate_hz: float = 15.0
    """The benchmark's games were recorded at about this pace, and two cores can hold it."""
    context_frames: int = 8
    """Real frames before the dream begins: what the evaluation uses, so readings compare."""
    first_task: str | None = None
    """Task that the page opens; None opens the model's first one."""


class Session:
    """What one connection plays. Its memory does not grow with time."""

    def __init__(
        self, library: Library, *, root_seed: int, clock: Clock, config: SessionConfig
    ) -> None:
        """Begin with nothing on stage.

        Args:
            library: The models on offer; shared, never changed.
            root_seed: From which the session draws the seeds it is not given.
            clock: Only measures durations; when to tick is the caller's business.
            config: How it begins.
        """
        self._library = library
        self._root_seed = root_seed
        self._clock = clock
        self._config = config
        self._play: _Play | None = None
        self._num_starts = 0
        self._rate_hz = config.rate_hz
        self._due_s = 0.0

    @property
    def due_s(self) -> float | None:
        """When the next tick has something to do; None while nothing moves."""
        return self._due_s if self._play is not None and self._play.is_moving else None

    def welcome(self) -> Welcome:
        """Return the first message of the connection."""
        return Welcome(
            version=reverie.__version__,
            models=tuple(show.card() for show in self._library.values()),
            first_task=self._config.first_task,
            rate_hz=self._rate_hz,
            min_rate_hz=MIN_RATE_HZ,
            max_rate_hz=MAX_RATE_HZ,
        )

    def handle(self, message: ClientMessage) -> tuple[Outgoing, ...]:
        """Take one message of the page; what a person can do wrong comes back as a ``Problem``."""
        try:
            if isinstance(message, Start):
                return self._start(message)
            if isinstance(message, SetRate):
                return self._set_rate(message.rate_hz)
            return self._playing().handle(message)
        except ProtocolError as error:
            return (Problem(code="message", text=str(error)),)
        except ReverieError as error:
            return (Problem(code="unknown", text=str(error)),)

    def tick(self, now_s: float) -> tuple[Outgoing, ...]:
        """Advance by one frame if one is due.

        A session that fell behind does not hurry to catch up: frames are skipped, not queued.
        """
        due_s = self.due_s
        if due_s is None or self._play is None or now_s < due_s:
            return ()
        self._due_s = max(due_s + 1.0 / self._rate_hz, now_s)
        return self._play.tick(now_s)

    def close(self) -> None:
        """Release the simulator."""
        if self._play is not None:
            self._play.stage.close()
            self._play = None

    def _start(self, message: Start) -> tuple[Outgoing, ...]:
        show = find_show(self._library, message.model)
        stage = Stage(
            show, message.task, context_frames=self._config.context_frames, clock=self._clock
        )
        driver: Autopilot = "off" if self._play is None else self._play.driver
        self.close()
        seed = self._draw_seed() if message.seed is None else message.seed
        self._play = _Play(show, stage, seed=seed)
        self._due_s = 0.0
        texts = (show.notice, show.doubts.get(message.task))
        notices = [Notice(text=text) for text in texts if text is not None]
        return (*self._play.begin(driver), *notices)

    def _draw_seed(self) -> int:
        self._num_starts += 1
        return short_seed(self._root_seed, "start", self._num_starts)

    def _set_rate(self, rate_hz: float) -> tuple[Outgoing, ...]:
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise ProtocolError(
                f"The rate must lie in {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} frames per second, "
                f"got {rate_hz:g}."
            )
        self._rate_hz = rate_hz
        return ()

    def _playing(self) -> "_Play":
        if self._play is None:
            raise ProtocolError(
                "Nothing is being played yet. Send 'start' with a model and a task first."
            )
        return self._play


class _Play:
    """One task being played: the two worlds, and who holds the controls."""

    def __init__(self, show: Show, stage: Stage, *, seed: int) -> None:
        self.stage = stage
        self.driver: Autopilot = "off"
        self._show = show
        self._seed = seed
        self._policy: Policy | None = None
        self._agent: Agent | None = None
        self._action = rest_action(stage.spec)
        self._last_action = self._action
        self._is_paused = False
        self._steps_owed = 0
        self._is_over = False
        self._episode = 0
        self._num_shown = 0
        self._shown_times = _Pace()

    @property
    def is_moving(self) -> bool:
        return not self._is_paused or self._steps_owed > 0

    def handle(self, message: ClientMessage) -> tuple[Outgoing, ...]:
        match message:
            case Act(values=values):
                return self._set_action(values)
            case Pause(is_paused=is_paused):
                self._is_paused, self._steps_owed = is_paused, 0
                return (self._shown(),)
            case StepOnce():
                self._is_paused, self._steps_owed = True, 1
                return ()
            case Reset(seed=seed):
                return self._begin_episode(self._next_seed() if seed is None else seed)
            case Reseed():
                return self._reseed()
            case SetAutopilot(driver=driver):
                self._set_driver(driver)
                return (self._shown(),)
            case _:
                raise ProtocolError(f"The message {type(message).__name__} is not for now.")

    def begin(self, driver: Autopilot) -> tuple[Outgoing, ...]:
        """Show the first frame; a driver that the new task lacks gives way to the person."""
        lacks_expert = driver == "expert" and self.stage.spec.name not in self._show.expert_tasks
        lacks_agent = driver == "agent" and self._show.make_agent is None
        self.driver = "off" if lacks_expert or lacks_agent else driver
        return self._begin_episode(self._seed)

    def tick(self, now_s: float) -> tuple[Outgoing, ...]:
        self._steps_owed = max(self._steps_owed - 1, 0)
        self._shown_times.note(now_s)
        if self._is_over:
            return self._begin_episode(self._next_seed())
        self._last_action = self._choose_action()
        moment = self.stage.advance(self._last_action)
        self._num_shown += 1
        if moment.ending is None:
            return (self._shown(),)
        self._is_over = True
        score = "" if moment.score is None else f", score {moment.score:.2f}"
        text = f"Episode over after {self.stage.episode_step} steps: {moment.ending}{score}."
        return (self._shown(), Notice(text=f"{text} A new one begins."))

    def _begin_episode(self, seed: int) -> tuple[Outgoing, ...]:
        self._seed, self._is_over, self._steps_owed = seed, False, 0
        self._episode += 1
        self._last_action = rest_action(self.stage.spec)
        self.stage.reset(seed)
        self._num_shown += 1
        self._set_driver(self.driver)
        task = self.stage.spec.name
        started = Started(
            model=self._show.name,
            task=task,
            seed=seed,
            context_frames=self.stage.context_frames,
            thresholds=to_thresholds(self._show.limits.get(task, {})),
        )
        return (started, self._shown())

    def _next_seed(self) -> int:
        return short_seed(self._seed, "episode", self._episode)

    def _reseed(self) -> tuple[Outgoing, ...]:
        if self.stage.reseed() is None:
            needed = self.stage.context_frames - self.stage.context_seen
            return (Notice(text=f"The dream needs {needed} more real frames before it begins."),)
        return (self._shown(),)

    def _set_action(self, values: tuple[float, ...]) -> tuple[Outgoing, ...]:
        spec = self.stage.spec
        if len(values) != spec.action.width:
            raise ProtocolError(
                f"The task '{spec.name}' has {spec.action.width} action lanes, got "
                f"{len(values)} values."
            )
        action = np.clip(np.array(values, dtype=np.float32), -1.0, 1.0)
        self._action = _one_choice(action) if spec.action.kind == "discrete" else action
        if not action.any():
            self._action = rest_action(spec)
        return ()

    def _set_driver(self, driver: Autopilot) -> None:
        policy = self._make_policy(driver)
        if policy is not None:
            names = ("driver", driver, self.stage.episode_step)
            policy.start(self.stage.env, numpy_rng(self._seed, *names))
        self._agent = self._make_agent() if driver == "agent" else None
        self.driver, self._policy = driver, policy

    def _make_policy(self, driver: Autopilot) -> Policy | None:
        if driver in ("off", "agent"):
            return None
        if driver == "random":
            return Wander()
        task = self.stage.spec.name
        if task not in self._show.expert_tasks:
            raise ProtocolError(
                f"There is no scripted expert for '{task}'. Choose the random autopilot, or drive."
            )
        return self._show.make_expert(task)

    def _make_agent(self) -> Agent:
        if self._show.make_agent is None:
            raise ProtocolError(
                f"The model '{self._show.name}' has no controller of its own. Choose the random "
                f"autopilot, or drive."
            )
        return self._show.make_agent(self.stage.spec)

    def _choose_action(self) -> Float32[np.ndarray, " a"]:
        if self._agent is not None:
            assert self.stage.moment is not None, "an episode has begun"
            return self._agent.act(self.stage.moment.real)
        if self._policy is None:
            return self._action
        chosen = self._policy.act(self.stage.env, self.stage.episode_step)
        return np.clip(chosen, -1.0, 1.0).astype(np.float32, copy=False)

    def _shown(self) -> Shown:
        moment = self.stage.moment
        assert moment is not None, "a frame was asked for before the first reset"
        return Shown(frame=self._frame(moment), real=moment.real, dream=moment.dream)

    def _frame(self, moment: Moment) -> Frame:
        stage = self.stage
        limits = self._show.limits.get(stage.spec.name, {})
        readings = judge(moment.measured.raw, moment.measured.normalised, limits)
        return Frame(
            index=self._num_shown,
            height_px=moment.real.shape[0],
            width_px=moment.real.shape[1],
            phase="dream" if moment.is_dreaming else "context",
            context_seen=stage.context_seen,
            episode=self._episode,
            episode_step=stage.episode_step,
            horizon=moment.horizon,
            action=tuple(float(value) for value in self._last_action),
            driver=self.driver,
            readings=readings,
            level=dream_level(readings, moment.outlook),
            outlook=moment.outlook,
            heat=moment.heat,
            psnr_db=finite_or_none(moment.psnr_db),
            reward=float(moment.reward),
            dreamed_reward=finite_or_none(moment.dreamed_reward),
            continues=finite_or_none(moment.continues),
            score=finite_or_none(moment.score),
            shown_fps=self._shown_times.rate_hz(),
            dream_fps=_per_second(stage.dream_s),
            simulator_fps=_per_second(stage.simulator_s),
            is_paused=self._is_paused,
        )


class _Pace:
    """Frames per second over the last seconds, from the times of two ticks and their count."""

    _WINDOW_S = 2.0

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._count = 0
        self._rate_hz: float | None = None

    def note(self, now_s: float) -> None:
        if self._since_s is None:
            self._since_s = now_s
            return
        self._count += 1
        passed_s = now_s - self._since_s
        if passed_s >= self._WINDOW_S:
            self._rate_hz = self._count / passed_s
            self._since_s, self._count = now_s, 0

    def rate_hz(self) -> float | None:
        return self._rate_hz


def short_seed(root: int, *names: str | int) -> int:
    """Derive a seed of 31 bits, which people can type and browsers can hold."""
    return child_seed(root, *names) & ((1 << _SEED_BITS) - 1)


def _one_choice(action: Float32[np.ndarray, " a"]) -> Float32[np.ndarray, " a"]:
    return np.eye(len(action), dtype=np.float32)[int(np.argmax(action))]


def _per_second(duration_s: float | None) -> float | None:
    return None if duration_s is None or duration_s <= 0 else 1.0 / duration_s
