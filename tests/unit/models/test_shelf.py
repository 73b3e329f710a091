"""Tokenizers off the shelf: tiny ones of the library's own classes, with random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from reverie.core.errors import CheckpointError, ConfigError, ShapeError
from reverie.core.types import FrameSpec
from reverie.models.tokenizer import TOKENIZERS
from reverie.models.tokenizer.shelf import (
    SHELF,
    ShelfTokenizer,
    is_shelf_source,
    load_shelf_tokenizer,
)
from tests.support.dreams import random_frames
from tests.support.shelf import BUILDERS, FRAMES_PER_LATENT, RATIOS

SIZE = FrameSpec(height_px=16, width_px=32)
NUM_FRAMES = 17
NAMES = tuple(BUILDERS)
VIDEO = ("cosmos", "wan")


@pytest.fixture(scope="module")
def shelf() -> dict[str, ShelfTokenizer]:
    return {name: ShelfTokenizer(build(), SIZE) for name, build in BUILDERS.items()}


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return random_frames(SIZE.height_px, SIZE.width_px, rows=2, num_frames=NUM_FRAMES)


def close_enough(first: Tensor, second: Tensor) -> None:
    assert first.shape == second.shape
    # A picture that differs in its last bit may round to the next byte.
    assert (first.int() - second.int()).abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_those_of_the_spec_and_compression_is_counted(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    tokenizer = shelf[name]
    spec, step = tokenizer.spec, FRAMES_PER_LATENT[name]
    assert spec.frames_per_latent == step
    assert spec.num_tokens == 16 * 32 // RATIOS[name] ** 2
    assert spec.numbers_per_frame == spec.num_tokens * spec.num_channels / step
    latents, _ = tokenizer.encode(frames)
    assert latents.shape == (2, 1 + 16 // step, spec.num_tokens, spec.num_channels)
    assert latents.dtype == torch.float32 and not latents.requires_grad
    shown, _ = tokenizer.decode(latents)
    assert shown.shape == frames.shape and shown.dtype == torch.uint8


@pytest.mark.parametrize("name", NAMES)
def test_latents_and_pictures_are_the_librarys_own(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    net: Any = shelf[name].autoencoder
    videos = frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    given = videos if name in VIDEO else videos.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        found = net.encode(given)
        raw = found.latent if name == "dc-ae" else found.latent_dist.mode()
        painted = net.decode(raw).sample
    if name not in VIDEO:
        raw, painted = (x.unflatten(0, (2, NUM_FRAMES)).transpose(1, 2) for x in (raw, painted))
    latents, _ = shelf[name].encode(frames)
    own = raw.permute(0, 2, 3, 4, 1).flatten(2, 3) / shelf[name].spec.scale
    assert_close(latents, own, atol=1e-5, rtol=1e-4)
    pixels = ((painted + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    close_enough(shelf[name].decode(latents)[0], pixels.permute(0, 2, 3, 4, 1))


@pytest.mark.parametrize("name", NAMES)
def test_frames_fed_piece_by_piece_give_the_same_latents_and_pictures(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    tokenizer = shelf[name]
    at_once, _ = tokenizer.encode(frames)
    shown_at_once, _ = tokenizer.decode(at_once)
    encoder_state, decoder_state, latents, shown = None, None, [], []
    for piece in frames.split([1, 1, 7, 3, 5], dim=1):
        latent, encoder_state = tokenizer.encode(piece, encoder_state)
        latents.append(latent)
        if latent.shape[1]:
            picture, decoder_state = tokenizer.decode(latent, decoder_state)
            shown.append(picture)
    assert_close(torch.cat(latents, dim=1), at_once, atol=1e-4, rtol=1e-4)
    close_enough(torch.cat(shown, dim=1), shown_at_once)


@pytest.mark.parametrize("name", VIDEO)
def test_a_state_is_a_value_that_may_be_continued_twice(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    tokenizer = shelf[name]
    _, state = tokenizer.encode(frames[:, :9])
    first, _ = tokenizer.encode(frames[:, 9:], state)
    other, _ = tokenizer.encode(255 - frames[:, 9:], state)
    again, _ = tokenizer.encode(frames[:, 9:], state)
    assert torch.equal(first, again) and not torch.allclose(first, other)


@pytest.mark.parametrize("name", VIDEO)
def test_frames_wait_until_they_make_a_whole_latent(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    tokenizer, state, counts = shelf[name], None, []
    for frame in frames.split(1, dim=1):
        latents, state = tokenizer.encode(frame, state)
        counts.append(latents.shape[1])
    step = FRAMES_PER_LATENT[name]
    assert counts == [int(index % step == 0) for index in range(NUM_FRAMES)]


@pytest.mark.parametrize("name", NAMES)
def test_a_later_frame_changes_nothing_before_it(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    tokenizer, changed = shelf[name], frames.clone()
    changed[:, 9:] = 255 - changed[:, 9:]
    before, after = (tokenizer.encode(x)[0] for x in (frames, changed))
    same = 1 + 8 // FRAMES_PER_LATENT[name]
    assert_close(before[:, :same], after[:, :same], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(before[:, same:], after[:, same:], atol=1e-4)
    shown = [
        tokenizer.decode(x)[0] for x in (before, torch.cat([before[:, :same], after[:, same:]], 1))
    ]
    close_enough(shown[0][:, :9], shown[1][:, :9])


@pytest.mark.parametrize("name", NAMES)
def test_the_round_trip_is_decode_then_encode_without_rounding(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    tokenizer = shelf[name]
    latents, _ = tokenizer.encode(frames[0, :3, None])
    back = tokenizer.round_trip(latents[:, 0])
    rounded, _ = tokenizer.encode(tokenizer.decode(latents)[0])
    assert back.shape == latents[:, 0].shape
    assert (back - rounded[:, 0]).abs().max() < 0.05 * rounded.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_safetensors_loads_as_it_was_saved(
    name: str, shelf: dict[str, ShelfTokenizer], frames: Tensor, tmp_path: Path
) -> None:
    folder = tmp_path / "vae" if name in VIDEO else tmp_path
    shelf[name].autoencoder.save_pretrained(folder)  # type: ignore[operator]
    assert is_shelf_source(str(tmp_path))
    loaded = load_shelf_tokenizer(str(tmp_path), SIZE)
    assert loaded.spec == shelf[name].spec
    assert torch.equal(loaded.encode(frames[:1])[0], shelf[name].encode(frames[:1])[0])


def test_pickled_weights_are_not_read(shelf: dict[str, ShelfTokenizer], tmp_path: Path) -> None:
    net: Any = shelf["sd-vae"].autoencoder
    net.save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.glob("*.bin"))
    with pytest.raises(CheckpointError, match="pickled weights are not read"):
        load_shelf_tokenizer(str(tmp_path), SIZE)


def test_damaged_weights_and_configs_are_refused_by_name(
    shelf: dict[str, ShelfTokenizer], tmp_path: Path
) -> None:
    shelf["sd-vae"].autoencoder.save_pretrained(tmp_path)  # type: ignore[operator]
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_shelf_tokenizer(str(tmp_path), SIZE)
    config = tmp_path / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"_class_name": "UNet2DModel"}))
    with pytest.raises(ConfigError, match=r"'UNet2DModel', which is none of sd-vae"):
        load_shelf_tokenizer(str(tmp_path), SIZE)
    config.write_text("{")
    with pytest.raises(CheckpointError, match="does not say which class"):
        load_shelf_tokenizer(str(tmp_path), SIZE)


@pytest.mark.parametrize("source", ["sd-vae", "wan@main", "cosmos@1234abc"])
def test_a_name_without_a_whole_commit_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match=r"whole commit.*40 hexadecimal"):
        load_shelf_tokenizer(source, SIZE)


def test_the_hub_is_asked_for_the_pinned_commit_and_safetensors_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import diffusers

    asked: dict[str, Any] = {}

    def refuse(path: str, **options: Any) -> None:
        asked.update(options, path=path)
        raise OSError("We couldn't connect to the Hub")

    monkeypatch.setattr(diffusers.AutoencoderKLWan, "from_pretrained", refuse)
    with pytest.raises(CheckpointError, match="couldn't connect"):
        load_shelf_tokenizer(f"wan@{'a' * 40}", SIZE)
    assert asked == {
        "path": SHELF["wan"].repo,
        "revision": "a" * 40,
        "subfolder": "vae",
        "use_safetensors": True,
        "low_cpu_mem_usage": False,
    }


def test_a_misspelt_name_is_answered_with_the_four() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'cosmos'.*dc-ae"):
        load_shelf_tokenizer("cosmo", SIZE)


def test_sizes_that_do_not_divide_and_other_frames_are_refused(
    shelf: dict[str, ShelfTokenizer], frames: Tensor
) -> None:
    with pytest.raises(ConfigError, match="multiples of 8, got 20x16"):
        ShelfTokenizer(shelf["wan"].autoencoder, FrameSpec(height_px=20, width_px=16))
    with pytest.raises(ShapeError, match=r"frames of \(16, 32, 3\), got \(8, 32, 3\)"):
        shelf["wan"].encode(frames[:, :, :8])


def test_another_module_or_another_wan_is_refused(build_wan: Callable[..., nn.Module]) -> None:
    with pytest.raises(ConfigError, match="'Linear' is none of the tokenizers"):
        ShelfTokenizer(nn.Linear(1, 1), SIZE)
    with pytest.raises(ConfigError, match="Only Wan 2.1 is supported"):
        ShelfTokenizer(build_wan(temperal_downsample=[False, False, True]), SIZE)


@pytest.fixture
def build_wan() -> Callable[..., nn.Module]:
    return BUILDERS["wan"]


def test_no_world_model_can_name_one_of_them() -> None:
    assert not set(SHELF) & set(TOKENIZERS.names())
