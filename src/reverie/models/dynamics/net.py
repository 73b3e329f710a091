"""The block-causal dynamics transformer: one denoiser over frames, actions and noise labels."""

import math
from dataclasses import dataclass

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.models.dynamics.precondition import Guess, Previous, Prior
from reverie.models.dynamics.shortcut import Labels, ShortcutConfig, ShortcutFlow
from reverie.nn.attention import KeysValues, PastBlock
from reverie.nn.blocks import Stack, StackConfig, StepViews


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicsConfig:
    """Everything that decides the shape of the dynamics network and how it dreams."""

    num_latent_tokens: int
    """Tokens per frame, as the tokenizer gives them."""
    num_latent_channels: int
    packing: int = 1
    """Neighbouring latents that are joined into one spatial token."""
    stack: StackConfig
    num_registers: int
    num_agents: int
    """Agent tokens per frame; they see everything and nothing sees them. 0: no heads."""
    language_dim: int = 512
    """Width of the instruction embedding; without one, the task is one-hot in it."""
    action_width: int = 16
    """Lanes of a padded action."""
    context: int
    """C: a frame attends to itself and the C - 1 frames before it."""
    shortcut: ShortcutConfig
    commit_level: int
    """Signal level at which finished and real frames enter the cache."""
    num_flow_steps: int = 4
    """K: flow steps per dreamed frame."""
    tasks: tuple[str, ...]
    """Tasks by which the one-hot instruction counts."""
    uses_previous: bool = False
    """Predict what a linear guess from the previous and the noisy frame leaves over, instead of
    the frame itself (see ``precondition``)."""
    action_hidden: int | None = added(None)
    """Width inside the action encoder; None takes the stack's."""
    commit_signal: float | None = added(None)
    """What is mixed in at ``commit_level`` where a label does not say it exactly; see
    ``signal_at_commit``."""
    embeds_tasks: bool = added(False)
    """A stored table gives the instruction of each task; without it they are one-hot."""

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work."""
        if self.packing < 1 or self.num_latent_tokens % self.packing:
            raise ConfigError(
                f"packing must be at least 1 and divide the number of latent tokens, got "
                f"{self.packing} and {self.num_latent_tokens}."
            )
        if self.context < 1 or min(self.num_registers, self.num_agents) < 0:
            raise ConfigError(
                f"context must be at least 1 and num_registers and num_agents at least 0, got "
                f"{self.context}, {self.num_registers} and {self.num_agents}."
            )
        finest = self.shortcut.num_levels - 1
        if not 0 < self.commit_level <= finest:
            raise ConfigError(
                f"commit_level must lie between 1 and {finest}, got {self.commit_level}. Try "
                f"{min(finest, round(0.9 * self.shortcut.num_levels))}."
            )
        ShortcutFlow(config=self.shortcut).check_num_steps(self.num_flow_steps)
        if self.commit_signal is not None and not 0 < self.commit_signal < 1:
            raise ConfigError(f"commit_signal must lie between 0 and 1, got {self.commit_signal}.")
        if len(self.tasks) > self.language_dim and not self.embeds_tasks:
            raise ConfigError(
                f"{len(self.tasks)} tasks do not fit a one-hot of {self.language_dim} lanes."
            )

    @property
    def num_spatial(self) -> int:
        """Spatial tokens per frame."""
        return self.num_latent_tokens // self.packing

    @property
    def spatial_dim(self) -> int:
        """Numbers in one spatial token before its linear layer."""
        return self.num_latent_channels * self.packing

    @property
    def num_tokens(self) -> int:
        """All tokens of a frame."""
        return 2 + self.num_spatial + self.num_registers + self.num_agents

    @property
    def num_labels(self) -> int:
        """Signal levels that have an embedding."""
        return self.shortcut.num_levels + int(self.stack.quirks.has_clean_label)

    @property
    def signal_at_commit(self) -> float:
        """Signal at which finished and real frames enter the cache."""
        if self.commit_signal is not None:
            return self.commit_signal
        return self.commit_level / self.shortcut.num_levels

    @property
    def num_parameters(self) -> int:
        """Parameters of the network, heads not counted."""
        w, levels = self.stack.width, self.num_labels
        inside = self.action_hidden or w
        seen = self.spatial_dim * (2 if self.uses_previous else 1)
        spatial = seen * w + w + w * self.spatial_dim + self.spatial_dim
        action = self.action_width * inside + inside + inside * w + 2 * w
        labels = (levels + self.shortcut.finest_exponent + 1) * (w // 2)
        agents = self.num_agents * (self.language_dim * w + w)
        return (
            self.stack.num_parameters + spatial + action + labels + self.num_registers * w + agents
        )


@dataclass(frozen=True, slots=True, eq=False)
class FrameInputs:
    """What the network is told about each frame besides its noisy latents."""

    actions: Float[Tensor, "b t a"]
    """Masked actions that led to the frames."""
    has_action: Bool[Tensor, "b t"]
    """False on first frames and in image-only rows: the learned no-action token stands in."""
    language: Float[Tensor, "b e"]

    @staticmethod
    def told(
        actions: Float[Tensor, "b t a"],
        action_mask: Float[Tensor, "b a"],
        has_action: Bool[Tensor, "b t"],
        language: Float[Tensor, "b e"],
    ) -> "FrameInputs":
        """Mask the actions and keep them in [-1, 1]."""
        masked = (actions * action_mask[:, None]).clamp(-1, 1)
        return FrameInputs(masked, has_action, language)

    def rows(self, index: slice) -> "FrameInputs":
        """Return a slice of the rows."""
        return FrameInputs(self.actions[index], self.has_action[index], self.language[index])


@dataclass(frozen=True, slots=True, eq=False)
class ToldTokens:
    """The tokens of frames that do not depend on their noise."""

    action: Float[Tensor, "b t 1 m"]
    others: Float[Tensor, "b t k m"]
    """Register and agent tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class NewFrame:
    """All that is known of a frame before it is dreamed; its K + 1 forwards share it."""

    told: ToldTokens
    views: StepViews
    prior: Prior | None


class DynamicsNet(nn.Module):
    """Predicts clean latents from noisy ones.

    Token order of a frame: action, label, spatial, register, agent.
    """

    task_embeddings: Tensor
    """Instruction of each task; only if the config says ``embeds_tasks``."""

    def __init__(self, config: DynamicsConfig) -> None:
        """Make the network; its first prediction is exactly zero."""
        super().__init__()
        self.config = config
        width = config.stack.width
        seen = config.spatial_dim * (2 if config.uses_previous else 1)
        self.spatial_in = nn.Linear(seen, width)
        inside = config.action_hidden or width
        self.action_fc1 = nn.Linear(config.action_width, inside)
        self.action_fc2 = nn.Linear(inside, width)
        self.action_base = nn.Parameter(torch.randn(width))
        self.signal_embedding = nn.Embedding(config.num_labels, width // 2)
        self.step_embedding = nn.Embedding(config.shortcut.finest_exponent + 1, width // 2)
        self.registers = nn.Parameter(torch.randn(config.num_registers, width))
        self.agent_base = nn.Parameter(torch.randn(config.num_agents, width))
        agent_scale = 1 / math.sqrt(config.language_dim)
        self.agent_language = nn.Parameter(
            torch.randn(config.num_agents, config.language_dim, width) * agent_scale
        )
        if config.embeds_tasks:
            table = torch.zeros(len(config.tasks), config.language_dim)
            self.register_buffer("task_embeddings", table)
        self.stack = Stack(config.stack)
        self.flow_head = nn.Linear(width, config.spatial_dim)
        with torch.no_grad():
            self.spatial_in.weight.normal_(std=1 / math.sqrt(seen))
            self.flow_head.weight.zero_()
            self.flow_head.bias.zero_()

    def language_of(
        self, tasks: tuple[str, ...], language: Float[Tensor, "b e"] | None, device: torch.device
    ) -> Float[Tensor, "b e"]:
        """Return instruction embeddings: the given ones, else those of the tasks (zeros if new).

        A task's own is stored in a table, or one-hot where there is no table.
        """
        if language is not None:
            return language.to(device)
        rows = torch.zeros(len(tasks), self.config.language_dim)
        for row, task in enumerate(tasks):
            if task not in self.config.tasks:
                continue
            index = self.config.tasks.index(task)
            if self.config.embeds_tasks:
                rows[row] = self.task_embeddings[index].cpu()
            else:
                rows[row, index] = 1.0
        return rows.to(device)

    def forward(
        self,
        noisy: Float[Tensor, "b t n d"],
        labels: Labels,
        inputs: FrameInputs,
        time_mask: Bool[Tensor, "*b t t"],
        times: Int[Tensor, " t"] | None = None,
        previous: Previous | None = None,
    ) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b t g m"], list[KeysValues]]:
        """Denoise whole windows.

        Args:
            noisy: Corrupted latents.
            labels: Their noise labels.
            inputs: Actions and instruction.
            time_mask: Which frames see which; ``nn.blocks.banded_mask`` for ordinary rows.
            times: Position of each frame in time; None counts them from 0.
            previous: The frame before each frame; None takes the one before it in the window.

        Returns:
            Clean predictions, agent features (g agents), and keys and values for a cache.
        """
        guess = self.guess(noisy, labels, previous or self.before(noisy, labels, time_mask))
        tokens = self._tokens(noisy, labels, self._told(inputs), guess)
        mask = self._space_mask(noisy.device)
        out, past = self.stack(tokens, mask, time_mask, times=times)
        return self._clean(out, guess), self._agents(out), past

    def prepare(
        self,
        inputs: FrameInputs,
        position: int,
        past: list[list[PastBlock]],
        previous: Previous | None = None,
    ) -> NewFrame:
        """Begin a frame; everything that is given has one frame.

        Args:
            inputs: What leads to the frame.
            position: Of the frame, counted from the oldest cached one.
            past: Cached frames, an entry per time layer.
            previous: The frame before, as it was committed; None stands for no frame.
        """
        device, prior = inputs.actions.device, None
        mask = self._space_mask(device)
        views = self.stack.look_back(self.config.num_tokens, mask, position, past)
        if self.config.uses_previous:
            prior = Prior.of(previous or self._no_frame(inputs))
        return NewFrame(self._told(inputs), views, prior)

    def step(
        self, noisy: Float[Tensor, "b n d"], labels: Labels, new: NewFrame
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b g m"], list[KeysValues]]:
        """Denoise one frame against cached ones, as ``prepare`` made it ready."""
        frame = noisy[:, None]
        guess = None if new.prior is None else new.prior.guess(frame, self._signal(labels))
        tokens = self._tokens(frame, labels, new.told, guess)[:, 0]
        out, now = self.stack.step(tokens, new.views)
        out = out[:, None]
        return self._clean(out, guess)[:, 0], self._agents(out)[:, 0], now

    def token_types(self) -> dict[str, slice]:
        """Return where each type of token stands in a frame."""
        start, places = 0, {}
        config = self.config
        sizes = {
            "action": 1,
            "label": 1,
            "spatial": config.num_spatial,
            "register": config.num_registers,
            "agent": config.num_agents,
        }
        for name, size in sizes.items():
            places[name] = slice(start, start + size)
            start += size
        return places

    def before(
        self,
        noisy: Float[Tensor, "b t n d"],
        labels: Labels,
        time_mask: Bool[Tensor, "*b t t"],
    ) -> Previous:
        """Take the frame before each frame in the window, where the mask lets it be seen."""
        sees = torch.diagonal(time_mask, offset=-1, dim1=-2, dim2=-1)
        is_known = functional.pad(sees.expand(noisy.shape[0], -1), (1, 0))
        return Previous(noisy.roll(1, dims=1), self._signal(labels).roll(1, dims=1), is_known)

    def guess(
        self, noisy: Float[Tensor, "b t n d"], labels: Labels, previous: Previous
    ) -> Guess | None:
        """Return the linear guess that predictions correct, None if the config wants none."""
        if not self.config.uses_previous:
            return None
        return Prior.of(previous).guess(noisy, self._signal(labels))

    def _signal(self, labels: Labels) -> Float[Tensor, "b t"]:
        return labels.signal_level.float() / self.config.shortcut.num_levels

    def _no_frame(self, inputs: FrameInputs) -> Previous:
        nowhere = torch.zeros_like(inputs.actions[..., 0])
        shape = (*nowhere.shape, self.config.num_latent_tokens, self.config.num_latent_channels)
        return Previous(nowhere.new_zeros(shape), nowhere, nowhere.bool())

    def _tokens(
        self,
        noisy: Float[Tensor, "b t n d"],
        labels: Labels,
        told: ToldTokens,
        guess: Guess | None,
    ) -> Float[Tensor, "b t all m"]:
        if guess is not None:
            noisy = torch.cat([noisy, guess.mean], dim=-1)
        packed = noisy.unflatten(2, (-1, self.config.packing)).flatten(3)
        label = [
            self.signal_embedding(labels.signal_level),
            self.step_embedding(labels.step_exponent),
        ]
        labelled = torch.cat(label, dim=-1)[:, :, None]
        return torch.cat([told.action, labelled, self.spatial_in(packed), told.others], dim=2)

    def _told(self, inputs: FrameInputs) -> ToldTokens:
        b, t = inputs.has_action.shape
        agents = torch.einsum("b e, g e m -> b g m", inputs.language, self.agent_language)
        agents = agents + self.agent_base
        if self.config.stack.quirks.agents_need_language:
            agents = agents * inputs.language.any(dim=-1)[:, None, None]
        registers = repeat(self.registers, "n m -> b t n m", b=b, t=t)
        others = torch.cat([registers, repeat(agents, "b g m -> b t g m", t=t)], dim=2)
        return ToldTokens(self._action_token(inputs)[:, :, None], others)

    def _action_token(self, inputs: FrameInputs) -> Float[Tensor, "b t m"]:
        told = self.action_fc2(functional.silu(self.action_fc1(inputs.actions)))
        return self.action_base + told * inputs.has_action[..., None]

    def _space_mask(self, device: torch.device) -> Bool[Tensor, "n n"] | None:
        if not self.config.num_agents:
            return None
        places = torch.arange(self.config.num_tokens, device=device)
        is_agent = places >= self.config.num_tokens - self.config.num_agents
        return ~is_agent[None, :] | is_agent[:, None]

    def _clean(
        self, out: Float[Tensor, "b t all m"], guess: Guess | None
    ) -> Float[Tensor, "b t n d"]:
        with torch.autocast(out.device.type, enabled=False):
            spatial = self.flow_head(out[:, :, self.token_types()["spatial"]].float())
        clean = spatial.unflatten(3, (self.config.packing, -1)).flatten(2, 3)
        return clean if guess is None else guess.mean + guess.std * clean

    def _agents(self, out: Float[Tensor, "b t all m"]) -> Float[Tensor, "b t g m"]:
        return out[:, :, self.token_types()["agent"]]
