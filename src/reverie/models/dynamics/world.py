"""The dream itself: start from real frames, step under actions, decode to pictures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError, ShapeError
from reverie.models.api import LatentSpec, Noise, Prediction, TokenizerProtocol
from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, PolicyHead, RewardHead
from reverie.models.dynamics.net import DynamicsNet, FrameInputs, NewFrame
from reverie.models.dynamics.precondition import Previous
from reverie.models.dynamics.shortcut import Labels, ShortcutFlow
from reverie.nn.attention import KeysValues
from reverie.nn.blocks import banded_mask
from reverie.nn.kv_cache import Cache
from reverie.nn.recorded import Recorded, Tape


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DreamState:
    """All that a dream of the shortcut transformer carries between steps."""

    latent: Float[Tensor, "b n d"]
    num_frames: int
    task: tuple[str, ...]
    cache: Cache
    committed: Float[Tensor, "b n d"]
    """The newest frame as it entered the cache: with a little noise."""
    language: Float[Tensor, "b e"]
    action_mask: Float[Tensor, "b a"]
    recent: Float[Tensor, "b t n d"]
    """Latents that the tokenizer's decoder looks back at, the newest last."""

    @property
    def num_rows(self) -> int:
        """Number of dreams that run side by side."""
        return self.latent.shape[0]

    def fork(self, num_copies: int) -> "DreamState":
        """Repeat every row ``num_copies`` times; the past is shared, not copied."""
        rows = [row for row in range(self.num_rows) for _ in range(num_copies)]
        return self._pick(rows, self.cache.fork(num_copies))

    def select(self, rows: list[int]) -> "DreamState":
        """Keep the given rows, in the given order."""
        return self._pick(rows, self.cache.select(rows))

    @staticmethod
    def join(states: "Sequence[DreamState]") -> "DreamState":
        """Put dreams of any age side by side; all must have begun from a full context."""
        lanes = ("latent", "committed", "language", "action_mask", "recent")
        return DreamState(
            **{name: torch.cat([getattr(state, name) for state in states]) for name in lanes},
            num_frames=max(state.num_frames for state in states),
            task=tuple(name for state in states for name in state.task),
            cache=Cache.join([state.cache for state in states]),
        )

    def _pick(self, rows: list[int], cache: Cache) -> "DreamState":
        index = torch.tensor(rows, dtype=torch.long, device=self.latent.device)
        return replace(
            self,
            latent=self.latent[index],
            task=tuple(self.task[row] for row in rows),
            cache=cache,
            committed=self.committed[index],
            language=self.language[index],
            action_mask=self.action_mask[index],
            recent=self.recent[index],
        )


class ShortcutWorld(nn.Module):
    """A tokenizer, a denoiser and heads, as a ``WorldModel``. K + 1 forwards a frame."""

    def __init__(
        self,
        tokenizer: nn.Module,
        net: DynamicsNet,
        reward_head: RewardHead | None,
        continue_head: ContinueHead | None,
        policy_head: PolicyHead | None = None,
    ) -> None:
        """Put the parts together; ``tokenizer`` implements ``TokenizerProtocol``.

        A model without a reward head predicts 0, one without a continue head never ends.
        """
        super().__init__()
        self._tokenizer = tokenizer
        self.net, self.reward_head, self.continue_head = net, reward_head, continue_head
        self.policy_head = policy_head
        self.flow = ShortcutFlow(config=net.config.shortcut)
        self.num_flow_steps = net.config.num_flow_steps
        self._recorded: Recorded | None = None

    @property
    def tokenizer(self) -> TokenizerProtocol:
        """The frozen tokenizer."""
        return self._tokenizer  # type: ignore[return-value]

    @property
    def latent_spec(self) -> LatentSpec:
        """Shape and scale of the latents."""
        return self.tokenizer.spec

    @property
    def action_width(self) -> int:
        """Lanes of a padded action."""
        return self.net.config.action_width

    @property
    def max_context(self) -> int:
        """Most real frames that ``start`` uses."""
        config = self.net.config
        # Where positions are absolute, the dreamed frame must keep a trained one.
        is_absolute = config.stack.quirks.has_mismatched_rope and config.context > 1
        return config.context - int(is_absolute)

    @property
    def heads(self) -> HeadsConfig:
        """Config of the heads."""
        for head in (self.reward_head, self.continue_head, self.policy_head):
            if head is not None:
                return head.config
        return HeadsConfig(has_reward=False, has_continue=False)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks the model was trained on."""
        return self.net.config.tasks

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.net.action_base.device

    @property
    def latent_limit(self) -> float:
        """Largest absolute value of a latent in model units."""
        if self.net.config.stack.quirks.has_unbounded_latents:
            return math.inf
        return 1 / self.latent_spec.scale

    @property
    def commit_signal(self) -> float:
        """Signal at which frames enter the cache."""
        return self.net.config.signal_at_commit

    def record(self, tape: Tape | None = None) -> None:
        """From now on replay each forward of a dreamed frame as one CUDA graph (``nn.recorded``).

        Moving or converting the model ends that.

        Args:
            tape: How to record; None takes CUDA graphs.

        Raises:
            ConfigError: CUDA graphs are wanted and the model is not on a GPU.
        """
        if tape is None and self.device.type == "cpu":
            raise ConfigError(
                "CUDA graphs need a model on a GPU, this one is on 'cpu'. Choose another device, "
                "or leave them out."
            )
        self._recorded = Recorded(self.net.step, tape)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "ShortcutWorld":
        # Recordings read the weights where they lie.
        self._recorded = None
        return super()._apply(fn, recurse)

    def draw_context_noise(
        self, num_rows: int, num_frames: int, rng: torch.Generator
    ) -> Float[Tensor, "b t n d"]:
        """Draw the noise that ``start`` needs."""
        spec = self.latent_spec
        shape = (num_rows, num_frames, spec.num_tokens, spec.num_channels)
        return torch.randn(shape, generator=rng, device=rng.device).to(self.device)

    def draw_noise(self, num_rows: int, rng: torch.Generator) -> Noise:
        """Draw the noise of one frame for ``num_rows`` rows."""
        pair = self.draw_context_noise(num_rows, 2, rng)
        return Noise(start=pair[:, 0], commit=pair[:, 1])

    @torch.no_grad()
    def start(self, context: Batch, noise: Float[Tensor, "b t n d"]) -> DreamState:
        """Begin a dream from the last real frames of ``context`` (at most ``max_context``)."""
        if context.frames is None:
            raise ShapeError("A dream starts from real frames, but this batch has none.")
        used = min(context.num_frames, self.max_context)
        context = context.slice_time(context.num_frames - used, context.num_frames)
        context = context.to(self.device)
        assert context.frames is not None
        latents, _ = self.tokenizer.encode(context.frames)
        return self.start_from_latents(latents, context, noise[:, -used:])

    @torch.no_grad()
    def start_from_latents(
        self,
        latents: Float[Tensor, "b t n d"],
        context: Batch,
        noise: Float[Tensor, "b t n d"],
    ) -> DreamState:
        """Begin a dream from latents of real frames; at most ``max_context`` of them."""
        level = self.net.config.commit_level
        return self.start_from_committed(latents, self._committed(latents, noise), context, level)

    @torch.no_grad()
    def start_from_committed(
        self,
        latents: Float[Tensor, "b t n d"],
        noisy: Float[Tensor, "b t n d"],
        context: Batch,
        level: int,
    ) -> DreamState:
        """Begin a dream from frames with noise mixed in already, told as signal ``level``."""
        config = self.net.config
        action_mask = self._padded(context.action_mask)
        actions, has_action = self._padded(context.prev_actions), ~context.is_first
        if config.stack.quirks.zeroes_first_action:
            actions, has_action = actions.clone(), torch.ones_like(has_action)
            actions[:, 0] = 0
        language = self.net.language_of(context.task, context.language, self.device)
        inputs = FrameInputs.told(actions, action_mask, has_action, language)
        labels = self._labels(latents.shape[0], latents.shape[1], level)
        mask = banded_mask(latents.shape[1], config.context, self.device)
        _, _, past = self.net(noisy, labels, inputs, mask)
        return DreamState(
            latent=latents[:, -1],
            num_frames=latents.shape[1],
            task=context.task,
            cache=Cache.from_window(
                past,
                config.context,
                is_mismatched=config.stack.quirks.has_mismatched_rope,
            ),
            committed=noisy[:, -1],
            language=language,
            action_mask=action_mask,
            recent=latents[:, -self._decoder_memory :],
        )

    @torch.no_grad()
    def step(
        self, state: DreamState, action: Float[Tensor, "b a"], noise: Noise
    ) -> tuple[DreamState, Prediction]:
        """Dream one frame: K denoising forwards, then one that commits the finished frame.

        Raises:
            StaleStateError: The state was stepped before; fork it first.
        """
        position, past = state.cache.blocks()
        held = torch.full((state.num_rows, 1), self.commit_signal, device=self.device)
        before = Previous(state.committed[:, None], held, torch.ones_like(held, dtype=torch.bool))
        told = torch.ones(state.num_rows, 1, dtype=torch.bool, device=self.device)
        actions = self._padded(action)[:, None]
        inputs = FrameInputs.told(actions, state.action_mask, told, state.language)
        new = self.net.prepare(inputs, position, past, before)
        seen = torch.empty(0)

        def denoise(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
            nonlocal seen
            labels = Labels(level, exponent)
            clean, seen, _ = self.denoise(z[:, 0], labels, new)
            return clean[:, None]

        clean, trace = self.flow.integrate(
            denoise, noise.start[:, None], self.num_flow_steps, self.latent_limit
        )
        labels = self._labels(state.num_rows, 1, self.net.config.commit_level)
        noisy = self._committed(clean, noise.commit[:, None])
        _, agents, now = self.denoise(noisy[:, 0], labels, new)
        if self.net.config.stack.quirks.reads_last_substep:
            agents = seen
        after = replace(
            state,
            latent=clean[:, 0],
            num_frames=state.num_frames + 1,
            cache=state.cache.commit(now),
            committed=noisy[:, 0],
            recent=torch.cat([state.recent, clean], dim=1)[:, -self._decoder_memory :],
        )
        return after, self._predict(clean[:, 0], trace[:, :, 0], agents, state.task)

    def denoise(
        self, noisy: Float[Tensor, "b n d"], labels: Labels, new: NewFrame
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b g m"], list[KeysValues]]:
        """Run one forward of a frame (``DynamicsNet.step``), by a recording if there are any."""
        forward = self._recorded or self.net.step
        return forward(noisy, labels, new)

    @torch.no_grad()
    def decode(self, state: DreamState) -> UInt8[Tensor, "b h w 3"]:
        """Show the newest frame."""
        frames, _ = self.tokenizer.decode(state.recent)
        return frames[:, -1]

    @property
    def _decoder_memory(self) -> int:
        return int(getattr(self._tokenizer, "memory_frames", 1))

    def _predict(
        self,
        latent: Float[Tensor, "b n d"],
        trace: Float[Tensor, "b k n d"],
        agents: Float[Tensor, "b g m"],
        tasks: tuple[str, ...],
    ) -> Prediction:
        reward = torch.zeros(latent.shape[0], device=latent.device)
        goes_on = torch.ones_like(reward)
        features = agents.mean(dim=1) if agents.shape[1] else latent.flatten(1)
        if agents.shape[1] and self.reward_head is not None:
            reward = self.reward_head.expected(agents[:, None])[:, 0]
        if agents.shape[1] and self.continue_head is not None:
            ends = self._can_end(tasks)
            chance = torch.sigmoid(self.continue_head(agents[:, None])[:, 0, 0])
            goes_on = torch.where(ends, chance, goes_on)
        return Prediction(
            latent=latent, reward=reward, continues=goes_on, features=features, trace=trace
        )

    def _committed(
        self, clean: Float[Tensor, "b t n d"], noise: Float[Tensor, "b t n d"]
    ) -> Float[Tensor, "b t n d"]:
        """Mix in the noise with which frames enter the cache."""
        return self.commit_signal * clean + (1 - self.commit_signal) * noise

    def _can_end(self, tasks: tuple[str, ...]) -> Bool[Tensor, " b"]:
        names = self.heads.terminating_tasks
        return torch.tensor([task in names for task in tasks], device=self.device)

    def _labels(self, num_rows: int, num_frames: int, level: int) -> Labels:
        levels = torch.full((num_rows, num_frames), level, device=self.device)
        return Labels(levels, torch.full_like(levels, self.net.config.shortcut.finest_exponent))

    def _padded(self, action: Float[Tensor, "*s a"]) -> Float[Tensor, "*s w"]:
        missing = self.action_width - action.shape[-1]
        if missing < 0:
            raise ShapeError(
                f"This model takes actions of up to {self.action_width} lanes, got "
                f"{action.shape[-1]}."
            )
        return torch.nn.functional.pad(action.to(self.device), (0, missing))
