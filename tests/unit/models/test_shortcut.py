"""Laws of the flow alone; where a network is needed, a formula stands in for it."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.errors import ConfigError
from reverie.models.dynamics.shortcut import (
    Denoise,
    Labels,
    ShortcutConfig,
    ShortcutFlow,
    is_finest,
)
from tests.support.dreams import seeded

NO_LIMIT = 1e9


def flow_of(num_levels: int) -> ShortcutFlow:
    return ShortcutFlow(config=ShortcutConfig(num_levels=num_levels))


def grid(num_levels: int) -> Labels:
    """Every label with a step coarser than the finest, as a batch of one frame each."""
    finest = num_levels.bit_length() - 1
    pairs = [
        (level, exponent)
        for exponent in range(finest)
        for level in range(0, num_levels, num_levels >> exponent)
    ]
    level, exponent = torch.tensor(pairs).T[..., None]
    return Labels(level, exponent)


def draw(labels: Labels, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    shape = (*labels.signal_level.shape, 3, 2)
    return (torch.rand(shape, generator=seeded(seed), dtype=torch.float64) * 2 - 1).to(dtype)


def paper_target(
    noisy: Tensor, first: Tensor, second: Tensor, labels: Labels, levels: int
) -> Tensor:
    """Dreamer 4's form: the mean of two velocities, turned back into a clean latent."""
    dtype = noisy.dtype
    signal = (labels.signal_level.double() / levels).to(dtype)[..., None, None]
    half = (0.5 ** (labels.step_exponent.double() + 1)).to(dtype)[..., None, None]
    velocity = (first - noisy) / (1 - signal)
    moved = noisy + half * velocity
    other = (second - moved) / (1 - (signal + half))
    return noisy + (1 - signal) * (velocity + other) / 2


def two_answers(first: Tensor, second: Tensor) -> Denoise:
    """A teacher that answers ``first``, then ``second``."""
    answers = iter((first, second))
    return lambda noisy, level, exponent: next(answers)


@pytest.mark.parametrize("num_levels", [8, 64, 128])
def test_the_closed_form_is_the_papers_form_at_every_grid_point(num_levels: int) -> None:
    labels = grid(num_levels)
    noisy, first, second, clean = (draw(labels, seed) for seed in range(4))
    target = flow_of(num_levels).bootstrap_target(
        two_answers(first, second), noisy, labels, clean, NO_LIMIT
    )
    wanted = paper_target(noisy, first, second, labels, num_levels)
    assert_close(target, wanted, atol=1e-12, rtol=0)


def test_in_low_precision_the_closed_form_is_safe_where_the_papers_form_is_not() -> None:
    labels = grid(128)
    # Noisy latents reach three standard deviations; clean ones stay inside their box.
    sizes = (3.0, 1.0, 1.0)
    exact = [(size * draw(labels, seed)).bfloat16().double() for seed, size in enumerate(sizes)]
    noisy, first, second = (x.bfloat16() for x in exact)
    wanted = paper_target(*exact, labels, 128)
    ours = flow_of(128).bootstrap_target(two_answers(first, second), noisy, labels, noisy, NO_LIMIT)
    theirs = paper_target(noisy, first, second, labels, 128)
    assert ours.dtype == torch.bfloat16
    assert (ours.double() - wanted).abs().max() < 1e-2
    assert (theirs.double() - wanted).abs().max() > 2e-2


@pytest.mark.parametrize("num_levels", [2, 8, 64])
def test_one_step_with_the_target_lands_where_two_half_steps_land(num_levels: int) -> None:
    flow, labels = flow_of(num_levels), grid(num_levels)
    noisy, clean = draw(labels, 0), draw(labels, 1)

    def step(z: Tensor, x: Tensor, level: Tensor, length: Tensor) -> Tensor:
        share = length.double() / (num_levels - level.double())
        return z + share[..., None, None] * (x - z)

    target = flow.bootstrap_target(curved(num_levels), noisy, labels, clean, NO_LIMIT)
    length = num_levels // 2**labels.step_exponent
    half = labels.step_exponent + 1
    once = step(noisy, target, labels.signal_level, length)
    first = curved(num_levels)(noisy, labels.signal_level, half)
    middle = step(noisy, first, labels.signal_level, length // 2)
    second = curved(num_levels)(middle, labels.signal_level + length // 2, half)
    twice = step(middle, second, labels.signal_level + length // 2, length // 2)
    assert_close(once, twice, atol=1e-12, rtol=0)


def test_a_denoiser_that_obeys_the_targets_gives_one_sample_for_any_number_of_steps() -> None:
    num_levels = 16
    flow = flow_of(num_levels)
    finest = flow.config.finest_exponent
    exact = curved(num_levels)

    def denoise(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        if int(exponent.max()) == finest:
            return exact(z, level, exponent)
        return flow.bootstrap_target(denoise, z, Labels(level, exponent), z, NO_LIMIT)

    noise = torch.randn((2, 3, 4, 5), generator=seeded(), dtype=torch.float64)
    samples = [flow.integrate(denoise, noise, steps, NO_LIMIT)[0] for steps in (1, 2, 4, 8, 16)]
    for sample in samples[1:]:
        assert_close(sample, samples[0], atol=1e-12, rtol=0)
    assert (samples[0] - noise).abs().max() > 0.1


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_with_one_data_point_the_target_is_it_and_any_number_of_steps_returns_it(
    num_steps: int,
) -> None:
    flow, labels = flow_of(8), grid(8)
    clean = draw(labels, 1)
    target = flow.bootstrap_target(lambda *args: clean, draw(labels, 0), labels, clean, NO_LIMIT)
    assert_close(target, clean, atol=1e-14, rtol=0)
    sample, trace = flow.integrate(lambda *args: clean, draw(labels, 2), num_steps, NO_LIMIT)
    assert torch.equal(sample, clean)
    assert trace.shape == (clean.shape[0], num_steps, *clean.shape[1:])


MEAN, STD = 0.3, 0.5


def gaussian(num_levels: int, shift: int = 0) -> Denoise:
    """Exact denoiser of normal data; ``shift`` reads the label as if it were another level."""

    def denoise(noisy: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        s = ((level + shift).double() / num_levels).to(noisy.dtype)[..., None, None]
        spread = s * STD**2 / ((s * STD) ** 2 + (1 - s) ** 2)
        return MEAN + spread * (noisy - s * MEAN)

    return denoise


def test_samples_of_gaussian_data_have_its_mean_and_std() -> None:
    flow = flow_of(64)
    noise = torch.randn((1, 1, 400_000, 1), generator=seeded(1))
    sample, _ = flow.integrate(gaussian(64), noise, 64, NO_LIMIT)
    assert abs(float(sample.mean()) - MEAN) < 0.005
    assert abs(float(sample.std()) / STD - 1) < 0.04
    # The law can fail: a label that tells the destination instead of the place moves the mean.
    shifted, _ = flow.integrate(gaussian(64, shift=1), noise, 64, NO_LIMIT)
    assert abs(float(shifted.mean()) - 0.285) < 0.006


@pytest.mark.parametrize("num_levels", [2, 8, 64])
def test_every_step_says_where_the_latent_is(num_levels: int) -> None:
    flow, seen = flow_of(num_levels), []
    clean = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    noise = torch.ones_like(clean)

    def record(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        seen.append((float(z), int(level), int(exponent)))
        return clean

    flow.integrate(record, noise, num_levels // 2, NO_LIMIT)
    for z, level, exponent in seen:
        assert z == pytest.approx(1 - level / num_levels)
        assert num_levels // 2 == 2**exponent
    assert [level for _, level, _ in seen] == list(range(0, num_levels, 2))


def test_level_zero_is_pure_noise_and_there_is_no_level_for_clean() -> None:
    flow = flow_of(8)
    clean, noise = torch.randn((2, 2, 3, 4, 5), generator=seeded())
    level = torch.zeros(2, 3, dtype=torch.long)
    assert torch.equal(flow.corrupt(clean, noise, level), noise)
    half = flow.corrupt(clean, noise, level + 4)
    assert_close(half, (clean + noise) / 2)
    for wrong in (8, -1):
        with pytest.raises(ConfigError, match=f"lie in 0 … 7, got {wrong} … {wrong}. A clean"):
            flow.corrupt(clean, noise, level + wrong)


def test_every_frame_is_corrupted_by_its_own_level() -> None:
    flow = flow_of(8)
    clean, noise = torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    level = torch.arange(6).view(2, 3)
    noisy = flow.corrupt(clean, noise, level)
    assert_close(noisy, (1 - level / 8)[..., None, None].expand(2, 3, 4, 5))


def test_levels_are_uniform_multiples_of_the_frames_own_step() -> None:
    flow = flow_of(16)
    exponent = torch.arange(5).repeat(400, 40)
    level = flow.draw_level(exponent, seeded())
    for e in range(5):
        drawn = level[exponent == e]
        stride = 16 >> e
        assert not (drawn % stride).any() and drawn.max() == 16 - stride
        counts = torch.bincount(drawn // stride, minlength=2**e).float()
        assert (counts / counts.sum() * 2**e - 1).abs().max() < 0.2


def test_coarse_exponents_are_all_but_the_finest_equally_often() -> None:
    drawn = flow_of(16).draw_coarse_exponent((400, 20), seeded())
    counts = torch.bincount(drawn.flatten()).float()
    assert len(counts) == 4
    assert (counts / counts.sum() * 4 - 1).abs().max() < 0.1


def test_a_net_off_by_a_constant_loses_the_ramp_times_its_square() -> None:
    """An extra (1 - signal)**2 would show here; the ramp is one formula for every step size."""
    flow = flow_of(64)
    level = torch.arange(64)[None]
    signal = level / 64
    assert_close(flow.loss_weight(level), 0.9 * signal + 0.1)
    assert float(flow.loss_weight(level)[0, 0]) == pytest.approx(0.1)


def test_finest_frames_keep_their_clean_target_and_never_move() -> None:
    flow, finest = flow_of(8), 3
    labels = Labels(torch.tensor([[5, 4, 3]]), torch.tensor([[finest, 1, finest]]))
    noisy, clean = torch.randn((2, 1, 3, 4, 5), generator=seeded())
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def record(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        seen.append((z, level, exponent))
        return torch.zeros_like(z)

    target = flow.bootstrap_target(record, noisy, labels, clean, NO_LIMIT)
    assert torch.equal(target[:, [0, 2]], clean[:, [0, 2]])
    assert not target[:, 1].any()
    first, second = seen
    assert first[1].tolist() == [[5, 4, 3]] and second[1].tolist() == [[5, 6, 3]]
    assert first[2].tolist() == second[2].tolist() == [[finest, 2, finest]]
    assert torch.equal(first[0], noisy)
    assert torch.equal(second[0][:, [0, 2]], noisy[:, [0, 2]])
    # From signal 1/2, a step of 1/4 towards zero halves what is left of the noise.
    assert_close(second[0][:, 1], noisy[:, 1] / 2)
    assert is_finest(labels, flow.config).tolist() == [[True, False, True]]


def test_teachers_and_samples_are_clamped_and_targets_carry_no_gradient() -> None:
    flow, labels = flow_of(8), grid(8)
    weight = torch.tensor(50.0, requires_grad=True)
    noisy = draw(labels, 0, torch.float32)

    def wild(z: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        return weight * z

    target = flow.bootstrap_target(wild, noisy, labels, noisy, 1.5)
    assert not target.requires_grad and target.abs().max() <= 1.5 + 1e-6
    sample, trace = flow.integrate(wild, noisy, 4, 1.5)
    assert sample.abs().max() <= 1.5 and trace.abs().max() <= 1.5
    assert torch.equal(sample, trace[:, -1])


def test_grids_and_step_counts_that_cannot_be_halved_are_refused() -> None:
    for levels in (0, 1, 3, 48):
        with pytest.raises(ConfigError, match=f"power of two from 2 up, got {levels}. Try 64"):
            ShortcutConfig(num_levels=levels)
    for steps in (0, 3, 16):
        with pytest.raises(ConfigError, match=f"power of two up to 8, got {steps}. Try 4"):
            flow_of(8).check_num_steps(steps)


def curved(num_levels: int) -> Denoise:
    """Some smooth function of place and level, not of the step."""

    def denoise(noisy: Tensor, level: Tensor, exponent: Tensor) -> Tensor:
        signal = (level.double() / num_levels)[..., None, None]
        return torch.sin(2 * noisy + signal) + 0.3 * signal * noisy

    return denoise
