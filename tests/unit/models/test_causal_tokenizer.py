from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.errors import ConfigError, ShapeError, StaleStateError
from reverie.models.tokenizer.causal import CausalState, CausalTokenizer
from tests.support.dreams import TOKENIZER_CONFIGS, make_tokenizer, random_frames, seeded

CONFIG = TOKENIZER_CONFIGS["causal"]["awkward"]


@pytest.fixture
def tokenizer() -> CausalTokenizer:
    return make_tokenizer("causal")


@pytest.fixture
def frames() -> Tensor:
    return random_frames(CONFIG.height_px, CONFIG.width_px, rows=2, num_frames=9)


def test_it_has_as_many_parameters_as_its_config_says(tokenizer: CausalTokenizer) -> None:
    assert sum(x.numel() for x in tokenizer.parameters()) == CONFIG.num_parameters


def test_latents_reach_as_far_back_as_the_layers_and_not_one_frame_further(
    tokenizer: CausalTokenizer, frames: Tensor
) -> None:
    reach = CONFIG.encoder.num_time_layers * (CONFIG.context - 1)
    base, _ = tokenizer.encode(frames)
    for age in (reach, reach + 1):
        changed = frames.clone()
        changed[:, 8 - age] = 255 - changed[:, 8 - age]
        latents, _ = tokenizer.encode(changed)
        assert torch.equal(latents[:, 8], base[:, 8]) == (age > reach)


def test_the_window_that_a_world_keeps_paints_the_newest_frame_as_the_whole_video_does(
    tokenizer: CausalTokenizer,
) -> None:
    rng = seeded(1)
    raw = torch.rand((2, 12, CONFIG.num_tokens, CONFIG.latent_channels), generator=rng) * 2 - 1
    whole = tokenizer.paint(raw)[:, -1]
    memory = tokenizer.memory_frames
    assert_close(tokenizer.paint(raw[:, -memory:])[:, -1], whole, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(tokenizer.paint(raw[:, 1 - memory :])[:, -1], whole, atol=1e-5)


def test_latents_see_patches_but_patches_see_no_latents(
    tokenizer: CausalTokenizer, frames: Tensor
) -> None:
    seen: list[Tensor] = []
    tokenizer.encoder.register_forward_hook(lambda *args: seen.append(args[2][0]))
    with torch.no_grad():
        tokenizer.embed(frames)
        tokenizer.latent_queries.add_(1.0)
        tokenizer.embed(frames)
    count = CONFIG.num_tokens
    assert torch.equal(seen[0][:, :, count:], seen[1][:, :, count:])
    assert not torch.allclose(seen[0][:, :, :count], seen[1][:, :, :count])


def test_the_decoders_latents_see_no_patch_queries(tokenizer: CausalTokenizer) -> None:
    seen: list[Tensor] = []
    tokenizer.decoder.register_forward_hook(lambda *args: seen.append(args[2][0]))
    raw = torch.rand((1, 4, CONFIG.num_tokens, CONFIG.latent_channels), generator=seeded()) * 2 - 1
    with torch.no_grad():
        tokenizer.paint(raw)
        tokenizer.patch_queries.add_(1.0)
        tokenizer.paint(raw)
    count = CONFIG.num_tokens
    assert torch.equal(seen[0][:, :, :count], seen[1][:, :, :count])
    assert not torch.allclose(seen[0][:, :, count:], seen[1][:, :, count:])


def test_patches_of_one_frame_reach_another_through_latents_only(
    tokenizer: CausalTokenizer, frames: Tensor
) -> None:
    seen: list[Tensor] = []
    tokenizer.encoder.register_forward_hook(lambda *args: seen.append(args[2][0]))
    changed = frames.clone()
    changed[:, 0] = 255 - changed[:, 0]
    with torch.no_grad():
        tokenizer.embed(frames)
        tokenizer.embed(changed)
    count = CONFIG.num_tokens
    assert torch.equal(seen[0][:, 1:, count:], seen[1][:, 1:, count:])
    assert not torch.allclose(seen[0][:, 1, :count], seen[1][:, 1, :count])


def test_masking_drops_one_share_per_frame_between_none_and_nine_tenths() -> None:
    config = replace(CONFIG, height_px=80, width_px=80, num_tokens=2)
    tokenizer = CausalTokenizer(config)
    seen: list[Tensor] = []
    with torch.no_grad():
        tokenizer.dropped_patch.fill_(99.0)
    tokenizer.encoder.register_forward_pre_hook(lambda *args: seen.append(args[1][0]))
    with torch.no_grad():
        tokenizer.embed_masked(random_frames(80, 80, rows=3, num_frames=20), rng=seeded(2))
    share = (seen[0][:, :, 2:] == 99.0).all(dim=-1).float().mean(dim=-1)
    assert abs(float(share.mean()) - config.max_drop / 2) < 0.1
    assert share.min() < 0.15 and 0.7 < share.max() < 0.97
    assert share.std() > 0.2


def test_with_no_masking_the_loss_is_plain_mse_of_embed_and_paint(frames: Tensor) -> None:
    torch.manual_seed(1)
    tokenizer = CausalTokenizer(replace(CONFIG, max_drop=0.0))
    with torch.no_grad():
        assert torch.equal(tokenizer.embed_masked(frames, rng=seeded()), tokenizer.embed(frames))


def test_forked_and_selected_states_go_on_as_if_alone(
    tokenizer: CausalTokenizer, frames: Tensor
) -> None:
    latents, _ = tokenizer.encode(frames)
    _, state = tokenizer.encode(frames[:, :5])
    both, _ = tokenizer.encode(frames[:, 5:].repeat_interleave(3, dim=0), state.fork(3))
    assert_close(both, latents[:, 5:].repeat_interleave(3, dim=0), atol=1e-5, rtol=1e-5)
    swapped, _ = tokenizer.encode(frames[[1, 0, 1], 5:], state.select([1, 0, 1]))
    assert_close(swapped, latents[[1, 0, 1], 5:], atol=1e-5, rtol=1e-5)


def test_a_forked_past_is_shared_not_copied(tokenizer: CausalTokenizer, frames: Tensor) -> None:
    _, state = tokenizer.encode(frames)
    forked = state.fork(50)
    assert forked.num_rows == 100
    assert forked.cache.shared is not None and forked.cache.shared.keys.shape[1] == 2


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_stale_state_raises_and_harms_nothing(
    tokenizer: CausalTokenizer, frames: Tensor, side: str
) -> None:
    work = tokenizer.encode if side == "encoder" else tokenizer.decode
    feed = frames if side == "encoder" else tokenizer.encode(frames)[0]
    _, old = work(feed[:, :5])
    _, new = work(feed[:, 5:6], old)
    with pytest.raises(StaleStateError, match="1 frame"):
        work(feed[:, 6:7], old)
    at_once, _ = work(feed)
    got, _ = work(feed[:, 6:7], new)
    assert_close(
        got.float(), at_once[:, 6:7].float(), atol=1 if side == "decoder" else 1e-5, rtol=0
    )


def test_a_state_of_the_other_side_or_of_other_rows_is_refused(
    tokenizer: CausalTokenizer, frames: Tensor
) -> None:
    latents, state = tokenizer.encode(frames)
    with pytest.raises(ShapeError, match="got a state of the encoder with 2"):
        tokenizer.decode(latents, state)
    with pytest.raises(ShapeError, match=r"as many rows as its input \(1\)"):
        tokenizer.encode(frames[:1], state)


def test_memory_does_not_grow_with_the_video(tokenizer: CausalTokenizer) -> None:
    def num_kept(state: CausalState) -> int:
        assert state.cache.shared is None
        return state.cache.ring.keys.numel() + state.cache.ring.values.numel()

    frame = random_frames(CONFIG.height_px, CONFIG.width_px, rows=1, num_frames=1)
    state, sizes = None, []
    for _ in range(10 * CONFIG.context):
        _, state = tokenizer.encode(frame, state)
        sizes.append(num_kept(state))
    assert len(set(sizes)) == 1


def test_what_cannot_work_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="got patches of 5 px for 8x12"):
        replace(CONFIG, patch_px=5)
    with pytest.raises(ConfigError, match="encoder never looks back: 3 layers .* every 4"):
        replace(CONFIG, encoder=replace(CONFIG.encoder, time_every=4))
    with pytest.raises(ConfigError, match=r"max_drop in \[0, 1\), got 3 and 1.0"):
        replace(CONFIG, max_drop=1.0)


def test_token_types_start_at_one_size(tokenizer: CausalTokenizer, frames: Tensor) -> None:
    seen: list[Tensor] = []
    tokenizer.encoder.register_forward_pre_hook(lambda *args: seen.append(args[1][0]))
    tokenizer.decoder.register_forward_pre_hook(lambda *args: seen.append(args[1][0]))
    with torch.no_grad():
        tokenizer.paint(tokenizer.embed(frames))
    for tokens in seen:
        count = CONFIG.num_tokens
        rms = [x.square().mean().sqrt() for x in (tokens[:, :, :count], tokens[:, :, count:])]
        assert all(0.3 < float(x) < 2.0 for x in rms)
