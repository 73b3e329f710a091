"""Shortcut forcing: what each row of a batch trains, and the losses (Dreamer 4, section 3)."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.models.dynamics.heads import (
    ContinueHead,
    HeadsConfig,
    PolicyHead,
    RewardHead,
    masked_mean,
)
from reverie.models.dynamics.net import DynamicsNet, FrameInputs
from reverie.models.dynamics.paired import PairedWindows
from reverie.models.dynamics.precondition import Guess
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
    paired_fraction: float = 0.0
    """Share of rows in which every noisy frame sees committed frames before it, as in a dream (see
    ``paired``). Such a row costs two, and teaches a small model to obey actions far sooner; the
    other shares divide the rest of the batch. The committed half also trains the heads."""
    dreamed_context_fraction: float = 0.0
    """Share of paired rows whose committed frames are, at random, the model's own dreams instead of
    real ones, once coarse steps are trained. The target stays the real next frame: what is learned
    is to go on from errors of one's own."""
    dreamed_context_depth: int = 1
    """How many dreams may follow one another in such a context; each needs one more forward."""
    head_fraction: float = 0.25
    """Share of rows that train the heads, once they have started."""
    head_start: float = 0.6
    """When the heads start, as a fraction of the run."""

    def __post_init__(self) -> None:
        """Refuse runs without steps, and shares that are none."""
        if self.total_steps < 1:
            raise ConfigError(f"total_steps must be at least 1, got {self.total_steps}.")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_fraction") and not 0 <= value <= 1:
                raise ConfigError(f"{item.name} is a share from 0 to 1, got {value}. Try 0.25.")

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
    num_paired: int = 0

    @property
    def num_dynamics(self) -> int:
        """Rows of one window with a flow loss."""
        return self.num_flow + self.num_mixed + self.num_prefix

    @property
    def num_single(self) -> int:
        """Rows of one window, heads included; paired ones come after them."""
        return self.num_dynamics + self.num_head


@dataclass(frozen=True, slots=True, eq=False)
class FlowErrors:
    """What one part of a batch got wrong, per frame."""

    error: Float[Tensor, "b t"]
    """Mean squared error of the clean prediction."""
    weight: Float[Tensor, "b t"]
    is_finest: Bool[Tensor, "b t"]
    clamped: Float[Tensor, ""]
    """Share of predictions outside the box of possible latents."""
    agents: Float[Tensor, "r t g m"]
    """Features of rows that may train the heads."""


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
        self.heads_config, self.policy_head = heads, None
        self.flow = ShortcutFlow(config=net.config.shortcut)
        self.flow_rms, self.reward_rms, self.continue_rms = RunningRms(), RunningRms(), RunningRms()
        if heads.num_policy_distances:
            self.policy_head = PolicyHead(width, heads, net.config.action_width)
            self.policy_rms = RunningRms()

    def forward(
        self,
        latents: Float[Tensor, "b t n d"],
        batch: Batch,
        *,
        step: int,
        rng: torch.Generator,
        row_weights: Float[Tensor, " b"] | None = None,
    ) -> LossReport:
        """Return the loss of one batch.

        Args:
            latents: Clean latents at unit std, one per frame of ``batch``.
            batch: Everything else about the frames.
            step: Training step, which decides the kinds of rows.
            rng: Draws labels and noise.
            row_weights: How much each window counts in the flow loss, 1 on average; None counts
                all alike.
        """
        plan = self.plan_rows(latents.shape[0], step)
        parts: list[FlowErrors] = []
        if plan.num_single:
            rows = slice(0, plan.num_single)
            parts.append(self._single_rows(plan, latents[rows], self._inputs(batch, rows), rng))
        if plan.num_paired:
            rows = slice(plan.num_single, None)
            inputs = self._inputs(batch, rows)
            has_coarse = step >= self.config.first_bootstrap_step
            parts.append(self._paired_rows(latents[rows], inputs, has_coarse, rng))
        weights = torch.cat([part.weight for part in parts])
        if row_weights is not None:
            weights = weights * torch.cat(
                [row_weights[: plan.num_dynamics], row_weights[plan.num_single :]]
            ).unsqueeze(1)
        weighted = (weights * torch.cat([part.error for part in parts])).mean()
        errors = torch.cat([part.error.detach().flatten() for part in parts])
        finest = torch.cat([part.is_finest.flatten() for part in parts])
        terms = {
            "flow": weighted.detach(),
            "finest_mse": masked_mean(errors, finest),
            "clamped_share": torch.stack([part.clamped for part in parts]).mean(),
        }
        total = self.flow_rms(weighted)
        if self._has_heads(step):
            agents = torch.cat([part.agents for part in parts])
            total = total + self._head_losses(agents, batch, slice(plan.num_dynamics, None), terms)
        return LossReport(total, terms)

    def _has_heads(self, step: int) -> bool:
        config = self.config
        has_rows = config.head_fraction > 0 or config.paired_fraction > 0
        return has_rows and step >= config.first_head_step and self.net.config.num_agents > 0

    def _single_rows(
        self,
        plan: RowPlan,
        latents: Float[Tensor, "b t n d"],
        inputs: FrameInputs,
        rng: torch.Generator,
    ) -> FlowErrors:
        labels = self.draw_labels(plan, latents.shape[1], rng)
        is_blind = self.draw_image_only(plan, rng).to(latents.device)
        inputs = replace(inputs, has_action=inputs.has_action & ~is_blind[:, None])
        mask = self._time_mask(latents.shape[1], is_blind)
        noisy = self._corrupt(latents, labels, rng)
        clean, agents, _ = self.net(noisy, labels, inputs, mask)
        target = self._targets(latents, noisy, labels, inputs, mask, plan)
        cut = plan.num_dynamics
        guess = self.net.guess(noisy, labels, self.net.before(noisy, labels, mask))
        weight = self._weight(labels, guess)[:cut]
        return self._errors(
            clean[:cut], target[:cut], labels.rows(slice(cut)), weight, agents[cut:]
        )

    def _paired_rows(
        self,
        latents: Float[Tensor, "b t n d"],
        inputs: FrameInputs,
        has_coarse: bool,
        rng: torch.Generator,
    ) -> FlowErrors:
        shape, config = latents.shape[:2], self.net.config
        num_coarse = round(self.config.bootstrap_fraction * shape[0]) if has_coarse else 0
        exponent = torch.full(shape, config.shortcut.finest_exponent, device=rng.device)
        exponent[:num_coarse] = self.flow.draw_coarse_exponent((num_coarse, shape[1]), rng)
        level = self.flow.draw_level(exponent, rng)
        labels = Labels(level.to(latents.device), exponent.to(latents.device))
        held = Labels(
            torch.full_like(labels.signal_level, config.commit_level), labels.step_exponent
        )
        known, share = latents, self.config.dreamed_context_fraction
        if has_coarse and share:
            # The last rows: the first ones have coarse targets of their own.
            rows = slice(round((1 - share) * shape[0]), None)
            dreamed = self._dream_context(latents[rows], inputs.rows(rows), held.rows(rows), rng)
            known = torch.cat([latents[: rows.start], dreamed])
        windows = PairedWindows(self.net, self._corrupt(known, held, rng), inputs)
        noisy = self._corrupt(latents, labels, rng)
        clean, agents = windows.denoise(noisy, labels)
        target = latents
        if num_coarse:
            rows = slice(num_coarse)
            coarse = windows.rows(rows)

            def teacher(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
                return coarse.denoise(z, Labels(level, exponent))[0]

            aimed = self.flow.bootstrap_target(
                teacher, noisy[rows], labels.rows(rows), latents[rows], self.latent_limit
            )
            target = torch.cat([aimed, latents[num_coarse:]])
        weight = self._weight(labels, windows.guess(noisy, labels))
        return self._errors(clean, target, labels, weight, agents)

    @torch.no_grad()
    def _dream_context(
        self,
        latents: Float[Tensor, "b t n d"],
        inputs: FrameInputs,
        held: Labels,
        rng: torch.Generator,
    ) -> Float[Tensor, "b t n d"]:
        """Replace frames by one-step dreams of them, and again by dreams that follow such dreams.

        Every row has its own share of replaced frames, from none to nearly all. The first frame of
        a window stays real: nothing is known before it.
        """
        shape = latents.shape[:2]
        coarsest = torch.zeros(shape, dtype=torch.long, device=latents.device)
        known = latents
        for _ in range(self.config.dreamed_context_depth):
            windows = PairedWindows(self.net, self._corrupt(known, held, rng), inputs)
            noise = torch.randn(latents.shape, generator=rng, device=rng.device).to(latents)
            dreamed, _ = windows.denoise(noise, Labels(coarsest, coarsest))
            dreamed = dreamed.clamp(-self.latent_limit, self.latent_limit).to(latents)
            share = torch.rand((shape[0], 1), generator=rng, device=rng.device)
            is_dreamed = torch.rand(shape, generator=rng, device=rng.device) < share
            is_dreamed[:, 0] = False
            known = torch.where(is_dreamed.to(latents.device)[:, :, None, None], dreamed, latents)
        return known

    def _corrupt(
        self, latents: Float[Tensor, "b t n d"], labels: Labels, rng: torch.Generator
    ) -> Float[Tensor, "b t n d"]:
        noise = torch.randn(latents.shape, generator=rng, device=rng.device).to(latents)
        return self.flow.corrupt(latents, noise, labels.signal_level)

    def _weight(self, labels: Labels, guess: Guess | None) -> Float[Tensor, "b t"]:
        """Return the ramp, or where a guess is corrected, the precision of that guess.

        Errors then count in units of what is expected: else the few frames that nothing is known
        of would drown all others, and nearly clean ones those that hang on the action.
        """
        if guess is None:
            return self.flow.loss_weight(labels.signal_level)
        return guess.std[:, :, 0, 0].float() ** -2

    def _errors(
        self,
        clean: Float[Tensor, "b t n d"],
        target: Float[Tensor, "b t n d"],
        labels: Labels,
        weight: Float[Tensor, "b t"],
        agents: Float[Tensor, "r t g m"],
    ) -> FlowErrors:
        return FlowErrors(
            error=(clean.float() - target.float()).square().mean(dim=(2, 3)),
            weight=weight,
            is_finest=is_finest(labels, self.net.config.shortcut),
            clamped=(clean.detach().abs() > self.latent_limit).float().mean(),
            agents=agents,
        )

    def plan_rows(self, num_rows: int, step: int) -> RowPlan:
        """Divide a batch; counts are exact, not drawn, so that shapes are fixed."""
        config = self.config
        num_paired = round(config.paired_fraction * num_rows)
        num_single = num_rows - num_paired
        num_head = round(config.head_fraction * num_single) if self._has_heads(step) else 0
        num_dynamics = num_single - num_head
        if num_dynamics + num_paired < 1:
            raise ConfigError(f"A batch of {num_rows} rows leaves none for the flow loss.")
        num_pair = 0
        if step >= config.first_bootstrap_step:
            num_pair = min(
                num_dynamics // 2, max(1, round(config.bootstrap_fraction * num_dynamics / 2))
            )
        return RowPlan(num_dynamics - 2 * num_pair, num_pair, num_pair, num_head, num_paired)

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

    def _inputs(self, batch: Batch, rows: slice) -> FrameInputs:
        device = self.net.action_base.device
        language = self.net.language_of(batch.task, batch.language, device)
        actions = batch.prev_actions * batch.action_mask[:, None]
        return FrameInputs(actions, ~batch.is_first, language).rows(rows)

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
        if self.policy_head is not None:
            policy = self.policy_head.loss(
                agents, batch.prev_actions[rows], batch.action_mask[rows], ~batch.is_first[rows]
            )
            terms["policy"] = policy.detach()
            total = total + self.policy_rms(policy)
        return total
