"""V's linear part, and an M that is asked to go on from its own samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.errors import ConfigError, ShapeError
from reverie.models.classic.mdn_rnn import MdnRnn, MdnRnnConfig
from reverie.models.classic.objective import (
    LatentWindows,
    MdnRnnObjective,
    MdnRnnObjectiveConfig,
)
from reverie.models.classic.vae import Vae, VaeConfig

CONFIG = VaeConfig(
    frame_px=16,
    num_stacked=1,
    latent_channels=6,
    encoder_kernels=(4, 3, 3),
    encoder_channels=(4, 4, 4),
    decoder_channels=(8, 4, 4),
    decoder_kernels=(3, 3, 4),
    activation="silu",
    output="linear",
    inverts_colours=True,
    has_components=True,
)


def bars(places: np.ndarray) -> Tensor:
    """Draw a dark bar of one pixel at each place; a place between pixels darkens two of them."""
    columns = np.arange(16)
    cover = np.clip(1 - np.abs(columns[None] - places[:, None]), 0, 1)
    frames = np.repeat((255 * (1 - cover))[:, None, None, :], 16, axis=2).repeat(3, axis=1)
    return torch.from_numpy(frames.round().astype(np.uint8))


def fitted(config: VaeConfig, places: np.ndarray) -> Vae:
    torch.manual_seed(0)
    vae = Vae(config)
    vae.fit_components(bars(places), seed=0)
    return vae


def linear_error(vae: Vae, train: np.ndarray, test: np.ndarray) -> float:
    """Return the rms error of the best linear reading of the place from the latent's mean."""
    inputs = [vae.posterior(bars(p))[0].detach().double().numpy() for p in (train, test)]
    inputs = [np.concatenate([x, np.ones((len(x), 1))], axis=1) for x in inputs]
    weights = np.linalg.lstsq(inputs[0], train, rcond=None)[0]
    return float(np.sqrt(np.mean((inputs[1] @ weights - test) ** 2)))


def test_before_any_training_the_components_paint_far_better_than_the_mean_picture() -> None:
    places = np.random.default_rng(0).uniform(5, 10, 300)
    vae = fitted(CONFIG, places)
    stacks = vae.to_floats(bars(places))
    painted = vae.paint(vae.posterior(bars(places))[0])
    still = (stacks - stacks.mean(dim=0)).square().mean()
    assert (painted - stacks).square().mean() < 0.1 * still


def test_blurred_components_tell_where_a_thin_thing_is_along_a_line() -> None:
    rng = np.random.default_rng(1)
    train, test = rng.uniform(2, 13, 400), rng.uniform(2, 13, 200)
    sharp = fitted(replace(CONFIG, latent_channels=3), train)
    blurred = fitted(replace(CONFIG, latent_channels=3, component_blur_px=4.0), train)
    assert linear_error(blurred, train, test) < 0.2 < 0.5 < linear_error(sharp, train, test)


def test_a_component_that_varies_less_than_the_noise_says_nothing() -> None:
    places = np.random.default_rng(2).uniform(5, 10, 300)
    vae = fitted(replace(CONFIG, component_std=0.5), places)
    mean, log_variance = vae.posterior(bars(places))
    silent = log_variance[0] > -1e-6
    assert silent.any() and not silent.all()
    assert mean[:, silent].abs().max() < 1e-4 < mean[:, ~silent].std(dim=0).min()


def test_components_need_more_stacks_than_latents() -> None:
    with pytest.raises(ShapeError, match="Collect more frames"):
        Vae(CONFIG).fit_components(bars(np.linspace(5, 9, 6)), seed=0)


def windows(length: int, rows: int = 3) -> LatentWindows:
    rng = torch.Generator()
    rng.manual_seed(0)
    return LatentWindows(
        mean=torch.randn(rows, length, 2, generator=rng),
        log_variance=torch.full((rows, length, 2), -4.0),
        prev_actions=torch.randn(rows, length, 1, generator=rng).sign(),
        prev_rewards=torch.ones(rows, length),
        is_first=torch.zeros(rows, length, dtype=torch.bool),
        is_terminal=torch.zeros(rows, length, dtype=torch.bool),
    )


def loss_of(data: LatentWindows, config: MdnRnnObjectiveConfig) -> float:
    torch.manual_seed(1)
    rnn = MdnRnn(
        MdnRnnConfig(
            latent_channels=2,
            action_width=1,
            num_units=5,
            num_components=1,
            has_end=True,
            has_reward=True,
            has_linear_step=True,
        )
    )
    rng = torch.Generator()
    rng.manual_seed(2)
    return MdnRnnObjective(rnn, config)(data, rng=rng).total.item()


def test_dreamed_steps_are_not_asked_for_what_another_episode_shows() -> None:
    config = MdnRnnObjectiveConfig(free_steps=4)
    data = windows(9)
    data.is_first[:, 6] = True
    moved = replace(data, mean=torch.cat([data.mean[:, :6], data.mean[:, 6:] + 5], dim=1))
    assert loss_of(moved, config) == pytest.approx(loss_of(data, config), abs=1e-6)
    kept = replace(moved, is_first=torch.zeros_like(data.is_first))
    assert loss_of(kept, config) > loss_of(moved, config) + 0.1


def test_dreamed_steps_without_weight_change_nothing() -> None:
    whole = windows(9)
    silent = MdnRnnObjectiveConfig(free_steps=4, free_weight=0.0)
    # Longer windows draw other noise; latents without noise are the same in both.
    still = replace(whole, log_variance=torch.full_like(whole.log_variance, -60.0))
    assert loss_of(still, silent) == pytest.approx(
        loss_of(still.before(5), MdnRnnObjectiveConfig()), abs=1e-5
    )


def test_a_window_that_leaves_nothing_to_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="Set a larger window_length"):
        loss_of(windows(5), MdnRnnObjectiveConfig(free_steps=4))
