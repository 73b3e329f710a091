"""INT8 inference of a frozen classic dream on a CPU."""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.ao.nn.quantized.dynamic import Linear as Int8Linear

from reverie.core.errors import ConfigError
from reverie.models.classic.world import ClassicWorld

MIN_WEIGHTS = 1024
"""Linear layers with fewer stay in float32: rounding their inputs costs more than it saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantiseReport:
    """What became INT8, and what did not."""

    quantised: tuple[str, ...]
    """Names of the linear layers, those of the LSTM among them, that hold 8-bit weights now."""
    kept: tuple[str, ...]
    """Names of the layers that stay in float32: small ones, and convolutions, which dynamic
    quantisation does not have."""


def quantise_int8(world: ClassicWorld) -> tuple[ClassicWorld, QuantiseReport]:
    """Return a copy whose linear layers and LSTM compute in INT8, and say what did not change.

    Weights are quantised once, row by row, activations anew in every call (dynamic
    quantisation); the convolutions of V and layers below ``MIN_WEIGHTS`` stay in float32.

    Args:
        world: A frozen dream on the CPU.

    Raises:
        ConfigError: The dream is on another device, for which torch has no such kernels.
    """
    if world.device.type != "cpu":
        raise ConfigError(
            f"INT8 inference runs on a CPU, this dream is on '{world.device}'. Load it with "
            f"device='cpu', or keep float32 on the GPU."
        )
    tools: Any = torch.ao.quantization
    # A scale per row of a matrix: with one for the whole, controllers whose choice hangs by a hair
    # act otherwise in one step of a hundred.
    large = {
        name: tools.per_channel_dynamic_qconfig
        for name, module in world.named_modules()
        if isinstance(module, nn.Linear) and module.weight.numel() >= MIN_WEIGHTS
    }
    with warnings.catch_warnings():
        # torch says that this way of quantising will move to another package.
        warnings.simplefilter("ignore")
        small = tools.quantize_dynamic(copy.deepcopy(world), large)
    assert isinstance(small, ClassicWorld), f"quantisation made a {type(small).__name__}"
    # For a few pictures at once, convolutions are a third faster with channels last.
    vae: Any = small.vae
    vae.to(memory_format=torch.channels_last)
    quantised = tuple(
        name for name, module in small.named_modules() if isinstance(module, Int8Linear)
    )
    kept = tuple(
        name
        for name, module in small.named_modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))
    )
    return small.eval(), QuantiseReport(quantised=quantised, kept=kept)
