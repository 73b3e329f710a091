"""The dream of the classic family: V's latents, moved by M, as a ``WorldModel``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError, ShapeError
from reverie.models.api import LatentSpec, Noise, Prediction
from reverie.models.classic.mdn_rnn import MdnRnn
from reverie.models.classic.vae import Vae


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassicConfig:
    """What the dream needs beside V and M."""

    tasks: tuple[str, ...]
    terminating_tasks: tuple[str, ...] = ()
    """Tasks whose episodes can end by themselves; the others' dreams never do."""
    max_context: int = 16
    """Most real frames that a dream starts from; M reads them one after the other."""
    temperature: float = 1.0
    """Above 1 the dream is less certain than M, which a controller finds harder to exploit."""
    reads_cell: bool = False
    """Whether features hold the LSTM's cell state too, as TakeCover's controller reads it."""

    def __post_init__(self) -> None:
        """Refuse dreams without tasks or context."""
        if not self.tasks or self.max_context < 1 or self.temperature < 0:
            raise ConfigError(
                f"A dream needs a task, a context of at least 1 and a temperature of at least 0, "
                f"got {self.tasks}, {self.max_context} and {self.temperature}."
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassicState:
    """A dream between two steps. It has no cache, so it may be stepped any number of times."""

    latent: Float[Tensor, "b n d"]
    hidden: Float[Tensor, "b m"]
    cell: Float[Tensor, "b m"]
    is_first: Bool[Tensor, " b"]
    """True where the newest frame is the first of its episode."""
    action_mask: Float[Tensor, "b a"]
    num_frames: int
    task: tuple[str, ...]
    recent: Any = None
    """V's memory of real frames; None once frames are dreamed."""

    @property
    def num_rows(self) -> int:
        """Number of dreams that run side by side."""
        return self.latent.shape[0]

    def fork(self, num_copies: int) -> "ClassicState":
        """Repeat every row ``num_copies`` times (row-major)."""
        return self.select([row for row in range(self.num_rows) for _ in range(num_copies)])

    def select(self, rows: list[int]) -> "ClassicState":
        """Keep the given rows, in the given order."""
        index = torch.tensor(rows, dtype=torch.long, device=self.latent.device)
        return ClassicState(
            latent=self.latent[index],
            hidden=self.hidden[index],
            cell=self.cell[index],
            is_first=self.is_first[index],
            action_mask=self.action_mask[index],
            num_frames=self.num_frames,
            task=tuple(self.task[row] for row in rows),
            recent=None if self.recent is None else self.recent[index],
        )

    @staticmethod
    def join(states: Sequence["ClassicState"]) -> "ClassicState":
        """Put dreams of any age side by side; what V remembers of real frames is dropped."""
        lanes = ("latent", "hidden", "cell", "is_first", "action_mask")
        return ClassicState(
            **{name: torch.cat([getattr(state, name) for state in states]) for name in lanes},
            num_frames=max(state.num_frames for state in states),
            task=tuple(name for state in states for name in state.task),
        )


class ClassicWorld(nn.Module):
    """V and M as a ``WorldModel``: ``start``, ``step`` and ``decode`` draw nothing themselves.

    ``Noise.start`` is the normal of the Gaussian; the normal cumulative of ``Noise.commit`` is the
    uniform that picks the component. The trace of a step holds M's mean and the sample.
    """

    def __init__(self, vae: Vae, rnn: MdnRnn, config: ClassicConfig) -> None:
        """Put the parts together.

        Raises:
            ConfigError: M reads other latents than V makes.
        """
        super().__init__()
        if vae.config.latent_channels != rnn.config.latent_channels:
            raise ConfigError(
                f"V makes {vae.config.latent_channels} channels, M reads "
                f"{rnn.config.latent_channels}. Set both latent_channels alike."
            )
        self.vae, self.rnn, self.config = vae, rnn, config
        self.temperature = config.temperature

    @property
    def tokenizer(self) -> Vae:
        """V."""
        return self.vae

    @property
    def latent_spec(self) -> LatentSpec:
        """One token of V's channels."""
        return self.vae.spec

    @property
    def action_width(self) -> int:
        """Lanes of a padded action."""
        return self.rnn.config.action_width

    @property
    def max_context(self) -> int:
        """Most real frames that ``start`` uses."""
        return self.config.max_context

    @property
    def num_flow_steps(self) -> int:
        """Entries of a trace: M's mean, then the sample."""
        return 2

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks the model was trained on."""
        return self.config.tasks

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.vae.device

    @property
    def latent_limit(self) -> float:
        """Largest absolute value of a latent: there is none."""
        return math.inf

    @property
    def num_features(self) -> int:
        """Width of ``features``."""
        lanes = 2 if self.config.reads_cell else 1
        return self.vae.config.latent_channels + lanes * self.rnn.config.num_units

    def draw_context_noise(
        self, num_rows: int, num_frames: int, rng: torch.Generator
    ) -> Float[Tensor, "b t n d"]:
        """Draw the normals that turn posteriors of real frames into latents."""
        shape = (num_rows, num_frames, 1, self.latent_spec.num_channels)
        return torch.randn(shape, generator=rng, device=rng.device).to(self.device)

    def draw_noise(self, num_rows: int, rng: torch.Generator) -> Noise:
        """Draw the noise of one frame for ``num_rows`` rows."""
        pair = self.draw_context_noise(num_rows, 2, rng)
        return Noise(start=pair[:, 0], commit=pair[:, 1])

    @torch.no_grad()
    def start(self, context: Batch, noise: Float[Tensor, "b t n d"]) -> ClassicState:
        """Begin a dream from the last real frames of ``context`` (at most ``max_context``).

        Frames whose stack reaches back before the context are not shown to M, unless they begin
        an episode: their stacks would show a standing world.
        """
        if context.frames is None:
            raise ShapeError("A dream starts from real frames, but this batch has none.")
        used = min(context.num_frames, self.max_context)
        context = context.slice_time(context.num_frames - used, context.num_frames)
        context = context.to(self.device)
        assert context.frames is not None
        mean, log_variance, recent = self.vae.encode_posterior(context.frames)
        drawn = rearrange(noise[:, -used:].to(mean), "b t 1 d -> b t d")
        latents = mean + torch.exp(0.5 * log_variance) * drawn
        state = self.start_from_latents(
            latents,
            prev_actions=context.prev_actions,
            is_first=self.resets(context.is_first),
            action_mask=context.action_mask,
            task=context.task,
        )
        return replace(state, recent=recent, is_first=context.is_first[:, -1])

    @torch.no_grad()
    def start_from_latents(
        self,
        latents: Float[Tensor, "b t d"],
        *,
        prev_actions: Float[Tensor, "b t a"],
        is_first: Bool[Tensor, "b t"],
        action_mask: Float[Tensor, "b a"],
        task: tuple[str, ...],
    ) -> ClassicState:
        """Begin a dream from latents of real frames, all of which M reads but the last.

        Args:
            latents: Drawn from V's posteriors.
            prev_actions: Looking back, as in a ``Batch``.
            is_first: Where M's state is zero before it reads the frame.
            action_mask: 1 on the task's real lanes.
            task: Task name of each row.
        """
        mask = self._padded(action_mask.to(self.device))
        hidden = cell = latents.new_zeros(latents.shape[0], self.rnn.config.num_units)
        is_first = is_first.to(self.device)
        if latents.shape[1] > 1:
            actions = self._padded(prev_actions[:, 1:].to(self.device)) * mask[:, None]
            inputs = self.rnn.to_inputs(latents[:, :-1], actions, is_first[:, :-1])
            states, cell = self.rnn.lstm(inputs, is_first[:, :-1])
            # An episode may begin at the last frame: nothing led to it.
            keep = (~is_first[:, -1:]).to(states.dtype)
            hidden, cell = states[:, -1] * keep, cell * keep
        return ClassicState(
            latent=latents[:, -1:],
            hidden=hidden,
            cell=cell,
            is_first=is_first[:, -1],
            action_mask=mask,
            num_frames=latents.shape[1],
            task=task,
        )

    @torch.no_grad()
    def step(
        self, state: ClassicState, action: Float[Tensor, "b a"], noise: Noise
    ) -> tuple[ClassicState, Prediction]:
        """Dream one frame."""
        # Views instead of einops: a dream is thousands of small steps, its own cost would show.
        latent = state.latent[:, 0]
        hidden, cell = self._advance(state, action)
        mixture, end = self.rnn.mixture(hidden, latent)
        sample = mixture.sample(
            temperature=self.temperature,
            normal=noise.start[:, 0],
            uniform=self._uniform(noise),
        )
        ends = self.rnn.end_probability(end) * self._can_end(state.task, end.device)
        after = replace(
            state,
            latent=sample[:, None],
            hidden=hidden,
            cell=cell,
            is_first=torch.zeros_like(state.is_first),
            num_frames=state.num_frames + 1,
            recent=None,
        )
        prediction = Prediction(
            latent=after.latent,
            reward=self.rnn.expected_reward(hidden),
            continues=1 - ends,
            features=self.features(after),
            trace=torch.stack([mixture.mean(), sample], dim=1)[:, :, None],
        )
        return after, prediction

    @torch.no_grad()
    def observe(
        self,
        state: ClassicState,
        action: Float[Tensor, "b a"],
        frames: UInt8[Tensor, "b h w 3"],
        noise: Float[Tensor, "b n d"] | None = None,
    ) -> ClassicState:
        """Take in the real frame that an action led to, instead of dreaming it.

        Args:
            state: From ``start`` or ``observe``; not from ``step``.
            action: One action per row.
            frames: What the simulator shows.
            noise: Draws the latent from its posterior; None takes the mean.
        """
        mean, log_variance, recent = self.vae.encode_posterior(
            frames.to(self.device)[:, None], state.recent
        )
        latent = mean if noise is None else mean + torch.exp(0.5 * log_variance) * noise
        after = self.follow(state, action, latent, torch.zeros_like(state.is_first))
        return replace(after, recent=recent)

    def follow(
        self,
        state: ClassicState,
        action: Float[Tensor, "b a"],
        latent: Float[Tensor, "b 1 d"],
        is_first: Bool[Tensor, " b"],
    ) -> ClassicState:
        """Take in the latent of the real frame that an action led to.

        Args:
            state: At the frame before.
            action: One action per row.
            latent: Of the new frame.
            is_first: Where nothing led to it: M begins anew.
        """
        hidden, cell = self._advance(state, action)
        keep = (~is_first[:, None]).to(hidden.dtype)
        return replace(
            state,
            latent=latent,
            hidden=hidden * keep,
            cell=cell * keep,
            is_first=is_first,
            num_frames=state.num_frames + 1,
            recent=None,
        )

    def features(self, state: ClassicState) -> Float[Tensor, "b m"]:
        """Return what a controller reads: z, then c where configured, then h."""
        parts = [state.latent[:, 0], state.hidden]
        if self.config.reads_cell:
            parts.insert(1, state.cell)
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def decode(self, state: ClassicState) -> UInt8[Tensor, "b h w 3"]:
        """Show the newest frame."""
        frames, _ = self.vae.decode(rearrange(state.latent, "b n d -> b 1 n d"))
        return frames[:, 0]

    def _advance(
        self, state: ClassicState, action: Float[Tensor, "b a"]
    ) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
        latent = state.latent[:, 0]
        masked = self._padded(action.to(latent.device)) * state.action_mask
        inputs = self.rnn.to_inputs(latent, masked, state.is_first)
        return self.rnn.lstm.step(inputs, state.hidden, state.cell)

    def resets(self, is_first: Bool[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
        """Tell at which frames M begins anew: also where a stack reaches back too far."""
        num_incomplete = self.vae.config.num_stacked - 1
        if is_first.shape[1] <= num_incomplete:
            return is_first
        early = torch.arange(is_first.shape[1], device=is_first.device) <= num_incomplete
        return is_first | (early & ~is_first[:, :1])

    def _uniform(self, noise: Noise) -> Float[Tensor, "b d"]:
        commit = noise.commit[:, 0]
        return commit if self.rnn.config.num_components == 1 else torch.special.ndtr(commit)

    def _can_end(self, tasks: tuple[str, ...], device: torch.device) -> Float[Tensor, " b"] | float:
        names = self.config.terminating_tasks
        if all(task in names for task in self.config.tasks):
            return 1.0
        return torch.tensor([float(task in names) for task in tasks], device=device)

    def _padded(self, action: Float[Tensor, "*s a"]) -> Float[Tensor, "*s w"]:
        missing = self.action_width - action.shape[-1]
        if missing < 0:
            raise ShapeError(
                f"This model takes actions of up to {self.action_width} lanes, got "
                f"{action.shape[-1]}."
            )
        return torch.nn.functional.pad(action, (0, missing)) if missing else action
