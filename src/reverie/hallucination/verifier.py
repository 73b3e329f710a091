"""A learned gauge: did this transition happen, or was it imagined? (own design).

A small network reads the latents before, the action and the latent after, and gives the logit that
the transition is a real one. It is trained after the world model and apart from it, see
``verifier_training``. It has never seen what will go wrong: it knows how real frames follow each
other, and how this model's own frames do.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.core.files import atomic_path
from reverie.models.api import Gauge, LatentSpec, StepContext, WorldModel

SIGNAL = "verifier"
"""Name of its reading among a step's signals."""
FILE_NAME = "verifier.safetensors"
HISTORY = 4
"""Latents before the step that are looked at."""
REMEDY = "Train it with: reverie calibrate MODEL --verifier"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierConfig:
    """Sizes of the network."""

    num_tokens: int
    num_channels: int
    action_width: int
    width: int = 64
    """Numbers a token has inside; the pocket model's verifier has 43 thousand parameters."""
    depth: int = 2

    def __post_init__(self) -> None:
        """Refuse empty networks."""
        sizes = (self.num_tokens, self.num_channels, self.action_width, self.width, self.depth)
        if min(sizes) < 1:
            raise ConfigError(f"Every size of a verifier must be at least 1, got {sizes}.")

    @classmethod
    def of(cls, world: WorldModel) -> "VerifierConfig":
        """Take the sizes of a model's latents and actions."""
        spec: LatentSpec = world.latent_spec
        return cls(
            num_tokens=spec.num_tokens,
            num_channels=spec.num_channels,
            action_width=world.action_width,
        )


class _Mixer(nn.Module):
    """Mixes tokens, then channels (Tolstikhin et al. 2021, arXiv 2105.01601)."""

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.token_norm, self.channel_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(
            nn.Linear(num_tokens, 2 * num_tokens), nn.GELU(), nn.Linear(2 * num_tokens, num_tokens)
        )
        self.channels = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        mixed = self.tokens(rearrange(self.token_norm(x), "b n w -> b w n"))
        x = x + rearrange(mixed, "b w n -> b n w")
        return x + self.channels(self.channel_norm(x))


class Verifier(nn.Module):
    """The logit that a transition is real."""

    def __init__(self, config: VerifierConfig) -> None:
        """Make an untrained network."""
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Linear((HISTORY + 2) * config.num_channels, width)
        self.act = nn.Linear(config.action_width, width)
        self.place = nn.Parameter(torch.zeros(config.num_tokens, width))
        self.blocks = nn.ModuleList(_Mixer(config.num_tokens, width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(2 * width)
        self.head = nn.Linear(2 * width, 1)

    def forward(
        self,
        past: Float[Tensor, "b t n d"],
        action: Float[Tensor, "b a"],
        latent: Float[Tensor, "b n d"],
    ) -> Float[Tensor, " b"]:
        """Return the logit of each transition.

        Args:
            past: The latents before, the newest last, in model units. Where fewer than ``HISTORY``
                are known the first is repeated; training shows such pasts too.
            action: What led from the newest of them to ``latent``.
            latent: What followed, or is said to have followed.
        """
        past = fill_past(past)
        seen = rearrange(past, "b t n d -> b n (t d)")
        tokens = torch.cat([seen, latent, latent - past[:, -1]], dim=2)
        x = self.embed(tokens) + self.act(action)[:, None] + self.place
        for block in self.blocks:
            x = block(x)
        pooled = torch.cat([x.mean(dim=1), x.amax(dim=1)], dim=1)
        return rearrange(self.head(self.norm(pooled)), "b 1 -> b")


def fill_past(past: Float[Tensor, "b t n d"]) -> Float[Tensor, "b h n d"]:
    """Return the last ``HISTORY`` latents; where there are fewer, the first is repeated."""
    known = past[:, -HISTORY:]
    missing = HISTORY - known.shape[1]
    if not missing:
        return known
    return torch.cat([repeat(known[:, 0], "b n d -> b t n d", t=missing), known], dim=1)


def verifier_gauge(verifier: Verifier) -> Gauge:
    """Make the gauge ``verifier``: the logit that the step was imagined; larger is worse.

    A gauge sees one step, so the past is its newest frame alone.
    """

    @torch.no_grad()
    def gauge(world: WorldModel, step: StepContext) -> Float[Tensor, " b"]:
        return -verifier(step.before.latent[:, None], step.action, step.prediction.latent)

    return gauge


def save_verifier(verifier: Verifier, folder: Path, *, checkpoint: str) -> Path:
    """Write the verifier of a model into its folder.

    Args:
        verifier: The network.
        folder: Of the model, or any other.
        checkpoint: Digest of the model that it was trained for.
    """
    path = folder / FILE_NAME
    facts = {name: str(value) for name, value in to_dict(verifier.config).items()}
    tensors = {name: value.contiguous() for name, value in verifier.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"checkpoint": checkpoint, **facts})
    return path


def load_verifier(folder: Path, *, checkpoint: str) -> Verifier:
    """Read a model's verifier.

    Raises:
        DataError: There is none, or it cannot be read.
        CheckpointError: It was trained for another model.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise DataError(f"The model at '{folder}' has no verifier. {REMEDY}")
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            found = facts.pop("checkpoint", None)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = from_dict(VerifierConfig, {name: int(value) for name, value in facts.items()})
        verifier = Verifier(config)
        verifier.load_state_dict(tensors)
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"'{path}' is no verifier: {error}. {REMEDY}") from error
    if found != checkpoint:
        raise CheckpointError(
            f"The verifier in '{path}' was trained for checkpoint {found}, and the model is "
            f"{checkpoint}. A verifier does not carry over. {REMEDY}"
        )
    return verifier.eval().requires_grad_(False)
