"""Tokenizers off the shelf: autoencoders of the ``diffusers`` library behind our protocol.

They are there to compare with (arXiv 2606.27326, table 3): SD-VAE and DC-AE encode each frame by
itself, Wan 2.1 and Cosmos encode video causally, several frames to a latent. A world model cannot
dream in their latents yet: it clamps what it dreams to the bounded range of our own tokenizers, and
it dreams one latent a frame.
"""

import json
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reverie.core.errors import CheckpointError, ConfigError, ShapeError
from reverie.core.registry import require_extra, unknown_name_message
from reverie.core.types import FrameSpec
from reverie.models.api import LatentSpec

_PURPOSE = "use tokenizers off the shelf"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WAN_FRAMES_PER_LATENT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ShelfEntry:
    """A published autoencoder."""

    class_name: str
    """Of the library; the ``_class_name`` in its ``config.json``."""
    repo: str
    """On the Hub."""
    subfolder: str = ""


SHELF = {
    "sd-vae": ShelfEntry(class_name="AutoencoderKL", repo="stabilityai/sd-vae-ft-mse"),
    "cosmos": ShelfEntry(
        class_name="AutoencoderKLCosmos",
        repo="nvidia/Cosmos-1.0-Tokenizer-CV8x8x8",
        subfolder="vae",
    ),
    "wan": ShelfEntry(
        class_name="AutoencoderKLWan", repo="Wan-AI/Wan2.1-T2V-1.3B-Diffusers", subfolder="vae"
    ),
    "dc-ae": ShelfEntry(
        class_name="AutoencoderDC", repo="mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers"
    ),
}
"""The four of the published comparison."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoState:
    """What a video tokenizer remembers. A value: encoding or decoding returns the next one."""

    frames: Tensor
    """Cosmos: everything so far. Wan: frames that wait until a latent's worth has come."""
    num_done: int
    """Latents made, or latents painted."""
    features: tuple[Any, ...] = field(default=())
    """Wan: what every causal convolution remembers: its last features, or the library's marks."""


class ShelfTokenizer(nn.Module):
    """One of the library's autoencoders; the posterior's mean is the latent."""

    def __init__(self, autoencoder: nn.Module, frame_spec: FrameSpec) -> None:
        """Wrap an autoencoder for frames of one size.

        Raises:
            ConfigError: It is none of the four, or cannot encode frames of this size.
        """
        super().__init__()
        name = type(autoencoder).__name__
        if name not in {entry.class_name for entry in SHELF.values()}:
            raise ConfigError(f"'{name}' is none of the tokenizers off the shelf: {_kinds()}.")
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.class_name = name
        self.frame_spec = frame_spec
        self._ratio = _spatial_ratio(autoencoder)
        self.frames_per_latent = _frames_per_latent(autoencoder)
        if frame_spec.height_px % self._ratio or frame_spec.width_px % self._ratio:
            raise ConfigError(
                f"{name} needs frames whose sides are multiples of {self._ratio}, got "
                f"{frame_spec.height_px}x{frame_spec.width_px}."
            )

    @property
    def spec(self) -> LatentSpec:
        """Shape and scale of the latents; what the library calls the scaling factor is 1 / scale.

        Wan and Cosmos publish a mean and a std for every channel instead; theirs stay raw.
        """
        config: Any = self.autoencoder.config
        channels = config["z_dim"] if self._is_wan else config["latent_channels"]
        return LatentSpec(
            num_tokens=self._grid[0] * self._grid[1],
            num_channels=channels,
            scale=1 / config.get("scaling_factor", 1.0),
            frames_per_latent=self.frames_per_latent,
        )

    @torch.no_grad()
    def encode(
        self, frames: UInt8[Tensor, "b t h w 3"], state: VideoState | None = None
    ) -> tuple[Float[Tensor, "b k n d"], VideoState | None]:
        """Encode frames that follow those ``state`` has seen.

        Returns:
            The latents that are complete now (the first frame makes one by itself, then every
            ``frames_per_latent`` frames make one; the rest waits in the state), and the state.
        """
        if tuple(frames.shape[2:]) != self.frame_spec.shape:
            raise ShapeError(
                f"This tokenizer was loaded for frames of {self.frame_spec.shape}, got "
                f"{tuple(frames.shape[2:])}. Load it for these, or resize the frames."
            )
        pictures = rearrange(frames, "b t h w c -> b c t h w").to(self._dtype) / 127.5 - 1
        if self.frames_per_latent == 1:
            flat = rearrange(pictures, "b c t h w -> (b t) c h w")
            raw = rearrange(self._encode(flat), "(b t) d i j -> b d t i j", b=len(frames))
            return self._to_latents(raw), None
        raw, after = self._encode_video(pictures, state)
        return self._to_latents(raw), after

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b k n d"], state: VideoState | None = None
    ) -> tuple[UInt8[Tensor, "b t h w 3"], VideoState | None]:
        """Paint latents that follow those ``state`` has seen.

        Returns:
            One frame for the first latent of a video and ``frames_per_latent`` for each further
            one, and the state.
        """
        rows, columns = self._grid
        raw = rearrange(latents * self.spec.scale, "b k (i j) d -> b d k i j", i=rows, j=columns)
        raw = raw.to(self._dtype)
        if self.frames_per_latent == 1:
            flat = rearrange(raw, "b d t i j -> (b t) d i j")
            pictures = rearrange(self._decode(flat), "(b t) c h w -> b c t h w", b=len(latents))
            return _to_frames(pictures), None
        pictures, after = self._decode_video(raw, state)
        return _to_frames(pictures), after

    @torch.no_grad()
    def round_trip(self, latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return Enc(Dec(latents)) in floats, each latent as a video of one frame."""
        rows, columns = self._grid
        raw = rearrange(latents * self.spec.scale, "b (i j) d -> b d 1 i j", i=rows, j=columns)
        raw = raw.to(self._dtype)
        if self.frames_per_latent == 1:
            back = self._encode(self._decode(raw[:, :, 0]))[:, :, None]
        else:
            back = self._encode_video(self._decode_video(raw, None)[0], None)[0]
        return self._to_latents(back)[:, 0]

    @property
    def _is_wan(self) -> bool:
        return self.class_name == "AutoencoderKLWan"

    @property
    def _grid(self) -> tuple[int, int]:
        spec = self.frame_spec
        return spec.height_px // self._ratio, spec.width_px // self._ratio

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.autoencoder.parameters()).dtype

    def _to_latents(self, raw: Float[Tensor, "b d k i j"]) -> Float[Tensor, "b k n d"]:
        return rearrange(raw.float(), "b d k i j -> b k (i j) d") / self.spec.scale

    def _encode(self, pictures: Tensor) -> Tensor:
        found = self.autoencoder.encode(pictures)  # type: ignore[operator]
        if self.class_name == "AutoencoderDC":
            return found.latent
        return found.latent_dist.mode()

    def _decode(self, raw: Tensor) -> Tensor:
        # A frame can hold no more: what goes beyond must not survive a round trip either.
        return self.autoencoder.decode(raw).sample.clamp(-1, 1)  # type: ignore[operator]

    def _encode_video(
        self, pictures: Float[Tensor, "b c t h w"], state: VideoState | None
    ) -> tuple[Tensor, VideoState]:
        if state is None:
            state = VideoState(pictures[:, :, :0], 0)
        frames = torch.cat([state.frames, pictures], dim=2)
        step = self.frames_per_latent
        if not self._is_wan:
            # Attention over time reaches back to the first frame: nothing less gives these latents.
            num_whole = 1 + (frames.shape[2] - 1) // step if frames.shape[2] else 0
            if num_whole == state.num_done:
                return self._no_latents(frames), replace(state, frames=frames)
            raw = self._encode(frames[:, :, : 1 + (num_whole - 1) * step])
            return raw[:, :, state.num_done :], VideoState(frames, num_whole)
        pieces, done, features = [self._no_latents(frames)], state.num_done, state.features
        while frames.shape[2] >= (step if done else 1):
            size = step if done else 1
            piece, features = self._run_wan("encoder", frames[:, :, :size], features)
            frames, done = frames[:, :, size:], done + 1
            moments = self.autoencoder.quant_conv(piece)  # type: ignore[operator]
            pieces.append(moments.chunk(2, dim=1)[0])
        return torch.cat(pieces, dim=2), VideoState(frames, done, features)

    def _decode_video(
        self, raw: Float[Tensor, "b d k i j"], state: VideoState | None
    ) -> tuple[Tensor, VideoState]:
        if state is None:
            state = VideoState(raw[:, :, :0], 0)
        if not self._is_wan:
            latents = torch.cat([state.frames, raw], dim=2)
            seen = 1 + (state.num_done - 1) * self.frames_per_latent if state.num_done else 0
            pictures = self._decode(latents)[:, :, seen:]
            return pictures, VideoState(latents, latents.shape[2])
        pieces, done, features = [], state.num_done, state.features
        ready = self.autoencoder.post_quant_conv(raw)  # type: ignore[operator]
        for latent in ready.split(1, dim=2):
            piece, features = self._run_wan("decoder", latent, features, is_first=not done)
            pieces.append(piece.clamp(-1, 1))
            done += 1
        return torch.cat(pieces, dim=2), replace(state, num_done=done, features=features)

    def _run_wan(
        self,
        side: str,
        piece: Tensor,
        features: tuple[Any, ...],
        *,
        is_first: bool = False,
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Run a half of Wan on one chunk with the remembered features; the list is a copy."""
        net: Any = getattr(self.autoencoder, side)
        count: int = self.autoencoder._cached_conv_counts[side]  # type: ignore[index]
        remembered = list(features) or [None] * count
        extra = {"first_chunk": True} if is_first else {}
        out = net(piece, feat_cache=remembered, feat_idx=[0], **extra)
        return out, tuple(remembered)

    def _no_latents(self, frames: Tensor) -> Tensor:
        return frames.new_zeros(len(frames), self.spec.num_channels, 0, *self._grid)


def load_shelf_tokenizer(
    source: str, frame_spec: FrameSpec, *, device: torch.device | str = "cpu"
) -> ShelfTokenizer:
    """Load a tokenizer off the shelf; only safetensors are read, nothing is ever unpickled.

    Args:
        source: A folder that holds ``config.json`` and ``*.safetensors`` (or has them in ``vae``),
            or ``NAME@COMMIT`` with a name of ``SHELF`` and a whole commit of its repository on the
            Hub.
        frame_spec: Size of the frames it will encode.
        device: Where it runs.

    Raises:
        ConfigError: The source is neither, or the commit is not a whole one.
        CheckpointError: The folder lacks something, or the Hub cannot be reached.
        MissingExtraError: The extra ``diffusers`` is not installed.
    """
    diffusers = require_extra("diffusers", "diffusers", _PURPOSE)
    path, options = _locate(source)
    name = options.pop("class_name")
    try:
        with warnings.catch_warnings():
            # Of its own deprecated parts; nothing that a user of Reverie could do.
            warnings.simplefilter("ignore")
            autoencoder = getattr(diffusers, name).from_pretrained(
                path, use_safetensors=True, low_cpu_mem_usage=False, **options
            )
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"'{source}' cannot be loaded as {name}: {text} It needs config.json and a file of "
            f"safetensors; pickled weights are not read."
        ) from error
    return ShelfTokenizer(autoencoder, frame_spec).to(device)


def is_shelf_source(source: str) -> bool:
    """Tell whether a text means a tokenizer off the shelf and not a model of ours."""
    return source.partition("@")[0] in SHELF or _config_path(Path(source)) is not None


def _locate(source: str) -> tuple[str, dict[str, Any]]:
    name, at, commit = source.partition("@")
    if name in SHELF and not Path(source).exists():
        entry = SHELF[name]
        if not at or not _COMMIT.fullmatch(commit):
            raise ConfigError(
                f"'{source}' should name a whole commit, such as '{name}@' and 40 hexadecimal "
                f"digits from https://huggingface.co/{entry.repo}/commits/main: a name alone means "
                f"other weights tomorrow. A folder that you downloaded will do too."
            )
        subfolder = {"subfolder": entry.subfolder} if entry.subfolder else {}
        return entry.repo, {"class_name": entry.class_name, "revision": commit, **subfolder}
    config = _config_path(Path(source))
    if config is None:
        hint = f"Give a folder with config.json and *.safetensors, or NAME@COMMIT with {_kinds()}"
        raise ConfigError(unknown_name_message("tokenizer", source, tuple(SHELF), hint))
    try:
        found = json.loads(config.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{config}' does not say which class it is of: {error!r}."
        ) from error
    if found not in {entry.class_name for entry in SHELF.values()}:
        raise ConfigError(f"'{config}' is of class {found!r}, which is none of {_kinds()}.")
    return str(config.parent), {"class_name": found, "local_files_only": True}


def _config_path(folder: Path) -> Path | None:
    for path in (folder / "config.json", folder / "vae" / "config.json"):
        if path.is_file():
            return path
    return None


def _kinds() -> str:
    return ", ".join(f"{name} ({entry.class_name})" for name, entry in SHELF.items())


def _spatial_ratio(autoencoder: Any) -> int:
    config, name = autoencoder.config, type(autoencoder).__name__
    if name == "AutoencoderKLCosmos":
        return int(config["spatial_compression_ratio"])
    if name == "AutoencoderKLWan":
        return 2 ** (len(config["dim_mult"]) - 1) * (config.get("patch_size") or 1)
    channels = "encoder_block_out_channels" if name == "AutoencoderDC" else "block_out_channels"
    return 2 ** (len(config[channels]) - 1)


def _frames_per_latent(autoencoder: Any) -> int:
    config, name = autoencoder.config, type(autoencoder).__name__
    if name == "AutoencoderKLCosmos":
        return int(config["temporal_compression_ratio"])
    if name != "AutoencoderKLWan":
        return 1
    found = 2 ** sum(config["temperal_downsample"])
    # The library cuts videos into chunks of four, whatever the config says.
    if found != _WAN_FRAMES_PER_LATENT or config.get("patch_size") not in (None, 1):
        raise ConfigError(
            f"Only Wan 2.1 is supported, with {_WAN_FRAMES_PER_LATENT} frames a latent and no "
            f"patches; this one has {found} and patches of {config.get('patch_size')}."
        )
    return found


def _to_frames(pictures: Float[Tensor, "b c t h w"]) -> UInt8[Tensor, "b t h w 3"]:
    pixels = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rearrange(pixels, "b c t h w -> b t h w c")
