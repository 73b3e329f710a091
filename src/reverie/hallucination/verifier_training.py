"""Train a verifier: real transitions against imagined ones, and against near misses.

Half of the real frames go through the tokenizer once more before they are shown, else its
fingerprint, which every dreamed frame carries, would give the game away.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from reverie.core.errors import DataError
from reverie.hallucination.verifier import HISTORY, Verifier, VerifierConfig

NUM_NEGATIVES = 15
"""Candidates besides the true one in the contrastive loss."""
OFFSETS = (-8, -6, -5, -4, -3, -2, 2, 3, 4, 5, 6, 8)
"""Frames by which a near miss lies off the true one."""
SHORT_PAST_SHARE = 0.3
"""Transitions whose past is a single frame, as the plain gauge sees them."""
MIN_ACTION_DIFFERENCE = 0.1
"""Another action differs by more than this in some lane."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Transitions:
    """Real and dreamed latents of the same clips, in model units."""

    real: Float[Tensor, "r f n d"]
    """The context first, then the frames that the dream was to show."""
    passed: Float[Tensor, "r f n d"]
    """The same frames, decoded and encoded once more."""
    dreamed: Float[Tensor, "r s t n d"]
    """Several dreams of each clip; they begin after the context."""
    actions: Float[Tensor, "r t a"]
    """Of the dreamed steps."""
    task: Int64[Tensor, " r"]

    @property
    def num_context(self) -> int:
        """Real frames before the first dreamed one."""
        return self.real.shape[1] - self.actions.shape[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierTraining:
    """How a verifier is trained."""

    num_steps: int = 1200
    num_rows: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 0


def verifier_loss(
    real: Float[Tensor, " r"], negative: Float[Tensor, " k"], candidates: Float[Tensor, "b c"]
) -> tuple[Tensor, Tensor]:
    """Return binary cross-entropy, both sides weighing the same, and InfoNCE.

    Args:
        real: Logits of real transitions.
        negative: Logits of others.
        candidates: Logits of what might follow each past; the first is what did.
    """
    softplus = torch.nn.functional.softplus
    entropy = 0.5 * (softplus(-real).mean() + softplus(negative).mean())
    contrast = torch.logsumexp(candidates, dim=1) - candidates[:, 0]
    return entropy, contrast.mean()


def train_verifier(
    data: Transitions,
    config: VerifierConfig,
    training: VerifierTraining,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> Verifier:
    """Train a verifier; the same data, config and seed give the same one.

    Args:
        data: What happened and what was dreamed.
        config: Sizes.
        training: How long and how fast.
        on_step: Told of each step and its loss.

    Raises:
        DataError: There are fewer clips than near misses need.
    """
    if len(data.real) < 2:
        raise DataError(f"A verifier needs at least 2 clips to learn from, got {len(data.real)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        verifier = Verifier(config)
    rng = torch.Generator().manual_seed(training.seed)
    optimiser = torch.optim.AdamW(
        verifier.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=training.learning_rate, total_steps=training.num_steps, pct_start=0.1
    )
    for step in range(training.num_steps):
        entropy, contrast = verifier_loss(*_logits(verifier, data, training.num_rows, rng))
        loss = 0.5 * entropy + 0.5 * contrast
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))
    return verifier.eval().requires_grad_(False)


def _logits(
    verifier: Verifier, data: Transitions, num_rows: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw transitions and judge them: real ones, imagined ones, and candidates of one past."""
    num_clips, num_steps = data.actions.shape[:2]
    rows = torch.randint(num_clips, (num_rows,), generator=rng)
    steps = torch.randint(num_steps, (num_rows,), generator=rng)
    frames = data.num_context + steps
    action = data.actions[rows, steps]
    is_passed = torch.rand(num_rows, generator=rng) < 0.5
    true = torch.where(is_passed[:, None, None], data.passed[rows, frames], data.real[rows, frames])
    past = _past(data.real[rows], frames, rng)
    which = torch.randint(data.dreamed.shape[1], (num_rows,), generator=rng)
    dreamed = data.dreamed[rows, which]
    whole = torch.cat([data.real[rows, : data.num_context], dreamed], dim=1)
    imagined = verifier(_past(whole, frames, rng), action, dreamed[torch.arange(num_rows), steps])
    donors, is_other = _other_actions(data, rows, action, rng)
    exchanged = verifier(past[is_other], donors[is_other], true[is_other])
    nearby = _near_misses(data, rows, frames, true, rng)
    shown = torch.cat([true[:, None], dreamed[torch.arange(num_rows), steps][:, None], nearby], 1)
    count = shown.shape[1]
    judged = verifier(
        past.repeat_interleave(count, dim=0),
        action.repeat_interleave(count, dim=0),
        shown.flatten(0, 1),
    ).view(num_rows, count)
    negative = torch.cat([imagined, exchanged, judged[:, 2:5].flatten()])
    return judged[:, 0], negative, judged


def _past(
    latents: Float[Tensor, "b f n d"], frames: Int64[Tensor, " b"], rng: torch.Generator
) -> Float[Tensor, "b h n d"]:
    """Return the latents before some frames; of a share only the newest, repeated."""
    back = torch.arange(-HISTORY, 0)
    is_short = torch.rand(len(frames), generator=rng) < SHORT_PAST_SHARE
    back = torch.where(is_short[:, None], torch.full_like(back, -1), back)
    index = (frames[:, None] + back).clamp_min(0)
    return latents[torch.arange(len(frames))[:, None], index]


def _other_actions(
    data: Transitions, rows: Int64[Tensor, " b"], action: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw actions of the same task, and tell which of them really differ."""
    donors = _same_task(data, rows, 1, rng)[:, 0]
    steps = torch.randint(data.actions.shape[1], (len(rows),), generator=rng)
    other = data.actions[donors, steps]
    return other, (other - action).abs().amax(dim=1) > MIN_ACTION_DIFFERENCE


def _near_misses(
    data: Transitions,
    rows: Int64[Tensor, " b"],
    frames: Int64[Tensor, " b"],
    true: Float[Tensor, "b n d"],
    rng: torch.Generator,
) -> Float[Tensor, "b c n d"]:
    """Draw frames of another moment, of another clip of the task, and drifted ones."""
    num_rows, last = len(rows), data.real.shape[1] - 1
    each = (NUM_NEGATIVES - 1) // 3
    pick = torch.randint(len(OFFSETS), (num_rows, each), generator=rng)
    moved = frames[:, None] + torch.tensor(OFFSETS)[pick]
    # Beyond the clip's ends, off to the other side.
    moved = torch.where((moved < 0) | (moved > last), 2 * frames[:, None] - moved, moved)
    moment = data.real[rows[:, None], moved.clamp(0, last)]
    donors = _same_task(data, rows, each, rng)
    places = torch.randint(last + 1, (num_rows, each), generator=rng)
    elsewhere = data.real[donors, places]
    rest = NUM_NEGATIVES - 1 - 2 * each
    size = 0.05 + 0.45 * torch.rand((num_rows, rest, 1, 1), generator=rng)
    towards = data.real[_same_task(data, rows, rest, rng), places[:, :1].expand(-1, rest)]
    drifted = true[:, None] + size * (towards - true[:, None])
    return torch.cat([moment, elsewhere, drifted], dim=1)


def _same_task(
    data: Transitions, rows: Int64[Tensor, " b"], count: int, rng: torch.Generator
) -> Int64[Tensor, "b c"]:
    weights = (data.task[rows][:, None] == data.task[None]).float()
    return torch.multinomial(weights, count, replacement=True, generator=rng)
