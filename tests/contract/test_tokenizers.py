"""What every tokenizer keeps. Registering one is what tests it."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import ShapeError, StaleStateError
from reverie.models.load import make_tokenizer as make_registered
from reverie.models.tokenizer import TOKENIZERS
from reverie.models.tokenizer.objective import TokenizerObjective
from tests.support.dreams import TOKENIZER_CONFIGS, make_tokenizer, random_frames, seeded

NAMES = TOKENIZERS.names()
SIZES = ("awkward", "all one")
ROWS, FRAMES = 2, 7
IDLE = {"causal": "decoder.layers.3.time"}
"""Part of the published geometry: time attention in the decoder's last layer moves latent tokens
that no patch looks at any more."""


def frames_for(tokenizer: object, *, rows: int = ROWS, num_frames: int = FRAMES) -> Tensor:
    spec = tokenizer.frame_spec  # type: ignore[attr-defined]
    return random_frames(spec.height_px, spec.width_px, rows=rows, num_frames=num_frames)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_ranges_are_those_of_the_spec(name: str, size: str) -> None:
    tokenizer = make_tokenizer(name, size)
    count = 1 if size == "all one" else FRAMES
    frames = frames_for(tokenizer, rows=count, num_frames=count)
    latents, _ = tokenizer.encode(frames)
    spec = tokenizer.spec
    assert latents.shape == (count, count, spec.num_tokens, spec.num_channels)
    assert latents.dtype == torch.float32 and not latents.requires_grad
    assert (latents * spec.scale).abs().max() <= 1
    shown, _ = tokenizer.decode(latents)
    assert shown.shape == frames.shape and shown.dtype == torch.uint8


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_frames_fed_one_by_one_give_the_same_latents_and_pictures(name: str, size: str) -> None:
    tokenizer = make_tokenizer(name, size)
    frames = frames_for(tokenizer)
    at_once, _ = tokenizer.encode(frames)
    shown_at_once, _ = tokenizer.decode(at_once)
    encoder_state, decoder_state, latents, shown = None, None, [], []
    for frame in frames.split(1, dim=1):
        latent, encoder_state = tokenizer.encode(frame, encoder_state)
        picture, decoder_state = tokenizer.decode(latent, decoder_state)
        latents.append(latent)
        shown.append(picture)
    assert_close(torch.cat(latents, dim=1), at_once, atol=1e-5, rtol=1e-5)
    # A latent that differs in its last bit may round to the next byte.
    assert (torch.cat(shown, dim=1).int() - shown_at_once.int()).abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_chunks_of_any_length_give_the_same_latents(name: str) -> None:
    tokenizer = make_tokenizer(name)
    frames = frames_for(tokenizer)
    at_once, _ = tokenizer.encode(frames)
    state, pieces = None, []
    for chunk in frames.split([2, 4, 1], dim=1):
        latents, state = tokenizer.encode(chunk, state)
        pieces.append(latents)
    assert_close(torch.cat(pieces, dim=1), at_once, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_later_frame_changes_nothing_before_it(name: str) -> None:
    tokenizer = make_tokenizer(name)
    frames = frames_for(tokenizer)
    changed = frames.clone()
    changed[:, 4:] = 255 - changed[:, 4:]
    before, after = (tokenizer.encode(x)[0] for x in (frames, changed))
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])
    shown = [
        tokenizer.decode(torch.cat([before[:, :4], x[:, 4:]], dim=1))[0] for x in (before, after)
    ]
    assert torch.equal(shown[0][:, :4], shown[1][:, :4])


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name: str) -> None:
    tokenizer = make_tokenizer(name)
    frames = frames_for(tokenizer, rows=3)
    together, _ = tokenizer.encode(frames)
    alone, _ = tokenizer.encode(frames[[2]])
    assert_close(together[[2]], alone, atol=1e-6, rtol=1e-5)
    assert_close(
        tokenizer.paint(together[[2, 0]]), tokenizer.paint(together)[[2, 0]], atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_divides_latents_and_leaves_pictures_alone(name: str) -> None:
    tokenizer = make_tokenizer(name)
    frames = frames_for(tokenizer)
    raw, _ = tokenizer.encode(frames)
    shown, _ = tokenizer.decode(raw)
    tokenizer.set_scale(0.25)
    assert tokenizer.spec.scale == 0.25
    latents, _ = tokenizer.encode(frames)
    assert torch.equal(latents, raw * 4)
    assert torch.equal(tokenizer.decode(latents)[0], shown)
    assert "scale" in tokenizer.state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_the_round_trip_is_decode_then_encode_without_rounding(name: str) -> None:
    tokenizer = make_tokenizer(name)
    tokenizer.set_scale(0.5)
    latents, _ = tokenizer.encode(frames_for(tokenizer, rows=5, num_frames=1))
    back = tokenizer.round_trip(latents[:, 0])
    shown, _ = tokenizer.decode(latents)
    rounded, _ = tokenizer.encode(shown)
    assert back.shape == latents[:, 0].shape
    assert_close(back, rounded[:, 0], atol=0.05, rtol=0)
    alone = tokenizer.round_trip(latents[[1], 0])
    assert_close(back[[1]], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_of_another_size_is_refused_with_both_sizes(name: str) -> None:
    tokenizer = make_tokenizer(name)
    with pytest.raises(ShapeError, match=r"reads frames of \(\d+, \d+, 3\), got \(5, 9, 3\)"):
        tokenizer.encode(random_frames(5, 9, rows=1, num_frames=1))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_reaches_every_parameter(name: str) -> None:
    tokenizer = make_tokenizer(name)
    objective = TokenizerObjective(tokenizer)
    objective(frames_for(tokenizer), rng=seeded()).total.backward()
    silent = [key for key, x in tokenizer.named_parameters() if x.grad is None or not x.grad.any()]
    assert [key for key in silent if not key.startswith(IDLE.get(name, " "))] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_gives_the_same_loss_bits(name: str) -> None:
    losses = []
    for _ in range(2):
        tokenizer = make_tokenizer(name)
        report = TokenizerObjective(tokenizer)(frames_for(tokenizer), rng=seeded(3))
        losses.append(report.terms["mse"])
    assert torch.equal(losses[0], losses[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_config_survives_a_file_and_rebuilds_the_tokenizer(name: str) -> None:
    config = TOKENIZER_CONFIGS[name]["awkward"]
    assert from_dict(type(config), to_dict(config)) == config
    again = make_registered(name, to_dict(config))
    wanted = {key: value.shape for key, value in make_tokenizer(name).state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_a_value_or_refuses_to_be_continued_twice(name: str) -> None:
    tokenizer = make_tokenizer(name)
    frames = frames_for(tokenizer)
    _, state = tokenizer.encode(frames[:, :5])
    first, _ = tokenizer.encode(frames[:, 5:6], state)
    try:
        second, _ = tokenizer.encode(frames[:, 5:6], state)
    except StaleStateError as error:
        assert "fork()" in str(error)
    else:
        assert torch.equal(first, second)
