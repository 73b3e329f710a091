"""Shortcut forcing: what each row of a batch trains, and the losses (Dreamer 4, section 3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, RewardHead
from reverie.models.dynamics.net import DynamicsNet, FrameInputs
from reverie.models.dynamics.shortcut import Labels, ShortcutFlow, is_finest
from reverie.models.objective import LossReport, RunningRms
from reverie.nn.blocks import banded_mask

MAX_BOOTSTRAP_START = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveConfig:
    """How a batch is divided between the kinds of rows."""

    total_steps: int
    """Length of the run; the shares below start at fractions of it."""
    bootstrap_fraction: float = 0.25
    """Share of rows with self-consistency targets, half mixed, half with a committed prefix."""
    bootstrap_start: float = 0.25
    """When they start, as a fraction of the run (at most 10,000 steps)."""
    image_only_fraction: float = 0.3
    """Share of rows whose frames see neither the past nor an action, so that dreams can start
    from a single frame."""
    head_fraction: float = 0.25
    """Share of rows that train the heads, once they have started."""
    head_start: float = 0.6
    """When the heads start, as a fraction of the run."""

    @property
    def first_bootstrap_step(self) -> int:
        """Step at which coarse flow steps begin to train; before it they must not be used."""
        return min(MAX_BOOTSTRAP_START, round(self.bootstrap_start * self.total_steps))

    @property
    def first_head_step(self) -> int:
        """Step at which head rows appear."""
        return round(self.head_start * self.total_steps)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How many rows of each kind a batch has, in this order."""

    num_flow: int
    num_mixed: int
    num_prefix: int
    num_head: int

    @property
    def num_dynamics(self) -> int:
        """Rows with a flow loss."""
        return self.num_flow + self.num_mixed + self.num_prefix


class DynamicsObjective(nn.Module):
    """Flow loss, self-consistency, reward and continue losses, each at its own running scale."""

    def __init__(
        self,
        net: DynamicsNet,
        heads: HeadsConfig,
        config: ObjectiveConfig,
        *,
        latent_limit: float,
    ) -> None:
        """Wrap the network.

        Args:
            net: The denoiser.
            heads: Shape of the heads, which are made here.
            config: Division of the batch.
            latent_limit: Largest absolute value a latent can take, 1 / tokenizer scale.
        """
        super().__init__()
        self.net, self.config, self.latent_limit = net, config, latent_limit
        width = net.config.stack.width
        self.reward_head = RewardHead(width, heads)
        self.continue_head = ContinueHead(width, heads)
        self.heads_config = heads
        self.flow = ShortcutFlow(config=net.config.shortcut)
        self.flow_rms, self.reward_rms, self.continue_rms = RunningRms(), RunningRms(), RunningRms()

    def forward(
        self, latents: Float[Tensor, "b t n d"], batch: Batch, *, step: int, rng: torch.Generator
    ) -> LossReport:
        """Return the loss of one batch.

        Args:
            latents: Clean latents at unit std, one per frame of ``batch``.
            batch: Everything else about the frames.
            step: Training step, which decides the kinds of rows.
            rng: Draws labels and noise.
        """
        plan = self.plan_rows(latents.shape[0], step)
        labels = self.draw_labels(plan, latents.shape[1], rng)
        is_blind = self.draw_image_only(plan, rng).to(latents.device)
        inputs = self._inputs(batch, is_blind)
        mask = self._time_mask(latents.shape[1], is_blind)
        noise = torch.randn(latents.shape, generator=rng, device=rng.device).to(latents)
        noisy = self.flow.corrupt(latents, noise, labels.signal_level)
        clean, agents, _ = self.net(noisy, labels, inputs, mask)
        target = self._targets(latents, noisy, labels, inputs, mask, plan)
        error = (clean.float() - target.float()).square().mean(dim=(2, 3))
        cut = plan.num_dynamics
        weighted = (self.flow.loss_weight(labels.signal_level) * error)[:cut].mean()
        finest = is_finest(labels, self.net.config.shortcut)[:cut]
        terms = {
            "flow": weighted.detach(),
            "finest_mse": error.detach()[:cut][finest].mean(),
            "clamped_share": (clean.detach().abs() > self.latent_limit).float().mean(),
        }
        total = self.flow_rms(weighted)
        if plan.num_head:
            total = total + self._head_losses(agents[cut:], batch, slice(cut, None), terms)
        return LossReport(total, terms)

    def plan_rows(self, num_rows: int, step: int) -> RowPlan:
        """Divide a batch; counts are exact, not drawn, so that shapes are fixed."""
        config = self.config
        has_heads = step >= config.first_head_step and self.net.config.num_agents > 0
        num_head = round(config.head_fraction * num_rows) if has_heads else 0
        num_dynamics = num_rows - num_head
        if num_dynamics < 1:
            raise ConfigError(f"A batch of {num_rows} rows leaves none for the flow loss.")
        num_pair = 0
        if step >= config.first_bootstrap_step:
            num_pair = min(
                num_dynamics // 2, max(1, round(config.bootstrap_fraction * num_dynamics / 2))
            )
        return RowPlan(num_dynamics - 2 * num_pair, num_pair, num_pair, num_head)

    def draw_labels(self, plan: RowPlan, num_frames: int, rng: torch.Generator) -> Labels:
        """Draw every frame's noise label, by kind of row (diffusion forcing)."""
        finest = self.net.config.shortcut.finest_exponent
        device = rng.device
        flow = torch.full((plan.num_flow, num_frames), finest, device=device)
        mixed = self.flow.draw_coarse_exponent((plan.num_mixed, num_frames), rng)
        keep = torch.rand(mixed.shape, generator=rng, device=device) < 0.5
        mixed = torch.where(keep, finest, mixed)
        prefix = self.flow.draw_coarse_exponent((plan.num_prefix, num_frames), rng)
        cut = torch.randint(
            1, max(2, num_frames), (plan.num_prefix, 1), generator=rng, device=device
        )
        committed = torch.arange(num_frames, device=device) < cut
        prefix = torch.where(committed, finest, prefix)
        exponent = torch.cat([flow, mixed, prefix])
        level = self.flow.draw_level(exponent, rng)
        start = plan.num_flow + plan.num_mixed
        commit = self.net.config.commit_level
        level[start:] = torch.where(committed, commit, level[start:])
        head = torch.full((plan.num_head, num_frames), commit, device=device)
        target = self.net.action_base.device
        return Labels(
            torch.cat([level, head]).to(target),
            torch.cat([exponent, torch.full_like(head, finest)]).to(target),
        )

    def draw_image_only(self, plan: RowPlan, rng: torch.Generator) -> Bool[Tensor, " b"]:
        """Pick the image-only rows among flow and mixed rows; a property of the whole row."""
        candidates = plan.num_flow + plan.num_mixed
        wanted = round(self.config.image_only_fraction * (plan.num_dynamics + plan.num_head))
        picked = torch.randperm(candidates, generator=rng, device=rng.device)[:wanted]
        is_blind = torch.zeros(
            plan.num_dynamics + plan.num_head, dtype=torch.bool, device=rng.device
        )
        is_blind[picked] = True
        return is_blind

    def _inputs(self, batch: Batch, is_blind: Bool[Tensor, " b"]) -> FrameInputs:
        device = self.net.action_base.device
        language = self.net.language_of(batch.task, batch.language, device)
        actions = batch.prev_actions * batch.action_mask[:, None]
        return FrameInputs(actions, ~batch.is_first & ~is_blind[:, None], language)

    def _time_mask(self, num_frames: int, is_blind: Bool[Tensor, " b"]) -> Bool[Tensor, "b t t"]:
        band = banded_mask(num_frames, self.net.config.context, is_blind.device)
        alone = torch.eye(num_frames, dtype=torch.bool, device=is_blind.device)
        return torch.where(is_blind[:, None, None], alone, band)

    def _targets(
        self,
        latents: Float[Tensor, "b t n d"],
        noisy: Float[Tensor, "b t n d"],
        labels: Labels,
        inputs: FrameInputs,
        mask: Bool[Tensor, "b t t"],
        plan: RowPlan,
    ) -> Float[Tensor, "b t n d"]:
        rows = slice(plan.num_flow, plan.num_dynamics)
        if plan.num_flow == plan.num_dynamics:
            return latents
        told, seen = inputs.rows(rows), mask[rows]

        def teacher(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
            return self.net(z, Labels(level, exponent), told, seen)[0]

        cut = Labels(labels.signal_level[rows], labels.step_exponent[rows])
        target = self.flow.bootstrap_target(
            teacher, noisy[rows], cut, latents[rows], self.latent_limit
        )
        return torch.cat([latents[: rows.start], target, latents[rows.stop :]])

    def _head_losses(
        self, agents: Float[Tensor, "b t g m"], batch: Batch, rows: slice, terms: dict[str, Tensor]
    ) -> Float[Tensor, ""]:
        seen = ~batch.is_first[rows]
        reward = self.reward_head.loss(agents, batch.prev_rewards[rows], seen)
        terms["reward"] = reward.detach()
        total = self.reward_rms(reward)
        names = self.heads_config.terminating_tasks
        can_end = torch.tensor([name in names for name in batch.task[rows]], device=seen.device)
        if names:
            seen = seen & can_end[:, None]
            ends = self.continue_head.loss(agents, batch.is_terminal[rows], seen)
            terms["continue"] = ends.detach()
            total = total + self.continue_rms(ends)
        return total
