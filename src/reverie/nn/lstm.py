"""An LSTM with one bias and resets inside a window."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Lstm(nn.Module):
    """A single LSTM layer (Hochreiter & Schmidhuber 1997), gates in the order i, f, g, o.

    Differs from ``nn.LSTM``: one bias vector rather than two, the forget gate's starting at 1, and
    the state can be zeroed anywhere inside a window, so that episodes can be packed.
    """

    def __init__(self, num_inputs: int, num_units: int) -> None:
        """Build an untrained layer."""
        super().__init__()
        self.num_units = num_units
        self.inputs = nn.Linear(num_inputs, 4 * num_units)
        self.recurrent = nn.Linear(num_units, 4 * num_units, bias=False)
        with torch.no_grad():
            bound = num_units**-0.5
            for weight in (self.inputs.weight, self.recurrent.weight):
                weight.uniform_(-bound, bound)
            self.inputs.bias.zero_()
            self.inputs.bias[num_units : 2 * num_units] = 1.0

    def step(
        self,
        inputs: Float[Tensor, "b i"],
        hidden: Float[Tensor, "b m"],
        cell: Float[Tensor, "b m"],
    ) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
        """Advance by one input; return hidden and cell state."""
        return _gate(self.inputs(inputs) + self.recurrent(hidden), cell)

    def forward(
        self,
        inputs: Float[Tensor, "b t i"],
        resets: Bool[Tensor, "b t"],
        hidden: Float[Tensor, "b m"] | None = None,
        cell: Float[Tensor, "b m"] | None = None,
    ) -> tuple[Float[Tensor, "b t m"], Float[Tensor, "b m"]]:
        """Run over windows.

        Args:
            inputs: One row per window.
            resets: Where True, the state is zero before this input.
            hidden: State before the first input; zero by default.
            cell: As ``hidden``.

        Returns:
            The hidden states, and the last cell state.
        """
        driven = self.inputs(inputs)
        zero = driven.new_zeros(inputs.shape[0], self.num_units)
        state: Tensor = zero if hidden is None else hidden
        memory: Tensor = zero if cell is None else cell
        keeps = rearrange((~resets).to(driven.dtype), "b t -> t b 1")
        states: list[Tensor] = []
        for drive, keep in zip(driven.unbind(dim=1), keeps, strict=True):
            state, memory = _gate(drive + self.recurrent(state * keep), memory * keep)
            states.append(state)
        return torch.stack(states, dim=1), memory


def _gate(
    gates: Float[Tensor, "b g"], cell: Float[Tensor, "b m"]
) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
    enter, forget, candidate, leave = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(cell), cell
