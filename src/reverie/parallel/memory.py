"""How much a device can hold, and when it is done."""

import torch


def fits_beside_training(num_bytes: int, device: torch.device) -> bool:
    """Tell whether data may be laid on an accelerator and leave half of its free memory alone.

    On a CPU the answer is no: there the files of a cache are mapped into the same memory anyway.
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * num_bytes <= free


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
