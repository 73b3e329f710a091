"""A contrast over actions: M must fit what happened better under the true ones than under others.

Maximum likelihood lets M ignore what an action changes as long as that is small beside the rest of
the picture. Here M's mean under the true actions competes with its means under perturbed ones for
the latent that really followed (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748).
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from reverie.models.classic.mdn_rnn import MdnRnn

_MIN_SCALE = 1e-6
"""Squared distances are measured in no smaller unit: means may all be alike and right."""


def draw_candidates(
    actions: Float[Tensor, "b t a"], num_rows: int, rng: torch.Generator
) -> Float[Tensor, "b c t a"]:
    """Line up what was done, its opposite, and what was done in other rows of the batch.

    Args:
        actions: The true ones; they are the first candidate of their row.
        num_rows: Other rows per row; one may be drawn twice.
        rng: Draws them.
    """
    count = len(actions)
    if count < 2:
        return torch.stack([actions, -actions], dim=1)
    shape = (count, num_rows)
    away = torch.randint(1, count, shape, generator=rng, device=rng.device).to(actions.device)
    donors = (torch.arange(count, device=actions.device)[:, None] + away) % count
    return torch.cat([actions[:, None], -actions[:, None], actions[donors]], dim=1)


def contrast_actions(
    rnn: MdnRnn,
    state: tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]],
    latents: Float[Tensor, "b t d"],
    candidates: Float[Tensor, "b c t a"],
    target: Float[Tensor, "b d"],
    counts: Bool[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Return -log of the share of the true actions in exp(-distance^2 / 2 k), row by row.

    Distances are from M's mean under each candidate to ``target``; k is the median of their
    squares over the rows that count. Candidates that M reads like the true actions do not take
    part; a row that has no other one costs nothing.

    Args:
        rnn: M.
        state: Hidden and cell state before the first of the latents.
        latents: Real latents; the actions leave them one after the other.
        candidates: The true actions first.
        target: The latent that followed the last of them.
        counts: Rows that lie inside one episode; the others cost nothing.
    """
    count = candidates.shape[1]
    shown = repeat(latents, "b t d -> b c t d", c=count)
    never = torch.zeros(shown.shape[:-1], dtype=torch.bool, device=shown.device)
    read = rnn.to_inputs(shown, candidates, never)
    is_other = (read != read[:, :1]).flatten(2).any(dim=2)
    hidden, cell = (repeat(part, "b m -> (b c) m", c=count) for part in state)
    states, _ = rnn.lstm(rearrange(read, "b c t i -> (b c) t i"), never.flatten(0, 1), hidden, cell)
    last = rearrange(shown[:, :, -1], "b c d -> (b c) d")
    mixture, _ = rnn.mixture(states[:, -1], last)
    means = rearrange(mixture.mean(), "(b c) d -> b c d", c=count)
    squares = (means - target[:, None]).square().sum(dim=-1)
    known = squares.detach().masked_fill(~counts[:, None], torch.nan)
    scale = known.nanmedian().nan_to_num(1.0).clamp_min(_MIN_SCALE)
    takes_part = is_other.clone()
    takes_part[:, 0] = True
    scores = (-squares / (2 * scale)).masked_fill(~takes_part, -torch.inf)
    return (torch.logsumexp(scores, dim=1) - scores[:, 0]).masked_fill(~counts, 0.0)
