"""C: a linear controller on what the dream carries, and whole populations of them at once."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError, ShapeError

ActionMap = Literal["binary", "tanh", "thirds", "car"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerConfig:
    """Size of C, and how its outputs become native actions in [-1, 1]."""

    num_features: int
    num_outputs: int = 1
    has_bias: bool = True
    num_hidden: int = 0
    """Units of a tanh layer between; 0 is the linear controller."""
    action_map: ActionMap = "tanh"
    """``binary``: above zero is +1, else -1. ``thirds``: tanh beyond a third moves, else stays.
    ``car``: tanh; gas is moved from [-1, 1] to [0, 1], a negative brake is none."""

    def __post_init__(self) -> None:
        """Refuse sizes below one."""
        if self.num_features < 1 or self.num_outputs < 1 or self.num_hidden < 0:
            raise ConfigError(
                f"A controller needs at least one feature and one output, got "
                f"{self.num_features} and {self.num_outputs}."
            )
        if self.action_map == "car" and self.num_outputs != 3:
            raise ConfigError(f"The 'car' map steers, gasses and brakes, got {self.num_outputs}.")

    @property
    def num_parameters(self) -> int:
        """Length of the vector that CMA-ES searches."""
        bias = int(self.has_bias)
        if not self.num_hidden:
            return (self.num_features + bias) * self.num_outputs
        hidden = (self.num_features + 1) * self.num_hidden
        return hidden + (self.num_hidden + bias) * self.num_outputs


def act(
    config: ControllerConfig,
    parameters: Float[Tensor, "k p"],
    features: Float[Tensor, "s k m"],
) -> Float[Tensor, "s k a"]:
    """Let every candidate act on its own row of every start.

    Args:
        config: Their common shape.
        parameters: One vector per candidate.
        features: Rows by start, then candidate.
    """
    if parameters.shape[1] != config.num_parameters or features.shape[-1] != config.num_features:
        raise ShapeError(
            f"This controller has {config.num_parameters} parameters over {config.num_features} "
            f"features, got {parameters.shape[1]} and {features.shape[-1]}."
        )
    used = 0
    values = features.transpose(0, 1)
    sizes = [(config.num_outputs, config.has_bias)]
    if config.num_hidden:
        sizes = [(config.num_hidden, True), *sizes]
    for index, (num_outputs, has_bias) in enumerate(sizes):
        if index:
            values = torch.tanh(values)
        num_inputs = values.shape[-1]
        stop = used + num_inputs * num_outputs
        weight = parameters[:, used:stop].reshape(-1, num_inputs, num_outputs)
        used = stop
        values = torch.bmm(values, weight)
        if has_bias:
            values = values + parameters[:, None, used : used + num_outputs]
            used += num_outputs
    return _to_actions(config.action_map, values.transpose(0, 1))


def _to_actions(kind: ActionMap, raw: Float[Tensor, "s k a"]) -> Float[Tensor, "s k a"]:
    if kind == "binary":
        return torch.where(raw > 0, 1.0, -1.0)
    squashed = torch.tanh(raw)
    if kind == "thirds":
        return torch.sign(squashed) * (squashed.abs() > 1 / 3)
    if kind == "car":
        # Native pedals run from -1 (released) to 1; the paper's gas is (tanh + 1) / 2, its brake
        # is clipped at zero.
        brake = 2 * squashed[..., 2:].clamp_min(0) - 1
        return torch.cat([squashed[..., :2], brake], dim=-1)
    return squashed
