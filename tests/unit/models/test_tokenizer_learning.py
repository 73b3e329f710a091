"""Short real trainings on a small moving dot, which a bad loss or a stuck tanh never learns."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from reverie.models.tokenizer.causal import CausalTokenizer, CausalTokenizerConfig
from reverie.models.tokenizer.conv import ConvTokenizer, ConvTokenizerConfig
from reverie.models.tokenizer.objective import TokenizerObjective
from reverie.nn.blocks import StackConfig
from tests.support.dreams import seeded

DOT_PIXELS = 29
MIN_DOT_DB = 15.0
"""The median picture, from which the dot is missing, scores 5 to 8 inside the dot."""
MAX_SATURATED = 0.01


def moving_dots(
    rows: int, num_frames: int, side: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Frames of a dot on a ground of two greys, and where the dot is."""
    places = []
    for _ in range(2):
        begin = torch.randint(3, side - 3, (rows, 1), generator=rng)
        speed = torch.randint(-2, 3, (rows, 1), generator=rng)
        places.append((begin + speed * torch.arange(num_frames)).clamp(3, side - 4))
    grid = torch.arange(side)
    down = (grid[:, None] - places[0][..., None, None]).square()
    is_dot = down + (grid[None, :] - places[1][..., None, None]).square() <= 9
    frames = torch.full((rows, num_frames, side, side, 3), 40, dtype=torch.uint8)
    frames[:, :, : side // 2] = 90
    frames[is_dot] = torch.tensor([230, 220, 60], dtype=torch.uint8)
    assert int(is_dot[0, 0].sum()) == DOT_PIXELS
    return frames, is_dot


def train(
    tokenizer: nn.Module, *, num_steps: int, lr: float, rows: int, num_frames: int, side: int
) -> dict[str, float]:
    """Train as recipes do (AdamW, linear decay, clipped) and measure on new dots."""
    rng, objective = seeded(), TokenizerObjective(tokenizer)
    optimizer = torch.optim.AdamW(objective.parameters(), lr, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 20) * (1 - 0.98 * step / num_steps)
    )
    for _ in range(num_steps):
        frames, _ = moving_dots(rows, num_frames, side, rng)
        report = objective(frames, rng=rng)
        optimizer.zero_grad()
        report.total.backward()
        nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    frames, is_dot = moving_dots(32, num_frames, side, seeded(9))
    with torch.no_grad():
        raw = tokenizer.embed(frames)  # type: ignore[operator]
        painted = tokenizer.paint(raw).permute(0, 1, 3, 4, 2)  # type: ignore[operator]
    error = (painted - frames.float() / 255).square()
    return {
        "dot_db": float(-10 * error[is_dot].mean().log10()),
        "saturated": float((raw.abs() > 0.99).float().mean()),
    }


@pytest.mark.usefixtures("without_shape_checks")
def test_the_conv_tokenizer_paints_a_small_moving_dot_and_does_not_saturate() -> None:
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(ConvTokenizerConfig(frame_px=32))
    numbers = train(tokenizer, num_steps=500, lr=2e-3, rows=16, num_frames=1, side=32)
    assert numbers["dot_db"] >= MIN_DOT_DB, numbers
    assert numbers["saturated"] < MAX_SATURATED, numbers


@pytest.mark.usefixtures("without_shape_checks")
def test_without_the_norm_before_the_tanh_the_same_training_saturates_and_sees_no_dot() -> None:
    """Why the norm is there; and proof that the law above can fail."""
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(ConvTokenizerConfig(frame_px=32))
    tokenizer.norm = nn.Identity()  # type: ignore[assignment]
    numbers = train(tokenizer, num_steps=300, lr=2e-3, rows=16, num_frames=1, side=32)
    assert numbers["saturated"] > 0.5 and numbers["dot_db"] < 8, numbers


@pytest.mark.usefixtures("without_shape_checks")
def test_the_causal_tokenizer_does_not_saturate_at_a_high_learning_rate() -> None:
    torch.manual_seed(0)
    tokenizer = CausalTokenizer(small_causal())
    numbers = train(tokenizer, num_steps=300, lr=2e-3, rows=8, num_frames=2, side=16)
    assert numbers["saturated"] < MAX_SATURATED, numbers


@pytest.mark.long
@pytest.mark.usefixtures("without_shape_checks")
def test_the_causal_tokenizer_paints_a_small_moving_dot() -> None:
    torch.manual_seed(0)
    tokenizer = CausalTokenizer(small_causal(max_drop=0.0))
    numbers = train(tokenizer, num_steps=1500, lr=5e-3, rows=16, num_frames=2, side=16)
    assert numbers["dot_db"] >= MIN_DOT_DB, numbers
    assert numbers["saturated"] < MAX_SATURATED, numbers


def test_the_loss_is_the_plain_mse_of_all_pixels() -> None:
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(ConvTokenizerConfig(frame_px=16, channels=(4, 4), latent_channels=3))
    frames, _ = moving_dots(3, 2, 16, seeded())
    objective = TokenizerObjective(tokenizer, latent_noise=0.0)
    report = objective(frames, rng=seeded())
    with torch.no_grad():
        painted = tokenizer.paint(tokenizer.embed(frames))
    wanted = (painted - frames.permute(0, 1, 4, 2, 3) / 255).square().mean()
    assert float(report.terms["mse"]) == pytest.approx(float(wanted), rel=1e-5)
    assert float(report.terms["psnr_db"]) == pytest.approx(-10 * float(wanted.log10()), rel=1e-5)


def test_weights_of_windows_weigh_their_errors() -> None:
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(ConvTokenizerConfig(frame_px=16, channels=(4, 4), latent_channels=3))
    objective = TokenizerObjective(tokenizer, latent_noise=0.0).eval()
    frames, _ = moving_dots(2, 1, 16, seeded())
    both = objective(frames, rng=seeded(), row_weights=torch.tensor([2.0, 0.0])).total
    assert_close(both, objective(frames[:1], rng=seeded()).total)
    assert not torch.allclose(both, objective(frames, rng=seeded()).total)


def small_causal(max_drop: float = 0.9) -> CausalTokenizerConfig:
    layers = StackConfig(width=32, depth=2, num_heads=2, num_kv_heads=2, time_every=2)
    return CausalTokenizerConfig(
        height_px=16,
        width_px=16,
        patch_px=4,
        encoder=layers,
        decoder=layers,
        num_tokens=8,
        latent_channels=16,
        context=3,
        max_drop=max_drop,
    )
