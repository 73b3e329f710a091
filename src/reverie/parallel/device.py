"""Where a process computes: from what a person names to a device of this machine."""

import torch

from reverie.core.errors import ConfigError


def choose_device(name: str = "auto", *, local_rank: int = 0) -> torch.device:
    """Turn a device name into a device that exists on this machine.

    Raises:
        ConfigError: The named device does not exist here.
    """
    if name == "auto":
        name = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"'{name}' is not a device. Try 'auto', 'cpu' or 'cuda'.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"The device '{name}' was asked for, but torch {torch.__version__} sees no CUDA "
            f"device here. Use --device cpu; 'reverie doctor' says what is missing."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"The device '{name}' was asked for, but this machine has "
            f"{torch.cuda.device_count()} CUDA devices, counted from 0. Try 'cuda:0'."
        )
    return device
