"""The one place that decides in which precision matrices are multiplied."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""``auto`` takes bfloat16 where the hardware multiplies it natively, else float32."""


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has bfloat16 matrix instructions."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Both are private in torch 2.11 to 2.13; there is no public question of this kind for CPUs.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context in which a training loss is computed.

    Parameters, norms, output heads and losses stay in float32 either way; only the matrix
    products inside the network change.
    """
    wants = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=wants)
