"""One picture with a frame of every task and its name."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import UInt8

from reverie.core.errors import ConfigError

GAP_PX = 4
LINE_PX = 11
NUM_LINES = 2
CAPTION_PX = NUM_LINES * LINE_PX + 2
_PAPER, _INK = 250, (50, 50, 50)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LARGEST = 0.34
"""Scale of the letters; smaller where a name would not fit."""


def draw_gallery(
    frames: Mapping[str, UInt8[np.ndarray, "h w 3"]], *, num_columns: int = 16
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Lay frames of one size out in rows, each above its name.

    Args:
        frames: Task → frame.
        num_columns: Frames in a row, at most.
    """
    if not frames or num_columns < 1:
        raise ConfigError(
            f"A gallery needs at least 1 frame and 1 column, got {len(frames)} and {num_columns}. "
            f"'reverie tasks list' shows what could be drawn."
        )
    num_columns = min(num_columns, len(frames))
    height, width = next(iter(frames.values())).shape[:2]
    cell_height, cell_width = height + CAPTION_PX + GAP_PX, width + GAP_PX
    num_rows = -(-len(frames) // num_columns)
    shape = (num_rows * cell_height + GAP_PX, num_columns * cell_width + GAP_PX, 3)
    sheet = np.full(shape, _PAPER, dtype=np.uint8)
    for index, (name, frame) in enumerate(frames.items()):
        top = GAP_PX + index // num_columns * cell_height
        left = GAP_PX + index % num_columns * cell_width
        sheet[top : top + height, left : left + width] = frame
        lines = wrap_name(name, width)
        scale = min(_fitting_scale(line, width) for line in lines)
        for place, line in enumerate(lines, start=1):
            corner = (left, top + height + place * LINE_PX)
            cv2.putText(sheet, line, corner, _FONT, scale, _INK, 1, cv2.LINE_AA)
    return sheet


def wrap_name(name: str, width_px: int) -> tuple[str, ...]:
    """Break a name that is too wide at the hyphen that leaves the shortest longer half."""
    places = [index + 1 for index, letter in enumerate(name) if letter == "-"]
    if not places or _fitting_scale(name, width_px) == _LARGEST:
        return (name,)
    middle = min(places, key=lambda place: max(place, len(name) - place))
    return name[:middle], name[middle:]


def _fitting_scale(text: str, width_px: int) -> float:
    (text_px, _), _ = cv2.getTextSize(text, _FONT, _LARGEST, 1)
    return _LARGEST * min(1.0, width_px / text_px)
