"""From posted pictures to the batch that a model reads, each fault refused by its own text."""

import base64
import binascii
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.core.batch import Batch
from reverie.core.errors import ShapeError
from reverie.core.types import Episode, FrameSpec
from reverie.data.codecs import decode_png, encode_png
from reverie.data.windows import episode_to_batch
from reverie.serve.service.memory import Newest

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 33
_LONGEST_TEXT = 2
"""Characters per byte of a picture; base64 of raw bytes has 4/3."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frames:
    """Real frames in a row, and what the actions between them were."""

    frames: UInt8[np.ndarray, "t h w 3"]
    actions: Float32[np.ndarray, "s a"]
    """One fewer than frames."""
    starts_episode: bool
    task: str

    def to_batch(self, *, action_width: int) -> Batch:
        """Make the batch of one row; a first frame without its action is left out.

        Raises:
            ShapeError: There is not one action between each two frames.
        """
        check_steps(len(self.frames), len(self.actions))
        episode = Episode(
            frames=self.frames,
            actions=self.actions,
            rewards=np.zeros(len(self.actions), np.float32),
            terminated=False,
            task=self.task,
            source="service",
            seed=0,
        )
        start = 0 if self.starts_episode or len(self.frames) == 1 else 1
        return episode_to_batch(episode, start, action_width=action_width)


def check_steps(num_frames: int, num_actions: int) -> None:
    """Refuse windows that have not one action between each two frames.

    Raises:
        ShapeError: They have not.
    """
    if num_actions != num_frames - 1:
        raise ShapeError(
            f"{num_frames} frames have {num_frames - 1} actions between them, got {num_actions}. "
            f"Send one action per step."
        )


@dataclass(slots=True, eq=False)
class Track:
    """The newest frames of one session; never more than ``capacity``."""

    task: str
    width: int
    """Lanes of the task's actions."""
    capacity: int
    frames: deque[UInt8[np.ndarray, "h w 3"]] = field(default_factory=deque)
    actions: deque[Float32[np.ndarray, " a"]] = field(default_factory=deque)
    starts_episode: bool = True

    def add(
        self, frame: UInt8[np.ndarray, "h w 3"], action: Float32[np.ndarray, " a"] | None
    ) -> None:
        """Take the newest frame in; one without an action begins an episode."""
        if action is None:
            self.frames.clear()
            self.actions.clear()
            self.starts_episode = True
        elif self.frames:
            self.actions.append(action)
        else:
            raise ShapeError("No action leads to the first frame of an episode: send it without.")
        self.frames.append(frame)
        while len(self.frames) > self.capacity:
            self.frames.popleft()
            self.actions.popleft()
            self.starts_episode = False

    def snapshot(self) -> Frames:
        """Return what is held now.

        Raises:
            ShapeError: No frame was observed yet.
        """
        if not self.frames:
            raise ShapeError("This session has no frame yet. Post the first one to it.")
        width = self.width
        return Frames(
            frames=np.stack(list(self.frames)),
            actions=np.array(list(self.actions), np.float32).reshape(-1, width),
            starts_episode=self.starts_episode,
            task=self.task,
        )


class PictureMemory:
    """The newest pictures that were decoded: a caller's next window shares all but one with this.

    Bounded by the bytes of the decoded pictures; a text that is much longer than its picture is
    not kept.
    """

    def __init__(self, capacity_bytes: int = 8_000_000) -> None:
        """Begin empty."""
        self._frames: Newest[tuple[str, str], UInt8[np.ndarray, "h w 3"]] = Newest(
            capacity_bytes, size=lambda frame: frame.nbytes
        )

    def read(self, text: str, kind: str, spec: FrameSpec) -> UInt8[np.ndarray, "h w 3"]:
        """Decode a posted picture, or remember it; raises what ``read_frame`` raises."""
        # No annotated function in here: building its types took longer than remembering a picture.
        if len(text) > _LONGEST_TEXT * math.prod(spec.shape):
            return _read_frozen(text, kind, spec)
        return self._frames.get((kind, text), lambda: _read_frozen(text, kind, spec))

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._frames)


def _read_frozen(text: str, kind: str, spec: FrameSpec) -> UInt8[np.ndarray, "h w 3"]:
    frame = read_frame(text, kind, spec)
    frame.flags.writeable = False
    return frame


def read_frame(text: str, kind: str, spec: FrameSpec) -> UInt8[np.ndarray, "h w 3"]:
    """Decode one posted picture; its size is checked before it is decoded.

    Raises:
        ShapeError: It is not base64, no picture, or of another size than the model's.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ShapeError(f"A frame is not base64 ({error}).") from error
    height, width = spec.height_px, spec.width_px
    if kind == "rgb":
        if len(content) != height * width * 3:
            raise ShapeError(
                f"A frame of {height}x{width} RGB has {height * width * 3} bytes, got "
                f"{len(content)}."
            )
        return np.frombuffer(content, np.uint8).reshape(height, width, 3)
    if len(content) < _HEADER_BYTES or not content.startswith(PNG_MAGIC):
        raise ShapeError('A frame is no PNG. Send PNG, or raw bytes with "format": "rgb".')
    found = (int.from_bytes(content[20:24], "big"), int.from_bytes(content[16:20], "big"))
    if found != (height, width):
        raise ShapeError(
            f"The model reads frames of {height}x{width}, got a PNG of {found[0]}x{found[1]}. "
            f"Resample it by area first."
        )
    picture = decode_png(content)
    if picture is None or picture.shape != (height, width, 3):
        raise ShapeError("A PNG cannot be decoded; it is damaged.")
    return picture


def write_frame(frame: UInt8[np.ndarray, "h w 3"]) -> str:
    """Encode a picture as base64 of PNG."""
    return base64.b64encode(encode_png(frame)).decode()


def read_action(values: list[float], width: int) -> Float32[np.ndarray, " a"]:
    """Check the lanes of one action.

    Raises:
        ShapeError: There are not as many as the task has.
    """
    if len(values) != width:
        raise ShapeError(f"An action of this task has {width} lanes, got {len(values)}.")
    return np.asarray(values, np.float32)
