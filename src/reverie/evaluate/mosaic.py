"""Rows of frames with a name on the left, as one picture."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

MIN_SIDE_PX = 96
"""Smaller frames are enlarged by a whole factor until they are at least this large."""
ERROR_GAIN = 4.0
"""Errors of a quarter of the range and above are shown at full brightness."""
_GAP_PX = 3
_NAME_PX = 104
_PAPER, _INK = 244, (40, 40, 40)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LETTER = 0.42
_LINE_PX = 15

Row = tuple[str, UInt8[np.ndarray, "n h w 3"]]
"""A name and the frames beside it; a new line in the name begins a new line."""


def draw_rows(rows: Sequence[Row]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Put rows of frames of one size below each other."""
    height, width = rows[0][1].shape[1:3]
    factor = -(-MIN_SIDE_PX // height)
    height, width = factor * height, factor * width
    num_columns = max(len(frames) for _, frames in rows)
    shape = (
        len(rows) * (height + _GAP_PX) + _GAP_PX,
        _NAME_PX + num_columns * (width + _GAP_PX) + _GAP_PX,
        3,
    )
    sheet = np.full(shape, _PAPER, dtype=np.uint8)
    for index, (name, frames) in enumerate(rows):
        top = _GAP_PX + index * (height + _GAP_PX)
        lines = name.split("\n")
        for place, line in enumerate(lines):
            below = top + height // 2 + round((place - (len(lines) - 1) / 2) * _LINE_PX) + 4
            cv2.putText(sheet, line, (4, below), _FONT, _LETTER, _INK, 1, cv2.LINE_AA)
        for column, frame in enumerate(frames):
            left = _NAME_PX + _GAP_PX + column * (width + _GAP_PX)
            large = frame.repeat(factor, axis=0).repeat(factor, axis=1)
            sheet[top : top + height, left : left + width] = large
    return sheet


def error_pictures(
    real: UInt8[np.ndarray, "n h w 3"], shown: UInt8[np.ndarray, "n h w 3"]
) -> UInt8[np.ndarray, "n h w 3"]:
    """Paint the mean absolute error of each pixel, four times as bright: black, red, yellow."""
    pictures: list[np.ndarray] = []
    for pair in zip(real, shown, strict=True):
        first, second = (frame.astype(np.float32) / 255 for frame in pair)
        error = np.abs(first - second).mean(axis=2)
        grey = np.clip(255 * ERROR_GAIN * error, 0, 255).astype(np.uint8)
        colours = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
        pictures.append(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB))
    return np.stack(pictures)
