"""How alike two pictures look: LPIPS with the user's weights, or a pyramid that needs none.

LPIPS (Zhang et al. 2018, arXiv 1801.03924) compares features of a network that was trained to
classify photographs. Its weights are not ours to ship: the user names two files, and both must
have the checksum of the published ones. Without them there is a multi-scale distance of another
name. It is not LPIPS, and no report calls it so.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from reverie.core.errors import CheckpointError, ConfigError
from reverie.core.tensors import load_tensors

Kind = Literal["none", "pyramid", "lpips-alex", "lpips-vgg"]

PAPER_WEIGHT = 0.2
"""Weight of LPIPS beside the squared error (arXiv 2509.24527 and 2606.27326)."""

PUBLISHED_SHA256: dict[str, tuple[str, str]] = {
    "lpips-alex": (
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
    "lpips-vgg": (
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
}
"""SHA-256 of trunk and heads. Trunks: ``alexnet-owt-7be5be79.pth`` and ``vgg16-397923af.pth`` of
torchvision's model zoo, whose names begin these sums. Heads: ``weights/v0.1/alex.pth`` and
``vgg.pth`` of the package ``lpips`` 0.1.4."""

_SOURCES = {
    "lpips-alex": ("alexnet-owt-7be5be79.pth of torchvision's model zoo", "v0.1/alex.pth"),
    "lpips-vgg": ("vgg16-397923af.pth of torchvision's model zoo", "v0.1/vgg.pth"),
}
_DESCRIPTIONS = {
    "pyramid": "normalised Laplacian pyramid (offline stand-in, not LPIPS)",
    "lpips-alex": "LPIPS (AlexNet, v0.1)",
    "lpips-vgg": "LPIPS (VGG16, v0.1)",
}
SMALLEST_PX = {"none": 1, "pyramid": 8, "lpips-alex": 32, "lpips-vgg": 16}
"""Smallest side of a picture: below it a trunk has nothing left to look at."""

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_NORM_FLOOR = 1e-10
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_MAX_LEVELS = 4
_CONTRAST_FLOOR = 0.1
"""Of full contrast: weaker detail is compared as it is, stronger detail relative to itself."""

Distance = Callable[[Float[Tensor, "r 3 h w"], Float[Tensor, "r 3 h w"]], Float[Tensor, " r"]]
"""Of two batches of pictures in [0, 1], one number a picture; the second is the truth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerceptualConfig:
    """A term that the tokenizer's loss has beside the squared error."""

    kind: Kind = "none"
    """``lpips-alex`` and ``lpips-vgg`` need both files; ``pyramid`` needs nothing."""
    weight: float = PAPER_WEIGHT
    """Each term is divided by its own running RMS before it is weighted."""
    every_frames: int = 2
    """Only every so manyth frame of a window is compared: the term costs more than the rest."""
    trunk_file: str = ""
    """The classifier's weights, as torchvision publishes them."""
    heads_file: str = ""
    """The learned weights of the channels, as the package ``lpips`` brings them."""

    def __post_init__(self) -> None:
        """Refuse terms that cannot work."""
        if self.weight <= 0 or self.every_frames < 1:
            raise ConfigError(
                f"A perceptual term needs a weight above 0 and every_frames of at least 1, got "
                f"{self.weight} and {self.every_frames}. kind=none leaves the term out."
            )

    @property
    def loss_name(self) -> str:
        """The whole loss in words, for model cards and reports."""
        if self.kind == "none":
            return "mean squared error"
        return f"mean squared error + {self.weight:g} x {_DESCRIPTIONS[self.kind]}"

    @property
    def metric_name(self) -> str:
        """What the term is called among the metrics; only LPIPS is called LPIPS."""
        return "pyramid_not_lpips" if self.kind == "pyramid" else self.kind.replace("-", "_")


@dataclass(frozen=True, slots=True, eq=False)
class PerceptualTerm:
    """A distance with its place in the loss; no module: its weights are not trained or saved."""

    config: PerceptualConfig
    distance: Distance

    def __call__(
        self, painted: Float[Tensor, "b t 3 h w"], target: Float[Tensor, "b t 3 h w"]
    ) -> Float[Tensor, ""]:
        """Return the mean distance over every so manyth frame."""
        step = self.config.every_frames
        pairs = (x[:, ::step].flatten(0, 1).float() for x in (painted, target))
        return self.distance(*pairs).mean()


def load_perceptual(
    config: PerceptualConfig, *, device: torch.device | str = "cpu"
) -> PerceptualTerm | None:
    """Make the term that a config asks for; None where it asks for none.

    Raises:
        ConfigError: LPIPS is asked for without naming its files.
        CheckpointError: A file is missing, or is not the published one.
    """
    if config.kind == "none":
        return None
    if config.kind == "pyramid":
        return PerceptualTerm(config, pyramid_distance)
    trunk, heads = check_files(config)
    lpips = Lpips(config.kind)
    # Published before torch's files were archives; their checksums were compared just now.
    read = partial(load_tensors, error=CheckpointError, is_verified=True)
    lpips.load(read(trunk), read(heads))
    return PerceptualTerm(config, lpips.to(device).eval().requires_grad_(False))


def check_perceptual(config: PerceptualConfig, *, side_px: int) -> None:
    """Refuse a term that could not be made later, or that cannot see pictures this small.

    Args:
        config: The term.
        side_px: The shorter side of the frames.
    """
    if side_px < SMALLEST_PX[config.kind]:
        raise ConfigError(
            f"The perceptual term '{config.kind}' needs frames of at least "
            f"{SMALLEST_PX[config.kind]} px a side, got {side_px}. Use perceptual.kind=none."
        )
    if config.kind in PUBLISHED_SHA256:
        check_files(config)


def check_files(config: PerceptualConfig) -> tuple[Path, Path]:
    """Return the two files of an LPIPS term after checking that they are the published ones."""
    names = {"trunk_file": config.trunk_file, "heads_file": config.heads_file}
    paths: list[Path] = []
    facts = zip(names, _SOURCES[config.kind], PUBLISHED_SHA256[config.kind], strict=True)
    for name, source, wanted in facts:
        if not names[name]:
            raise ConfigError(
                f"perceptual.kind={config.kind} needs perceptual.{name}: {source}. "
                f"'docs/tokenizers.md' says where to get it; perceptual.kind=pyramid needs "
                f"none."
            )
        path = Path(names[name])
        if not path.is_file():
            raise CheckpointError(
                f"perceptual.{name} '{path}' is not there. It should be {source}."
            )
        found = _sha256(path)
        if found != wanted:
            raise CheckpointError(
                f"perceptual.{name} '{path}' is not {source}: its SHA-256 is {found[:16]}…, that "
                f"of the published file is {wanted[:16]}…. Fetch it again."
            )
        paths.append(path)
    return paths[0], paths[1]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Lpips(nn.Module):
    """Weighted distance of normalised features, averaged over places, summed over five layers.

    A module of our own with torchvision's names for the trunk (``features.0.weight`` …), so that
    published files load as they are.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, kind: str) -> None:
        """Make the network with random weights; ``load`` brings the published ones."""
        super().__init__()
        trunk, self.taps = _alexnet() if kind == "lpips-alex" else _vgg16()
        self.features = nn.Sequential(*trunk)
        widths = [_last_channels(trunk, tap) for tap in self.taps]
        self.weights = nn.ParameterList([nn.Parameter(torch.rand(width)) for width in widths])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))

    def load(self, trunk: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        """Take over published weights; the trunk's classifier is not needed."""
        mine = {f"features.{name}": value for name, value in self.features.named_parameters()}
        mine |= {f"lin{index}.model.1.weight": w for index, w in enumerate(self.weights)}
        theirs = {**trunk, **heads}
        for name, value in mine.items():
            if name not in theirs or theirs[name].numel() != value.numel():
                raise CheckpointError(
                    f"The files of trunk and heads do not fit this net: '{name}' should have "
                    f"{value.numel()} numbers."
                )
            with torch.no_grad():
                value.copy_(theirs[name].view_as(value))

    def forward(
        self, painted: Float[Tensor, "r 3 h w"], target: Float[Tensor, "r 3 h w"]
    ) -> Float[Tensor, " r"]:
        """Return the distance of each pair of pictures in [0, 1]."""
        pairs = zip(self._maps(painted), self._maps(target), self.weights, strict=True)
        return torch.stack([layer_distance(a, b, weight) for a, b, weight in pairs]).sum(dim=0)

    def _maps(self, pictures: Float[Tensor, "r 3 h w"]) -> list[Tensor]:
        value, maps = (2 * pictures - 1 - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            value = layer(value)
            if index in self.taps:
                maps.append(value)
        return maps


def layer_distance(
    first: Float[Tensor, "r c h w"], second: Float[Tensor, "r c h w"], weight: Float[Tensor, " c"]
) -> Float[Tensor, " r"]:
    """Return the distance of two feature maps, averaged over places (arXiv 1801.03924, eq. 1)."""
    unit = [x / (x.square().sum(dim=1, keepdim=True).sqrt() + _NORM_FLOOR) for x in (first, second)]
    difference = (unit[0] - unit[1]).square().float()
    return torch.einsum("rchw,c->rhw", difference, weight.float()).mean(dim=(1, 2))


def pyramid_distance(
    painted: Float[Tensor, "r 3 h w"], target: Float[Tensor, "r 3 h w"]
) -> Float[Tensor, " r"]:
    """Compare detail at several scales, relative to how much detail the truth has there.

    Each level of a Laplacian pyramid is divided by the local contrast of the true picture; the
    mean squared difference is averaged over the levels. In the manner of the normalised Laplacian
    pyramid of Laparra et al. 2016, with constants of our own.
    """
    levels = min(_MAX_LEVELS, max(1, int(math.log2(min(target.shape[-2:]))) - 2))
    total = torch.zeros(len(target), device=target.device)
    for _ in range(levels):
        below = _halve(painted), _halve(target)
        detail = painted - _grow(below[0], painted), target - _grow(below[1], target)
        contrast = _CONTRAST_FLOOR + _blur(detail[1].abs())
        total = total + ((detail[0] - detail[1]) / contrast).square().mean(dim=(1, 2, 3))
        painted, target = below
    return total / levels


def _blur(pictures: Float[Tensor, "r c h w"]) -> Float[Tensor, "r c h w"]:
    kernel = torch.tensor(_BINOMIAL, device=pictures.device, dtype=pictures.dtype)
    channels = pictures.shape[1]
    across = kernel.view(1, 1, 1, 5).expand(channels, 1, 1, 5)
    wide = functional.pad(pictures, (2, 2, 2, 2), mode="replicate")
    rows = functional.conv2d(wide, across, groups=channels)
    return functional.conv2d(rows, across.transpose(2, 3), groups=channels)


def _halve(pictures: Float[Tensor, "r c h w"]) -> Float[Tensor, "r c i j"]:
    return _blur(pictures)[..., ::2, ::2]


def _grow(
    pictures: Float[Tensor, "r c i j"], like: Float[Tensor, "r c h w"]
) -> Float[Tensor, "r c h w"]:
    return functional.interpolate(pictures, size=like.shape[-2:], mode="bilinear")


def _alexnet() -> tuple[list[nn.Module], tuple[int, ...]]:
    layers: list[nn.Module] = [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]
    return layers, (1, 4, 7, 9, 11)


def _vgg16() -> tuple[list[nn.Module], tuple[int, ...]]:
    layers: list[nn.Module] = []
    taps: list[int] = []
    before = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        taps.append(len(layers) - 1)
    return layers, tuple(taps)


def _last_channels(layers: list[nn.Module], tap: int) -> int:
    convolution: Any = layers[tap - 1]
    return convolution.out_channels
