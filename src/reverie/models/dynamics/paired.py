"""Teacher forcing in one pass: every noisy frame sees committed frames before it, as in a dream.

A window of T frames is laid out as 2T: first the frames as a dream's cache holds them (at the
commit level), then the same frames noisy. A noisy frame sees itself and the committed frames
before its time, so each of them is in exactly the situation of a dreamed frame.

Differs from the paper: Dreamer 4 trains windows in which every frame has its own noise level.
There, few frames are noisy themselves and follow clean ones; a small model on a CPU then takes
very long to notice that actions matter.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reverie.models.dynamics.net import DynamicsNet, FrameInputs
from reverie.models.dynamics.precondition import Guess, Previous
from reverie.models.dynamics.shortcut import Labels


def paired_mask(num_frames: int, context: int, device: torch.device) -> Bool[Tensor, "t2 t2"]:
    """Return who sees whom among T committed frames followed by T noisy ones."""
    times = torch.arange(num_frames, device=device)
    age = times[:, None] - times[None, :]
    committed = (age >= 0) & (age < context)
    before = (age > 0) & (age < context)
    nothing = torch.zeros_like(before)
    itself = age == 0
    return torch.cat(
        [torch.cat([committed, nothing], dim=1), torch.cat([before, itself], dim=1)], dim=0
    )


class PairedWindows:
    """Windows of committed frames, ready to denoise the same frames beside them."""

    def __init__(
        self, net: DynamicsNet, committed: Float[Tensor, "b t n d"], inputs: FrameInputs
    ) -> None:
        """Prepare labels, inputs, mask and positions.

        Args:
            net: The denoiser.
            committed: Latents at the commit level.
            inputs: Actions and instruction of the frames.
        """
        rows, self.num_frames = committed.shape[:2]
        device = committed.device
        config = net.config
        self._net, self._committed = net, committed
        shape = (rows, self.num_frames)
        self._level = torch.full(shape, config.commit_level, device=device)
        self._exponent = torch.full(shape, config.shortcut.finest_exponent, device=device)
        self._inputs = FrameInputs(
            torch.cat([inputs.actions, inputs.actions], dim=1),
            torch.cat([inputs.has_action, inputs.has_action], dim=1),
            inputs.language,
        )
        self._mask = paired_mask(self.num_frames, config.context, device)
        times = torch.arange(self.num_frames, device=device)
        self._times: Int[Tensor, " t2"] = torch.cat([times, times])

    def denoise(
        self, noisy: Float[Tensor, "b t n d"], labels: Labels
    ) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b t g m"]]:
        """Return clean predictions of the noisy frames, and agent features of the committed."""
        both = Labels(
            torch.cat([self._level, labels.signal_level], dim=1),
            torch.cat([self._exponent, labels.step_exponent], dim=1),
        )
        z = torch.cat([self._committed, noisy], dim=1)
        clean, agents, _ = self._net(
            z, both, self._inputs, self._mask, times=self._times, previous=self._previous()
        )
        return clean[:, self.num_frames :], agents[:, : self.num_frames]

    def guess(self, noisy: Float[Tensor, "b t n d"], labels: Labels) -> Guess | None:
        """Return the linear guess that the predictions of the noisy frames correct."""
        before = self._previous()
        half = slice(self.num_frames)
        previous = Previous(
            before.latents[:, half], before.signal[:, half], before.is_known[:, half]
        )
        return self._net.guess(noisy, labels, previous)

    def _previous(self) -> Previous:
        """Both halves follow committed frames."""
        signal = self._level.float() / self._net.config.shortcut.num_levels
        is_known = torch.ones_like(self._level, dtype=torch.bool)
        is_known[:, 0] = False
        before = self._committed.roll(1, dims=1)
        return Previous(*(torch.cat([x, x], dim=1) for x in (before, signal, is_known)))

    def rows(self, index: slice) -> "PairedWindows":
        """Return a slice of the windows."""
        half = FrameInputs(
            self._inputs.actions[index, : self.num_frames],
            self._inputs.has_action[index, : self.num_frames],
            self._inputs.language[index],
        )
        return PairedWindows(self._net, self._committed[index], half)
