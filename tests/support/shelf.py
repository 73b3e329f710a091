"""Tiny autoencoders of the classes that ``diffusers`` publishes, with random weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

RATIOS = {"sd-vae": 4, "cosmos": 8, "wan": 8, "dc-ae": 2}
FRAMES_PER_LATENT = {"sd-vae": 1, "cosmos": 8, "wan": 4, "dc-ae": 1}


def _build(name: str, **config: Any) -> nn.Module:
    # Imported late: it takes seconds.
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(diffusers, name)(**config).eval()


def _sd_vae() -> nn.Module:
    return _build(
        "AutoencoderKL",
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
    )


def _cosmos() -> nn.Module:
    return _build(
        "AutoencoderKLCosmos",
        latent_channels=4,
        encoder_block_out_channels=(4, 8, 8, 8),
        decode_block_out_channels=(4, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=64,
        num_layers=1,
    )


def _wan(**config: Any) -> nn.Module:
    small = {"base_dim": 4, "z_dim": 5, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    return _build("AutoencoderKLWan", **small, **config)


def _dc_ae() -> nn.Module:
    kinds = ("ResBlock", "EfficientViTBlock")
    sides = {
        "block_types": kinds,
        "block_out_channels": (8, 8),
        "layers_per_block": (1, 1),
        "qkv_multiscales": ((), (5,)),
    }
    both = {f"{side}_{name}": x for side in ("encoder", "decoder") for name, x in sides.items()}
    return _build(
        "AutoencoderDC", latent_channels=2, attention_head_dim=4, scaling_factor=0.5, **both
    )


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "sd-vae": _sd_vae,
    "cosmos": _cosmos,
    "wan": _wan,
    "dc-ae": _dc_ae,
}
