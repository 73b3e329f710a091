"""Pictures that are not square keep their shape: scaled to the width of a frame and padded."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reverie.core.types import NATIVE_FRAME_PX


def to_square(picture: UInt8[np.ndarray, "h w 3"], *, padding: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Scale a picture, at least as wide as high, to the native frame, anti-aliased.

    Args:
        picture: What the simulator drew.
        padding: Grey level of the bars above and below.
    """
    height, width = picture.shape[:2]
    size = (NATIVE_FRAME_PX, round(height * NATIVE_FRAME_PX / width))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    frame = np.full((NATIVE_FRAME_PX, NATIVE_FRAME_PX, 3), padding, dtype=np.uint8)
    top = (NATIVE_FRAME_PX - len(small)) // 2
    frame[top : top + len(small)] = small
    return frame
