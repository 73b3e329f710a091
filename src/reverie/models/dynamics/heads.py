"""What is read off the agent tokens: reward, continuation, actions, several distances ahead."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.models.dynamics.actions import Actions, BinnedActions, NormalActions
from reverie.nn.distributions import TwoHot
from reverie.nn.mlp import SwiGLU
from reverie.nn.norm import RMSNorm
from reverie.nn.quirks import NATIVE, Quirks

MIN_STD = 0.1
"""Smallest std that a policy may learn."""
ZERO_BIN_BIAS = 5.0
"""Initial logit of the zero-reward bin; the others start at its negative."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadsConfig:
    """Shape of the reward and continue heads."""

    num_distances: int = 8
    """Heads predict what arrives 0 … num_distances - 1 frames later; only 0 is acted on."""
    num_bins: int = 255
    """Reward bins; odd, so that one of them is zero."""
    reward_limit: float = 10.0
    """Bins span symexp(+-limit); 1 + symlog(largest reward) is enough."""
    terminating_tasks: tuple[str, ...] = ()
    """Tasks that can end by themselves; elsewhere the continue probability is 1, without loss."""
    lowest_reward: float | None = added(None)
    """Lower end of the bins in symlog space; None mirrors ``reward_limit``."""
    mlp_hidden: int | None = added(None)
    """Width inside the heads; None takes twice the model's."""
    has_reward: bool = added(True)
    has_continue: bool = added(True)
    num_policy_distances: int = added(0)
    """Actions that the policy head predicts: those that lead to the next frames. 0: no head."""
    policy: Literal["normal", "binned"] = added("normal")
    """``normal``: mean and std per lane. ``binned``: 41 values per lane; can hold several modes,
    and gave the only published gain of imagination training on continuous control."""
    policy_std: float | None = added(0.2)
    """Of ``normal``; None learns one per lane and frame, in [0.1, 1]."""
    num_action_bins: int = added(41)
    """Of ``binned``."""
    quirks: Quirks = added(NATIVE)
    """What published weights do otherwise."""

    def __post_init__(self) -> None:
        """Refuse heads without outputs, and bins none of which is zero."""
        if self.num_policy_distances < 0:
            raise ConfigError(
                f"num_policy_distances must be at least 0, got {self.num_policy_distances}."
            )
        may_be_even = self.lowest_reward is not None
        if self.num_distances < 1 or self.num_bins < 3 or not (self.num_bins % 2 or may_be_even):
            raise ConfigError(
                f"Heads need num_distances of at least 1 and an odd num_bins of at least 3, got "
                f"{self.num_distances} and {self.num_bins}. Try 8 and 255."
            )
        if not self.reward_limit > 0:
            raise ConfigError(f"reward_limit must be above 0, got {self.reward_limit}. Try 10.")


class Trunk(nn.Module):
    """Attention pooling over agent tokens, norm, SwiGLU."""

    def __init__(self, width: int, config: HeadsConfig) -> None:
        """Make a trunk with one learned query."""
        super().__init__()
        quirks, hidden = config.quirks, config.mlp_hidden or 2 * width
        self.query = nn.Parameter(torch.randn(width) / width**0.5)
        self.pool = nn.Linear(width, 2 * width, bias=False) if quirks.pools_projections else None
        self.norm = RMSNorm(width) if quirks.has_outer_norms else nn.Identity()
        self.mlp = SwiGLU(width, hidden, has_biases=quirks.has_biases)

    def forward(self, agents: Float[Tensor, "b t g m"]) -> Float[Tensor, "b t m"]:
        """Return one feature vector per frame."""
        keys, values = agents, agents
        query = self.query
        if self.pool is not None:
            keys, values = self.pool(agents).chunk(2, dim=-1)
            query = query / len(query) ** 0.5
        weights = torch.softmax(keys.float() @ query, dim=-1).to(values.dtype)
        pooled = torch.einsum("b t g, b t g m -> b t m", weights, values)
        return self.mlp(self.norm(pooled))


class RewardHead(nn.Module):
    """Two-hot reward distributions, one per distance."""

    def __init__(self, width: int, config: HeadsConfig) -> None:
        """Start by predicting zero reward everywhere."""
        super().__init__()
        self.config = config
        self.trunk = Trunk(width, config)
        self.out = nn.Linear(width, config.num_distances * config.num_bins)
        self.twohot = TwoHot(
            config.num_bins,
            config.reward_limit,
            lowest=config.lowest_reward,
            is_symlog=config.quirks.rewards_in_symlog,
        )
        bias = torch.full((config.num_distances, config.num_bins), -ZERO_BIN_BIAS)
        bias[:, config.num_bins // 2] = ZERO_BIN_BIAS
        with torch.no_grad():
            self.out.weight.zero_()
            self.out.bias.copy_(bias.flatten())

    def forward(self, agents: Float[Tensor, "b t g m"]) -> Float[Tensor, "b t k n"]:
        """Return logits over the bins for each distance k."""
        trunk = self.trunk(agents)
        with torch.autocast(trunk.device.type, enabled=False):
            logits = self.out(trunk.float())
        return rearrange(logits, "b t (k n) -> b t k n", k=self.config.num_distances)

    def expected(self, agents: Float[Tensor, "b t g m"]) -> Float[Tensor, "b t"]:
        """Return the expected raw reward that arrives with each frame."""
        return self.twohot.decode(self(agents)[:, :, 0])

    def loss(
        self,
        agents: Float[Tensor, "b t g m"],
        rewards: Float[Tensor, "b t"],
        seen: Bool[Tensor, "b t"],
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy over frames and distances that have a target.

        Args:
            agents: Agent features.
            rewards: Rewards that arrived with the frames.
            seen: False where nothing arrived (first frames).
        """
        targets, valid = ahead(rewards, seen, self.config.num_distances)
        return masked_mean(self.twohot.loss(self(agents), targets), valid)


class ContinueHead(nn.Module):
    """Probability that the episode goes on, one logit per distance; plain cross-entropy."""

    def __init__(self, width: int, config: HeadsConfig) -> None:
        """Start at even odds."""
        super().__init__()
        self.config = config
        self.trunk = Trunk(width, config)
        self.out = nn.Linear(width, config.num_distances)
        self.num_distances = config.num_distances

    def forward(self, agents: Float[Tensor, "b t g m"]) -> Float[Tensor, "b t k"]:
        """Return logits for each distance k."""
        trunk = self.trunk(agents)
        with torch.autocast(trunk.device.type, enabled=False):
            return self.out(trunk.float())

    def loss(
        self,
        agents: Float[Tensor, "b t g m"],
        is_terminal: Bool[Tensor, "b t"],
        seen: Bool[Tensor, "b t"],
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy over frames and distances that have a target."""
        goes_on, valid = ahead(1.0 - is_terminal.float(), seen, self.num_distances)
        loss = functional.binary_cross_entropy_with_logits(self(agents), goes_on, reduction="none")
        return masked_mean(loss, valid)


class PolicyHead(nn.Module):
    """What the players of the data would do next: actions in [-1, 1], one per distance."""

    def __init__(self, width: int, config: HeadsConfig, action_width: int) -> None:
        """Start at the zero action, or at even odds."""
        super().__init__()
        self.config, self.action_width = config, action_width
        self.trunk = Trunk(width, config)
        per_lane = config.num_action_bins if config.policy == "binned" else 1
        if config.policy == "normal" and config.policy_std is None:
            per_lane = 2
        self.out = nn.Linear(width, config.num_policy_distances * action_width * per_lane)
        with torch.no_grad():
            self.out.weight.zero_()
            self.out.bias.zero_()

    def forward(self, agents: Float[Tensor, "b t g m"]) -> Float[Tensor, "b t k a"]:
        """Return the mean actions that lead to frames t + 1, t + 2, … for each frame t."""
        return self.distribution(agents).mean

    def distribution(self, agents: Float[Tensor, "b t g m"]) -> Actions:
        """Return how likely each action is that leads to frames t + 1, t + 2 and so on."""
        trunk = self.trunk(agents)
        with torch.autocast(trunk.device.type, enabled=False):
            raw = self.out(trunk.float())
        count, config = self.config.num_policy_distances, self.config
        lanes = rearrange(raw, "b t (k a n) -> b t k a n", k=count, a=self.action_width)
        if config.policy == "binned":
            return BinnedActions(lanes)
        mean = torch.tanh(lanes[..., 0])
        if config.policy_std is not None:
            return NormalActions(mean, torch.full_like(mean, config.policy_std))
        return NormalActions(mean, MIN_STD + (1 - MIN_STD) * torch.sigmoid(lanes[..., 1]))

    def loss(
        self,
        agents: Float[Tensor, "b t g m"],
        prev_actions: Float[Tensor, "b t a"],
        mask: Float[Tensor, "b a"],
        seen: Bool[Tensor, "b t"],
    ) -> Float[Tensor, ""]:
        """Return how much less likely the taken actions are than any could be; never negative.

        The negative log-probability up to a constant, which keeps its running scale away from 0.

        Args:
            agents: Agent features.
            prev_actions: Actions that led to the frames; distance k from frame t is the action
                taken from frame t + k, which led to frame t + k + 1.
            mask: Lanes that exist.
            seen: False where no action led to the frame.
        """
        index = torch.arange(seen.shape[1] + 1, device=seen.device)[1:]
        _, valid = ahead(seen.float(), seen, self.config.num_policy_distances + 1)
        index = index[:, None] + torch.arange(valid.shape[2] - 1, device=seen.device)
        taken = prev_actions[:, index.clamp_max(seen.shape[1] - 1)]
        chances = self.distribution(agents).log_prob(taken, mask[:, None, None])
        highest = self._highest_log_prob * mask.sum(dim=-1)
        return masked_mean(highest[:, None, None] - chances, valid[:, :, 1:])

    @property
    def _highest_log_prob(self) -> float:
        if self.config.policy == "binned":
            return 0.0
        std = MIN_STD if self.config.policy_std is None else self.config.policy_std
        return -math.log(std) - 0.5 * math.log(2 * math.pi)


def ahead(
    lane: Float[Tensor, "b t"], seen: Bool[Tensor, "b t"], num_distances: int
) -> tuple[Float[Tensor, "b t k"], Bool[Tensor, "b t k"]]:
    """Return what arrives 0 … k-1 frames after each frame, and where there is such a thing."""
    num_frames = lane.shape[1]
    index = torch.arange(num_frames, device=lane.device)
    index = index[:, None] + torch.arange(num_distances, device=lane.device)
    inside = index < num_frames
    index = index.clamp_max(num_frames - 1)
    return lane[:, index], seen[:, index] & inside


def masked_mean(values: Float[Tensor, "*s"], valid: Bool[Tensor, "*s"]) -> Float[Tensor, ""]:
    """Return the mean over valid entries; zero (with a gradient of zero) if there are none."""
    return (values * valid).sum() / valid.sum().clamp_min(1)
