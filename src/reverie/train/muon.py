"""Muon for matrices and AdamW for everything else, as one optimiser.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) steps along the momentum with
all its singular values made about 1, so that rare directions move as far as common ones. torch has
it for tensors with two axes (``torch.optim.Muon``); here convolutions are matrices too, matrices of
one shape are multiplied together, and the state lives in one optimiser beside that of AdamW.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of x, x³ and x⁵: the published polynomial that drives singular values towards 1 fastest."""
_NUM_ITERATIONS = 5
_RMS_OF_ADAM = 0.2
"""How large AdamW's updates are, in shares of the rate; Muon's are scaled alike (Liu et al. 2025,
arXiv 2502.16982), so that one rate serves both."""
_MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


class MuonAdamW(torch.optim.AdamW):
    """Steps groups that have ``is_matrix`` by Muon, and the others by AdamW."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        """Take parameters.

        Args:
            matrices: With two axes or more; all but the first are read as one.
            others: Groups of AdamW.
            lr: Of both.
            betas: Of AdamW.
            weight_decay: Of the matrices, per unit of ``lr``.
            momentum: Of the matrices (Nesterov's).
        """
        group = {
            "params": list(matrices),
            "is_matrix": True,
            "momentum": momentum,
            "weight_decay": weight_decay,
        }
        super().__init__([group, *others], lr=lr, betas=betas, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step everything that has a gradient; the gradients of the matrices are used up."""
        for group in self.param_groups:
            if group.get("is_matrix"):
                self._step_matrices(group)
        return super().step(closure)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is not None:
                by_shape[tuple(weight.flatten(1).shape)].append(weight)
        for (rows, columns), weights in by_shape.items():
            directions = torch.stack([self._direction(w, group["momentum"]) for w in weights])
            size = group["lr"] * _RMS_OF_ADAM * max(rows, columns) ** 0.5
            for weight, update in zip(weights, orthogonal(directions), strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(update.view_as(weight), alpha=size)

    def _direction(self, weight: Tensor, momentum: float) -> Float[Tensor, "r c"]:
        """Update the momentum of a weight, and look one step ahead along it."""
        assert weight.grad is not None, "only weights with gradients are stepped"
        gradient, state = weight.grad, self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # AdamW wants every state to have one when it loads.
        state["momentum"].lerp_(gradient, 1 - momentum)
        weight.grad = None  # AdamW passes over what has no gradient.
        return gradient.lerp(state["momentum"], momentum).flatten(1)


def orthogonal(matrices: Float[Tensor, "b r c"]) -> Float[Tensor, "b r c"]:
    """Return matrices with the same singular vectors and values of about 1 (0.7 to 1.2).

    Each step multiplies by a polynomial p(x xT); all of them together are one product of small
    square matrices, so that the long side is touched twice, not ten times.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    square = x @ x.mT
    whole = factor = _polynomial(square)
    for _ in range(_NUM_ITERATIONS - 1):
        square = factor @ square @ factor
        factor = _polynomial(square)
        whole = factor @ whole
    x = whole @ x
    return x.mT if is_tall else x


def _polynomial(square: Float[Tensor, "b r r"]) -> Float[Tensor, "b r r"]:
    first, third, fifth = _COEFFICIENTS
    identity = torch.eye(square.shape[1], dtype=square.dtype, device=square.device)
    return torch.baddbmm(first * identity + third * square, square, square, alpha=fifth)


def matrix_weights(module: nn.Module) -> list[Tensor]:
    """Return the weights of a module's linear and convolutional layers that are trained.

    Tables of embeddings and learned tokens are none: their rows are not used together.
    """
    layers = (layer for layer in module.modules() if isinstance(layer, _MATRIX_LAYERS))
    weights = {id(layer.weight): layer.weight for layer in layers if layer.weight.requires_grad}
    return list(weights.values())
