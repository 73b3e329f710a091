"""Checks before weights are trusted: everything is finite, and all ranks hold the same bits."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from reverie.core.errors import ReverieError
from reverie.parallel.ranks import Ranks
from reverie.parallel.shard import local


class TrainingError(ReverieError):
    """Training that cannot go on: numbers blew up, or ranks drifted apart."""


def check_finite(tensors: Mapping[str, Tensor], *, what: str, ranks: Ranks) -> None:
    """Raise unless every floating-point tensor is finite on every rank.

    Args:
        tensors: Named tensors.
        what: What they are, for the message, such as ``"weights of the tokenizer"``.
        ranks: Who looks; with several ranks all must call this together.
    """
    bad = [
        name
        for name, value in tensors.items()
        if value.is_floating_point() and not bool(torch.isfinite(local(value)).all())
    ]
    if ranks.agree(bool(bad))[0]:
        bad = bad or ["on another rank"]
        raise TrainingError(
            f"The {what} are not finite: {', '.join(bad[:3])} ({len(bad)} of {len(tensors)} "
            f"tensors). They were not saved. Run the same command again to go back to the last "
            f"checkpoint; if it happens again, lower the learning rate."
        )


def check_replicas_equal(tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Raise unless every rank holds the same bits. Every rank must call this together.

    Slices of sharded tensors differ by design and are left out.
    """
    if ranks.num_ranks == 1:
        return
    copies = {name: value for name, value in tensors.items() if not isinstance(value, DTensor)}
    mine = torch.frombuffer(bytearray(tensors_digest(copies)), dtype=torch.uint8)
    everyone = ranks.gather(mine)
    apart = [rank for rank, value in enumerate(everyone) if not torch.equal(value, everyone[0])]
    if apart:
        raise TrainingError(
            f"The weights of rank(s) {', '.join(map(str, apart))} differ from those of rank 0: "
            f"gradients were not averaged. Call the loss through the wrapped module, and run the "
            f"same command again to go back to the last checkpoint."
        )


def tensors_digest(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a checksum (BLAKE2b, 16 bytes) of names, shapes and contents, in order of names."""
    running = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        running.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        running.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return running.digest()
