"""How real a dream still looks, learned for the search: a verifier of M's own dreams.

The verifier is trained on windows of the real latents that C's dreams start from, and calibrated
and judged on those of other episodes; ``planning.imagine`` weighs rewards by it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed, numpy_rng
from reverie.hallucination.verifier import HISTORY, Verifier, VerifierConfig, verifier_gauge
from reverie.hallucination.verifier_training import (
    Transitions,
    VerifierTraining,
    train_verifier,
)
from reverie.models.api import Gauge, StepContext, WorldModel
from reverie.models.classic.objective import draw_latents
from reverie.models.classic.world import ClassicWorld
from reverie.planning.imagine import Trust
from reverie.train.classic import LatentStream

MIN_CLIPS = 24
"""With fewer nothing can be learned and held out."""
_NUM_DREAMS = 2
"""Dreams of each clip."""
_TEMPERATURES = torch.logspace(-1, 2, 61)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustConfig:
    """The verifier that weighs imagined reward; off by default."""

    steps: int = 0
    """Steps of its training; 0 trusts every dream."""
    clips: int = 384
    """Windows of real latents, at most; a third is held out."""
    horizon: int = 16
    """Dreamed steps of a window. Random play of CartPole is seldom much longer."""

    def __post_init__(self) -> None:
        """Refuse what cannot be learned from."""
        if self.steps < 0 or self.clips < MIN_CLIPS or self.horizon < 1:
            raise ConfigError(
                f"A verifier needs steps of at least 0, at least {MIN_CLIPS} clips and a horizon "
                f"of at least 1, got {self.steps}, {self.clips} and {self.horizon}."
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedTrust:
    """A way to weigh rewards, and how good the verifier behind it is."""

    trust: Trust
    auroc_first: float
    """How well it tells first steps of held-out dreams from real ones; ½ is right for a perfect
    M."""
    auroc_last: float
    """The same of the last steps."""


def fit_trust(
    world: ClassicWorld, stream: LatentStream, config: TrustConfig, *, seed: int
) -> FittedTrust:
    """Train, calibrate and judge a verifier of a model's dreams; the same seed gives the same one.

    Args:
        world: Trained V and M.
        stream: Real latents.
        config: How long, on how many windows.
        seed: Of windows, dreams and training.

    Raises:
        ConfigError: The data has too few windows.
    """
    data, episodes = _make_transitions(world, stream, config, seed)
    is_held = episodes % 3 == 2
    fit, held = _part(data, ~is_held), _part(data, is_held)
    if min(len(fit.real), len(held.real)) < 2:
        raise ConfigError("A verifier needs windows of several episodes. Collect more episodes.")
    training = VerifierTraining(num_steps=config.steps, seed=child_seed(seed, "train") % 2**31)
    verifier = train_verifier(fit, VerifierConfig.of(world), training)
    real, dreamed = _read(verifier, held, held.real), _read(verifier, held, _dreams(held))
    temperature = _calibrate(real, dreamed)
    usual = float(torch.sigmoid(dreamed[:, 0] / temperature).mean())
    trust = Trust(
        doubt=_scaled(verifier_gauge(verifier), temperature),
        usual=usual,
        reward_floor=_reward_floor(world, stream),
    )
    return FittedTrust(
        trust=trust,
        auroc_first=_auroc(real[:, 0], dreamed[:, 0]),
        auroc_last=_auroc(real[:, -1], dreamed[:, -1]),
    )


def _make_transitions(
    world: ClassicWorld, stream: LatentStream, config: TrustConfig, seed: int
) -> tuple[Transitions, Int64[Tensor, " r"]]:
    """Cut windows that lie inside one episode and dream them again; return their episodes too."""
    context = max(HISTORY, world.max_context)
    length = context + config.horizon
    episode = stream.lanes.is_first[0].long().cumsum(0)
    begins = torch.arange(max(0, stream.num_frames - length + 1))
    is_whole = episode[begins + context - HISTORY] == episode[begins + length - 1]
    places = torch.nonzero(is_whole)[:, 0].numpy()
    if len(places) < MIN_CLIPS:
        raise ConfigError(
            f"The data has {len(places)} windows of {HISTORY + config.horizon} frames inside an "
            f"episode, a verifier needs {MIN_CLIPS}. Set a smaller search.trust.horizon."
        )
    rng = numpy_rng(seed, "clips")
    chosen = np.sort(rng.choice(places, size=min(config.clips, len(places)), replace=False))
    windows = stream.cut(chosen.tolist(), length)
    generator = torch.Generator()
    generator.manual_seed(child_seed(seed, "dreams"))
    latents = draw_latents(windows.mean, windows.log_variance, generator)
    again = draw_latents(windows.mean, windows.log_variance, generator)
    actions = world.rnn.read_actions(windows.prev_actions[:, context:])
    state: Any = world.start_from_latents(
        latents[:, :context],
        prev_actions=windows.prev_actions[:, :context],
        is_first=windows.is_first[:, :context],
        action_mask=stream.lanes.action_mask.expand(len(chosen), -1),
        task=stream.lanes.task * len(chosen),
    ).fork(_NUM_DREAMS)
    dreamed: list[Tensor] = []
    for step in range(config.horizon):
        noise = world.draw_noise(state.num_rows, generator)
        state, prediction = world.step(
            state, actions[:, step].repeat_interleave(_NUM_DREAMS, dim=0), noise
        )
        dreamed.append(prediction.latent)
    kept = slice(context - HISTORY, None)
    data = Transitions(
        real=rearrange(latents[:, kept], "r f d -> r f 1 d"),
        passed=rearrange(again[:, kept], "r f d -> r f 1 d"),
        dreamed=rearrange(dreamed, "t (r s) n d -> r s t n d", s=_NUM_DREAMS),
        actions=actions,
        task=torch.zeros(len(chosen), dtype=torch.long),
    )
    return data, episode[torch.from_numpy(chosen) + length - 1]


def _part(data: Transitions, rows: Bool[Tensor, " r"]) -> Transitions:
    return replace(
        data,
        real=data.real[rows],
        passed=data.passed[rows],
        dreamed=data.dreamed[rows],
        actions=data.actions[rows],
        task=data.task[rows],
    )


def _dreams(data: Transitions) -> Float[Tensor, "r f n d"]:
    """Return the first dream of each clip behind its real past."""
    return torch.cat([data.real[:, : data.num_context], data.dreamed[:, 0]], dim=1)


@torch.no_grad()
def _read(
    verifier: Verifier, data: Transitions, latents: Float[Tensor, "r f n d"]
) -> Float[Tensor, "r t"]:
    """Return the logit of every step, from the newest frame alone, as the gauge sees it."""
    columns = [
        verifier(latents[:, frame - 1 : frame], data.actions[:, step], latents[:, frame])
        for step, frame in enumerate(range(data.num_context, latents.shape[1]))
    ]
    return torch.stack(columns, dim=1)


def _calibrate(real: Float[Tensor, "r t"], dreamed: Float[Tensor, "r t"]) -> float:
    """Return the temperature under which held-out logits are the likeliest."""
    losses = [
        float(functional.softplus(-real / t).mean() + functional.softplus(dreamed / t).mean())
        for t in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _scaled(gauge: Gauge, temperature: float) -> Gauge:
    def doubt(world: WorldModel, step: StepContext) -> Float[Tensor, " b"]:
        return gauge(world, step) / temperature

    return doubt


def _reward_floor(world: ClassicWorld, stream: LatentStream) -> float:
    """Return what a step is worth that is not trusted at all."""
    lanes = stream.lanes
    smallest = float(lanes.prev_rewards[0][~lanes.is_first[0]].min())
    # Differs from the specification, whose floor is the smallest reward: a task that pays 1 on
    # every step would never feel any doubt. Where episodes can end, the worst is an end.
    can_end = bool(set(stream.lanes.task) & set(world.config.terminating_tasks))
    return min(0.0, smallest) if can_end else smallest


def _auroc(real: Float[Tensor, " r"], dreamed: Float[Tensor, " q"]) -> float:
    above = real[:, None] - dreamed[None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())
