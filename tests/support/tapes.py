"""A tape that behaves on a CPU as a CUDA graph does on a card."""

from collections.abc import Callable
from typing import Any

import torch

from reverie.nn.recorded import map_tensors, tensors_in


class OverwritingTape:
    """Replays work on the same tensors and writes over the first results."""

    def __init__(self) -> None:
        """Count from zero."""
        self.num_recorded = self.num_replayed = 0

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Run the work."""
        self.num_recorded += 1
        results = work()
        # A card writes over results wherever they were made; torch asks for plain tensors.
        with torch.inference_mode(False):
            results = map_tensors(results, torch.clone)

        def replay() -> None:
            self.num_replayed += 1
            for place, tensor in zip(tensors_in(results), tensors_in(work()), strict=True):
                place.copy_(tensor)

        return results, replay
