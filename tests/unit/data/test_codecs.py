"""No codec changes a bit, whatever the size."""

import numpy as np
import pytest

from reverie.core.errors import ConfigError, DataError
from reverie.core.types import FrameSpec
from reverie.data.codecs import CODECS, check_codec, decode_strip, encode_strip

SHAPES = [(1, 1, 1), (8, 1, 1), (3, 5, 7), (8, 64, 48), (2, 31, 1), (7, 1, 33)]


def _frames(shape: tuple[int, int, int], kind: str) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    if kind == "noise":
        return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    if kind == "black":
        return np.zeros((*shape, 3), dtype=np.uint8)
    still = rng.integers(0, 256, (1, *shape[1:], 3), dtype=np.uint8)
    return np.repeat(still, shape[0], axis=0)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["noise", "black", "still"])
def test_a_strip_comes_back_bit_for_bit(codec: str, shape: tuple[int, int, int], kind: str) -> None:
    frames = _frames(shape, kind)
    content = encode_strip(frames, codec=codec)
    spec = FrameSpec(height_px=shape[1], width_px=shape[2])
    decoded = decode_strip(content, codec=codec, num_frames=shape[0], frame_spec=spec)
    np.testing.assert_array_equal(decoded, frames)


@pytest.mark.parametrize("codec", CODECS)
def test_encoding_does_not_touch_the_frames_given(codec: str) -> None:
    frames = _frames((8, 16, 16), "noise")
    before = frames.copy()
    encode_strip(frames, codec=codec)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("codec", CODECS)
def test_a_strip_of_another_size_is_refused(codec: str) -> None:
    content = encode_strip(_frames((4, 8, 8), "noise"), codec=codec)
    with pytest.raises(DataError, match=r"should decode to|does not decode"):
        decode_strip(
            content, codec=codec, num_frames=5, frame_spec=FrameSpec(height_px=8, width_px=8)
        )


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_that_are_no_strip_are_refused(codec: str) -> None:
    with pytest.raises(DataError, match="decode"):
        decode_strip(
            b"not a strip", codec=codec, num_frames=1, frame_spec=FrameSpec(height_px=8, width_px=8)
        )


def test_an_unknown_codec_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"Unknown codec 'jpeg'. Choose one of: webp, zstd."):
        check_codec("jpeg", FrameSpec())


def test_frames_too_large_for_webp_are_refused_before_anything_is_written() -> None:
    wide = FrameSpec(height_px=10, width_px=4096)
    with pytest.raises(ConfigError, match="Use smaller frames or codec='zstd'"):
        check_codec("webp", wide)
    check_codec("zstd", wide)
