"""One picture with a frame of every task and its name."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import UInt8

from reverie.core.errors import ConfigError

GAP_PX = 4
CAPTION_PX = 14
_PAPER, _INK = 250, (50, 50, 50)


def draw_gallery(
    frames: Mapping[str, UInt8[np.ndarray, "h w 3"]], *, num_columns: int = 16
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Lay frames of one size out in rows, each above its name.

    Args:
        frames: Task → frame.
        num_columns: Frames in a row.
    """
    if not frames or num_columns < 1:
        raise ConfigError(
            f"A gallery needs at least 1 frame and 1 column, got {len(frames)} and {num_columns}. "
            f"'reverie tasks list' shows what could be drawn."
        )
    height, width = next(iter(frames.values())).shape[:2]
    cell_height, cell_width = height + CAPTION_PX + GAP_PX, width + GAP_PX
    num_rows = -(-len(frames) // num_columns)
    shape = (num_rows * cell_height + GAP_PX, num_columns * cell_width + GAP_PX, 3)
    sheet = np.full(shape, _PAPER, dtype=np.uint8)
    for index, (name, frame) in enumerate(frames.items()):
        top = GAP_PX + index // num_columns * cell_height
        left = GAP_PX + index % num_columns * cell_width
        sheet[top : top + height, left : left + width] = frame
        place = (left, top + height + CAPTION_PX - 3)
        scale = min(0.34, 0.34 * width / (6.2 * len(name) + 1))
        cv2.putText(sheet, name, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
    return sheet
