"""Controllers in the real simulator: many episodes side by side, one batch for the world model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from reverie.core.batch import Batch
from reverie.core.seeds import child_seed, numpy_rng
from reverie.core.types import Episode
from reverie.envs.api import TaskEnv
from reverie.envs.spec import TaskSpec
from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.world import ClassicState, ClassicWorld


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveConfig:
    """How controllers act in the simulator."""

    max_steps: int = 1_000_000
    """Stop before the task's own limit."""
    random_share: float = 0.0
    """Chance of each action to be random, for collection."""
    lean_steps: float = 0.0
    """Mean number of steps for which random actions push to the same side; 0 draws each anew."""
    samples_latents: bool = False
    """Act on a sample of the posterior instead of its mean."""
    source: str = "controller"
    """What episodes record as their behaviour."""


class LiveEpisode:
    """One episode while it is played."""

    def __init__(self, env: TaskEnv, seed: int, *, snapshot: object | None = None) -> None:
        """Reset the simulator; the same seed meets the same start as any other behaviour.

        Args:
            env: The simulator.
            seed: Of the episode.
            snapshot: Go on from there instead; what was earned before does not count.
        """
        self.env, self.seed = env, seed
        is_new = snapshot is None
        self.frames = [env.reset(child_seed(seed, "env")) if is_new else env.restore(snapshot)]
        self.rng = numpy_rng(seed, "policy")
        self.lean: np.ndarray | None = None
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []
        self.terminated = self.is_over = False
        self.score = float("nan")

    def step(self, action: np.ndarray, *, max_steps: int, keeps_frames: bool) -> None:
        """Advance; without ``keeps_frames`` only the newest frame is held."""
        result = self.env.step(action)
        if not keeps_frames:
            self.frames.clear()
        self.frames.append(result.frame)
        self.actions.append(action)
        self.rewards.append(result.reward)
        self.terminated, self.score = result.terminated, float(result.info["score"])
        self.is_over = result.terminated or result.truncated or len(self.rewards) >= max_steps

    def to_episode(self, source: str) -> Episode:
        """Return the whole episode."""
        return Episode(
            frames=np.stack(self.frames),
            actions=np.stack(self.actions).astype(np.float32),
            rewards=np.asarray(self.rewards, dtype=np.float32),
            terminated=self.terminated,
            task=self.env.spec.name,
            source=source,
            seed=self.seed,
            score=self.score,
        )


def play_live(
    world: ClassicWorld,
    controller: ControllerConfig,
    parameters: Float[Tensor, "k p"],
    envs: Sequence[TaskEnv],
    seeds: Sequence[int],
    *,
    config: LiveConfig = LiveConfig(),  # noqa: B008
    keeps_frames: bool = False,
) -> list[LiveEpisode]:
    """Play one episode per environment, all at once.

    Args:
        world: Encodes frames and carries M's state.
        controller: Shape of the controller.
        parameters: One vector for all episodes, or one per episode.
        envs: As many as episodes run side by side.
        seeds: One per environment.
        config: How to act.
        keeps_frames: Keep all frames, for storing.

    Returns:
        The finished episodes, in the order of the seeds.
    """
    episodes = [LiveEpisode(env, seed) for env, seed in zip(envs, seeds, strict=True)]
    weights = parameters.expand(len(episodes), -1)
    state = first_state(world, episodes)
    _play_on(world, controller, weights, episodes, state, config, keeps_frames=keeps_frames)
    return episodes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moment:
    """A moment of a real episode from which many controllers can go on."""

    snapshot: object
    """Of the simulator."""
    state: ClassicState
    """One row that has seen the real frames before."""
    seed: int
    """Of the episode."""


def play_from(
    world: ClassicWorld,
    controller: ControllerConfig,
    parameters: Float[Tensor, "k p"],
    envs: Sequence[TaskEnv],
    moment: Moment,
    *,
    config: LiveConfig = LiveConfig(),  # noqa: B008
) -> list[LiveEpisode]:
    """Let every controller go on from one and the same moment; steps before it do not count.

    Args:
        world: Encodes frames and carries M's state.
        controller: Shape of the controllers.
        parameters: One vector each.
        envs: Of the moment's task; so many episodes run side by side.
        moment: Where all begin.
        config: How to act.
    """
    played: list[LiveEpisode] = []
    for weights in parameters.split(len(envs)):
        episodes = [
            LiveEpisode(env, moment.seed, snapshot=moment.snapshot) for env in envs[: len(weights)]
        ]
        state = moment.state.fork(len(weights))
        _play_on(world, controller, weights, episodes, state, config, keeps_frames=False)
        played += episodes
    return played


def _play_on(
    world: ClassicWorld,
    controller: ControllerConfig,
    weights: Float[Tensor, "k p"],
    episodes: Sequence[LiveEpisode],
    state: ClassicState,
    config: LiveConfig,
    *,
    keeps_frames: bool,
) -> None:
    """Play episodes that have begun to their ends, one vector of weights each."""
    rng = torch.Generator(device=world.device)
    rng.manual_seed(child_seed(episodes[0].seed, "posterior"))
    running = list(range(len(episodes)))
    while running:
        features = rearrange(world.features(state), "b m -> 1 b m")
        chosen = act(controller, weights[running], features)[0].cpu().numpy().astype(np.float32)
        for row, index in enumerate(running):
            chosen[row] = _explored(chosen[row], episodes[index], config)
            episodes[index].step(chosen[row], max_steps=config.max_steps, keeps_frames=keeps_frames)
        kept = [row for row, index in enumerate(running) if not episodes[index].is_over]
        running = [running[row] for row in kept]
        if running:
            frames = np.stack([episodes[index].frames[-1] for index in running])
            noise = None
            if config.samples_latents:
                noise = world.draw_context_noise(len(running), 1, rng)[:, 0]
            actions = torch.from_numpy(chosen[kept])
            state = world.observe(state.select(kept), actions, torch.from_numpy(frames), noise)


def play_many(
    world: ClassicWorld,
    controller: ControllerConfig,
    parameters: Float[Tensor, "k p"],
    envs: Sequence[TaskEnv],
    seeds: Sequence[int],
    *,
    config: LiveConfig = LiveConfig(),  # noqa: B008
    keeps_frames: bool = False,
) -> Iterator[LiveEpisode]:
    """Play more episodes than there are environments, batch after batch, as ``play_live`` does.

    Yields:
        The episodes of a batch once it is finished, in the order of the seeds.
    """
    weights = parameters.expand(len(seeds), -1)
    for first in range(0, len(seeds), len(envs)):
        batch = slice(first, first + len(envs))
        yield from play_live(
            world,
            controller,
            weights[batch],
            envs[: len(seeds[batch])],
            seeds[batch],
            config=config,
            keeps_frames=keeps_frames,
        )


def first_state(world: ClassicWorld, episodes: Sequence[LiveEpisode]) -> ClassicState:
    """Begin at the first frames of episodes, on the means of their posteriors."""
    frames = np.stack([episode.frames[0] for episode in episodes])
    return _begin(world, frames, episodes[0].env.spec)


class Agent:
    """A model's own controller in one episode: it sees frames, and nothing else."""

    def __init__(
        self,
        world: ClassicWorld,
        controller: ControllerConfig,
        parameters: Float[Tensor, " p"],
        spec: TaskSpec,
    ) -> None:
        """Wait for the first frame.

        Args:
            world: Whose state the controller reads.
            controller: Its shape.
            parameters: Its weights.
            spec: Task of the episode.
        """
        self._world, self._controller, self._parameters = world, controller, parameters
        self._spec = spec
        self._state: ClassicState | None = None
        self._action = torch.zeros(1, spec.action.width)

    @torch.no_grad()
    def act(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " a"]:
        """Take the newest frame in, to which the last action led, and choose the next action."""
        if self._state is None:
            self._state = _begin(self._world, frame[None], self._spec)
        else:
            seen = torch.from_numpy(frame.copy())[None]
            self._state = self._world.observe(self._state, self._action, seen)
        features = rearrange(self._world.features(self._state), "b m -> 1 b m")
        self._action = act(self._controller, self._parameters[None], features)[0]
        return self._action[0].cpu().numpy().astype(np.float32)

    def did(self, action: Float32[np.ndarray, " a"]) -> None:
        """Remember that another action than the chosen one was taken."""
        self._action = torch.from_numpy(action)[None]


def _begin(
    world: ClassicWorld, frames: UInt8[np.ndarray, "b h w 3"], spec: TaskSpec
) -> ClassicState:
    rows, width = len(frames), world.action_width
    mask = torch.zeros(rows, width)
    mask[:, : spec.action.width] = 1.0
    context = Batch(
        frames=torch.from_numpy(frames)[:, None],
        prev_actions=torch.zeros(rows, 1, width),
        prev_rewards=torch.zeros(rows, 1),
        action_mask=mask,
        is_first=torch.ones(rows, 1, dtype=torch.bool),
        is_terminal=torch.zeros(rows, 1, dtype=torch.bool),
        task=(spec.name,) * rows,
    )
    still = torch.zeros(rows, 1, 1, world.latent_spec.num_channels, device=world.device)
    return world.start(context, still)


def _explored(action: np.ndarray, episode: LiveEpisode, config: LiveConfig) -> np.ndarray:
    if not config.random_share:
        return action
    rng = episode.rng
    if config.lean_steps and (episode.lean is None or rng.random() * config.lean_steps < 1):
        episode.lean = rng.choice([-1.0, 1.0], action.shape).astype(np.float32)
    if rng.random() >= config.random_share:
        return action
    if episode.lean is not None:
        return episode.lean
    return rng.uniform(-1.0, 1.0, action.shape).astype(np.float32)
