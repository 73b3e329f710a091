"""M: a recurrent mixture-density network over V's latents (arXiv 1803.10122, section 2.2)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from reverie.core.errors import ConfigError
from reverie.nn.lstm import Lstm

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True, slots=True)
class MdnRnnConfig:
    """Sizes and heads of M. The defaults are those of Ha & Schmidhuber 2018 for CarRacing."""

    latent_channels: int = 32
    action_width: int = 3
    num_units: int = 256
    num_components: int = 5
    """Gaussians per latent dimension; every dimension has weights of its own."""
    has_restart_flag: bool = False
    """One more input that is 1 on the first frame of an episode."""
    has_end: bool = False
    has_reward: bool = False
    is_binary_action: bool = False
    """Actions are read as -1 or +1 by their sign, as a two-way simulator reads them."""
    predicts_change: bool = False
    """Means are relative to the present latent: most of a frame stays as it is."""
    has_linear_step: bool = False
    """Means add a learned linear map of the present latent and action to what the LSTM says. Stacks
    of frames overlap, so that most of the next latent is linear in this one."""
    min_std: float = 0.01
    end_weight: float = 10.0
    """Weight of frames that end an episode; the end probability is corrected for it."""

    def __post_init__(self) -> None:
        """Refuse sizes below one."""
        sizes = (self.latent_channels, self.action_width, self.num_units, self.num_components)
        if min(sizes) < 1 or not self.min_std > 0 or not self.end_weight > 0:
            raise ConfigError(
                f"Sizes of M must be at least 1, min_std and end_weight positive, got {sizes}, "
                f"{self.min_std} and {self.end_weight}."
            )

    @property
    def num_inputs(self) -> int:
        """Width of the LSTM's input."""
        return self.latent_channels + self.action_width + int(self.has_restart_flag)

    @property
    def num_mixture_outputs(self) -> int:
        """Weights, means and spreads; a single component needs no weight."""
        per_dimension = 2 if self.num_components == 1 else 3 * self.num_components
        return per_dimension * self.latent_channels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mixture:
    """A mixture of Gaussians for every latent dimension by itself."""

    logits: Float[Tensor, "... d k"]
    means: Float[Tensor, "... d k"]
    log_stds: Float[Tensor, "... d k"]

    def log_prob(self, latents: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return the log-density of every dimension."""
        z = latents.unsqueeze(-1)
        scaled = (z - self.means) * torch.exp(-self.log_stds)
        each = -0.5 * scaled.square() - self.log_stds - _HALF_LOG_TWO_PI
        if self.logits.shape[-1] == 1:
            return each[..., 0]
        shares = functional.log_softmax(self.logits.movedim(-1, 0), dim=0)  # As in _shares.
        return torch.logsumexp(shares + each.movedim(-1, 0), dim=0)

    def mean(self) -> Float[Tensor, "... d"]:
        """Return the mean of the mixture."""
        if self.logits.shape[-1] == 1:
            return self.means[..., 0]
        return (self._shares() * self.means).sum(dim=-1)

    def std(self) -> Float[Tensor, "... d"]:
        """Return the std of the mixture."""
        if self.logits.shape[-1] == 1:
            return torch.exp(self.log_stds[..., 0])
        shares = self._shares()
        second = (shares * (torch.exp(2 * self.log_stds) + self.means.square())).sum(dim=-1)
        return (second - self.mean().square()).clamp_min(0).sqrt()

    def sample(
        self,
        *,
        temperature: float,
        normal: Float[Tensor, "... d"],
        uniform: Float[Tensor, "... d"],
    ) -> Float[Tensor, "... d"]:
        """Turn given noise into a sample; nothing is drawn here.

        The component comes from softmax(logits / temperature) by inverse CDF, the value is
        mean + std * sqrt(temperature) * normal (Ha & Schmidhuber 2018, appendix). Temperature 0
        gives the mean of the likeliest component.
        """
        if temperature < 0:
            raise ConfigError(f"A temperature is at least 0, got {temperature}. Try 1.0.")
        spread = math.sqrt(temperature)
        if self.logits.shape[-1] == 1:
            return self.means[..., 0] + spread * torch.exp(self.log_stds[..., 0]) * normal
        index = self._component(temperature, uniform).unsqueeze(-1)
        mean = self.means.gather(-1, index)[..., 0]
        return mean + spread * torch.exp(self.log_stds.gather(-1, index)[..., 0]) * normal

    def _component(self, temperature: float, uniform: Float[Tensor, "... d"]) -> Tensor:
        if temperature == 0:
            return self.logits.argmax(dim=-1)
        shares = self._shares(temperature).cumsum(dim=-1)
        return (shares[..., :-1] < uniform.unsqueeze(-1)).sum(dim=-1)

    def _shares(self, temperature: float = 1.0) -> Float[Tensor, "... d k"]:
        """Return the weights of the components, which sum to 1."""
        # By components first: torch walks short last axes fourteen times as slowly.
        return torch.softmax(self.logits.movedim(-1, 0) / temperature, dim=0).movedim(0, -1)


class MdnRnn(nn.Module):
    """An LSTM over (latent, action), and what it says of the next frame."""

    def __init__(self, config: MdnRnnConfig) -> None:
        """Build untrained layers."""
        super().__init__()
        self.config = config
        self.lstm = Lstm(config.num_inputs, config.num_units)
        num_outputs = config.num_mixture_outputs + int(config.has_end)
        self.output = nn.Linear(config.num_units, num_outputs)
        self.reward = nn.Linear(config.num_units, 1) if config.has_reward else None
        self.linear_step: nn.Linear | None = None
        if config.has_linear_step:
            self.linear_step = nn.Linear(config.latent_channels, config.latent_channels, bias=False)
            nn.init.eye_(self.linear_step.weight)

    def to_inputs(
        self,
        latents: Float[Tensor, "*s d"],
        actions: Float[Tensor, "*s a"],
        is_first: Bool[Tensor, "*s"],
    ) -> Float[Tensor, "*s i"]:
        """Join latent, the action leaving it and, where configured, the restart flag."""
        parts = [latents, self.read_actions(actions).to(latents.dtype)]
        if self.config.has_restart_flag:
            parts.append(is_first.to(latents.dtype).unsqueeze(-1))
        return torch.cat(parts, dim=-1)

    def read_actions(self, actions: Float[Tensor, "*s a"]) -> Float[Tensor, "*s a"]:
        """Return actions as M reads them: their signs where they are binary; 0 is none."""
        return torch.sign(actions) if self.config.is_binary_action else actions

    def mixture(
        self, hidden: Float[Tensor, "*s m"], latents: Float[Tensor, "*s d"]
    ) -> tuple[Mixture, Float[Tensor, "*s"]]:
        """Return the density of the next latent, and the weighted end logit (-inf without one).

        Args:
            hidden: The LSTM's state after it read the present latent and action.
            latents: The present latent; read only where means are relative to it.
        """
        config = self.config
        raw = self.output(hidden)
        end = raw[..., -1] if config.has_end else raw.new_full(raw.shape[:-1], -math.inf)
        raw = raw[..., : config.num_mixture_outputs]
        # Views instead of einops: this runs for every dreamed step.
        sizes = (self._parts, config.latent_channels, config.num_components)
        parts = raw.unflatten(-1, sizes).unbind(dim=-3)
        means, spreads = parts[-2], parts[-1]
        logits = parts[0] if self._parts == 3 else torch.zeros_like(means)
        if config.predicts_change:
            means = means + latents.unsqueeze(-1)
        if self.linear_step is not None:
            means = means + self.linear_step(latents).unsqueeze(-1)
        floor = math.log(config.min_std)
        # A soft floor: a hard one would stop the gradient of a spread that has reached it.
        log_stds = floor + functional.softplus(spreads - floor)
        return Mixture(logits=logits, means=means, log_stds=log_stds), end

    def expected_reward(self, hidden: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """Return the reward that arrives with the next frame; zero without a head."""
        if self.reward is None:
            return hidden.new_zeros(hidden.shape[:-1])
        return self.reward(hidden)[..., 0]

    def end_probability(self, weighted_logit: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Undo the bias of the weighted loss: its logit is logit(p) + ln(weight)."""
        return torch.sigmoid(weighted_logit - math.log(self.config.end_weight))

    @property
    def _parts(self) -> int:
        return 2 if self.config.num_components == 1 else 3
