"""Laws of V, M and C: counts to the unit, densities, temperature, resets, ends."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.testing import assert_close

from reverie.core.errors import CheckpointError, ConfigError
from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.disk import save_classic_world
from reverie.models.classic.mdn_rnn import MdnRnn, MdnRnnConfig, Mixture
from reverie.models.classic.objective import (
    LatentWindows,
    MdnRnnObjective,
    MdnRnnObjectiveConfig,
    VaeObjective,
    VaeObjectiveConfig,
    draw_latents,
)
from reverie.models.classic.vae import Vae, VaeConfig
from reverie.models.families import load_any_world, load_controller_of
from reverie.nn.lstm import Lstm
from tests.support.classic import SMALL_VAE, make_classic_world
from tests.support.dreams import make_batch, random_frames, seeded

DOOM = MdnRnnConfig(
    latent_channels=64, action_width=1, num_units=512, has_restart_flag=True, has_end=True
)
CARTPOLE = MdnRnnConfig(
    latent_channels=64,
    action_width=1,
    num_units=256,
    num_components=1,
    has_end=True,
    has_reward=True,
)


def count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (VaeConfig(), 4_348_547),
        (VaeConfig(latent_channels=64), 4_446_915),
        (VaeConfig(latent_channels=64, num_stacked=4), 4_461_900),
    ],
)
def test_v_has_the_papers_parameters(config: VaeConfig, wanted: int) -> None:
    assert count(Vae(config)) == wanted


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (MdnRnnConfig(), 422_368),
        (DOOM, 1_678_785),
        (CARTPOLE, 363_138),
        (replace(CARTPOLE, num_units=128), 116_098),
    ],
)
def test_m_has_the_papers_parameters(config: MdnRnnConfig, wanted: int) -> None:
    assert count(MdnRnn(config)) == wanted


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (ControllerConfig(num_features=288, num_outputs=3, action_map="car"), 867),
        (ControllerConfig(num_features=1088, has_bias=False, action_map="thirds"), 1088),
        (ControllerConfig(num_features=320, action_map="binary"), 321),
        (ControllerConfig(num_features=32, num_outputs=3), 99),
        (ControllerConfig(num_features=32, num_outputs=3, num_hidden=40), 1443),
    ],
)
def test_c_has_the_papers_parameters(config: ControllerConfig, wanted: int) -> None:
    assert config.num_parameters == wanted
    features = torch.randn(2, 3, config.num_features, generator=seeded())
    actions = act(config, torch.randn(3, wanted, generator=seeded(1)), features)
    assert actions.shape == (2, 3, config.num_outputs)
    assert actions.abs().max() <= 1


def test_candidates_act_as_if_alone() -> None:
    config = ControllerConfig(num_features=5, num_outputs=2, num_hidden=4)
    parameters = torch.randn(3, config.num_parameters, generator=seeded())
    features = torch.randn(4, 3, 5, generator=seeded(1))
    together = act(config, parameters, features)
    for candidate in range(3):
        alone = act(config, parameters[[candidate]], features[:, [candidate]])
        assert_close(together[:, [candidate]], alone)


def test_maps_of_actions_do_what_they_say() -> None:
    features = torch.tensor([[[-2.0]], [[0.1]], [[3.0]]])
    one = torch.ones(1, 1)

    def mapped(kind: str) -> list[float]:
        config = ControllerConfig(num_features=1, has_bias=False, action_map=kind)  # type: ignore[arg-type]
        return act(config, one, features)[:, 0, 0].tolist()

    assert mapped("binary") == [-1, 1, 1]
    assert mapped("thirds") == [-1, 0, 1]
    car = ControllerConfig(num_features=1, num_outputs=3, has_bias=False, action_map="car")
    actions = act(car, torch.ones(1, 3), features)[:, 0]
    assert_close(actions[:, 1], torch.tanh(features[:, 0, 0]))
    assert actions[0, 2] == -1 and actions[2, 2] > 0.9


def test_the_lstm_is_torchs_with_one_bias() -> None:
    ours, theirs = Lstm(3, 5), nn.LSTM(3, 5, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.inputs.weight)
        theirs.weight_hh_l0.copy_(ours.recurrent.weight)
        theirs.bias_ih_l0.copy_(ours.inputs.bias)
        theirs.bias_hh_l0.zero_()
    inputs = torch.randn(2, 7, 3, generator=seeded())
    wanted, (_, cell) = theirs(inputs)
    hidden, last = ours(inputs, torch.zeros(2, 7, dtype=torch.bool))
    assert_close(hidden, wanted)
    assert_close(last, cell[0])
    state, memory = torch.zeros(2, 5), torch.zeros(2, 5)
    for time in range(7):
        state, memory = ours.step(inputs[:, time], state, memory)
    assert_close(state, wanted[:, -1])


def test_nothing_of_one_episode_reaches_the_next_inside_a_window() -> None:
    lstm = Lstm(3, 5)
    inputs = torch.randn(1, 8, 3, generator=seeded())
    resets = torch.zeros(1, 8, dtype=torch.bool)
    resets[0, 4] = True
    other = inputs.clone()
    other[:, :4] = 9.0
    assert torch.equal(lstm(inputs, resets)[0][:, 4:], lstm(other, resets)[0][:, 4:])
    assert not torch.equal(lstm(inputs, ~resets & resets)[0], lstm(other, ~resets & resets)[0])


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1), (2, 1, 3)])
def test_the_density_of_a_mixture_is_torchs(shape: tuple[int, int, int]) -> None:
    rows, dims, components = shape
    logits, means, log_stds = (torch.randn(*shape, generator=seeded(number)) for number in range(3))
    mixture = Mixture(logits=logits, means=means, log_stds=log_stds)
    z = torch.randn(rows, dims, generator=seeded(9))
    wanted = MixtureSameFamily(Categorical(logits=logits), Normal(means, log_stds.exp()))
    assert mixture.log_prob(z).shape == (rows, dims)
    assert_close(mixture.log_prob(z), wanted.log_prob(z))
    assert_close(mixture.mean(), wanted.mean)


def test_at_temperature_zero_the_likeliest_component_speaks() -> None:
    mixture = Mixture(
        logits=torch.tensor([[[0.0, 2.0]]]),
        means=torch.tensor([[[-1.0, 5.0]]]),
        log_stds=torch.zeros(1, 1, 2),
    )
    noise = {"normal": torch.full((1, 1), 3.0), "uniform": torch.full((1, 1), 0.01)}
    assert mixture.sample(temperature=0.0, **noise).item() == 5.0
    assert mixture.sample(temperature=1e-9, **noise).item() == pytest.approx(5.0, abs=1e-3)
    with pytest.raises(ConfigError, match="at least 0"):
        mixture.sample(temperature=-1.0, **noise)


def test_samples_follow_the_density_and_their_spread_the_temperature() -> None:
    num, rng = 40_000, seeded()
    shape = (num, 1)
    normal, uniform = torch.randn(shape, generator=rng), torch.rand(shape, generator=rng)
    single = Mixture(
        logits=torch.zeros(num, 1, 1),
        means=torch.full((num, 1, 1), 2.0),
        log_stds=torch.full((num, 1, 1), math.log(0.3)),
    )
    for temperature in (0.25, 1.0, 1.5):
        drawn = single.sample(temperature=temperature, normal=normal, uniform=uniform)
        assert float(drawn.var()) == pytest.approx(temperature * 0.09, rel=0.03)
    double = Mixture(
        logits=torch.tensor([0.0, math.log(3.0)]).expand(num, 1, 2),
        means=torch.tensor([-4.0, 4.0]).expand(num, 1, 2),
        log_stds=torch.zeros(num, 1, 2),
    )
    drawn = double.sample(temperature=1.0, normal=normal, uniform=uniform)
    assert float((drawn > 0).float().mean()) == pytest.approx(0.75, abs=0.01)


def test_a_rising_temperature_moves_a_sample_smoothly_but_for_borders_of_components() -> None:
    mixture = Mixture(
        logits=torch.tensor([[[0.3, -0.2, 0.1]]]),
        means=torch.tensor([[[-3.0, 0.0, 3.0]]]),
        log_stds=torch.full((1, 1, 3), -1.0),
    )
    noise = {"normal": torch.full((1, 1), 0.7), "uniform": torch.full((1, 1), 0.6)}
    path = [mixture.sample(temperature=t / 200, **noise).item() for t in range(20, 400)]
    jumps = [abs(b - a) for a, b in zip(path, path[1:], strict=False)]
    assert sum(jump > 0.05 for jump in jumps) <= 2


def test_below_the_floor_the_encoder_feels_no_kl() -> None:
    torch.manual_seed(0)
    vae = Vae(SMALL_VAE)
    with torch.no_grad():
        vae.mean.weight.mul_(0.01)
    stacks = random_frames(16, 16, rows=4, num_frames=1)[:, 0].movedim(-1, 1)

    def gradient(pixel_std: float, kl_floor: float) -> torch.Tensor:
        config = VaeObjectiveConfig(pixel_std=pixel_std, kl_floor=kl_floor)
        vae.zero_grad()
        VaeObjective(vae, config)(stacks, step=0, rng=seeded()).total.backward()
        grad = vae.mean.weight.grad
        assert grad is not None
        return grad.clone()

    # Pixels that hardly count leave the KL alone; a floor above the KL switches it off.
    assert gradient(1e6, 0.0).abs().max() > 1e-6 > gradient(1e6, 50.0).abs().max()


def test_stacks_of_a_first_frame_are_that_frame_repeated_and_pieces_join() -> None:
    vae = make_classic_world(num_stacked=3, num_components=1).vae
    frames = random_frames(16, 16, rows=2, num_frames=5)
    whole, _ = vae.to_stacks(frames)
    first = frames[:, 0].movedim(-1, 1)
    assert torch.equal(whole[:, 0], torch.cat([first] * 3, dim=1))
    assert torch.equal(whole[:, 4, 6:], frames[:, 4].movedim(-1, 1))
    state, pieces = None, []
    for frame in frames.split(1, dim=1):
        piece, state = vae.encode(frame, state)
        pieces.append(piece)
    assert_close(torch.cat(pieces, dim=1), vae.encode(frames)[0])


def test_every_batch_draws_its_latents_anew() -> None:
    mean, log_variance = torch.zeros(3, 4), torch.zeros(3, 4)
    rng = seeded()
    assert not torch.equal(
        draw_latents(mean, log_variance, rng), draw_latents(mean, log_variance, rng)
    )


def test_the_end_probability_is_calibrated_though_ends_weigh_more() -> None:
    torch.manual_seed(0)
    config = MdnRnnConfig(
        latent_channels=2, action_width=1, num_units=4, num_components=1, has_end=True
    )
    rnn = MdnRnn(config)
    objective = MdnRnnObjective(rnn)
    rng, rate = seeded(3), 0.05
    rows, length = 400, 9
    windows = LatentWindows(
        mean=torch.zeros(rows, length, 2),
        log_variance=torch.zeros(rows, length, 2),
        prev_actions=torch.zeros(rows, length, 1),
        prev_rewards=torch.zeros(rows, length),
        is_first=torch.zeros(rows, length, dtype=torch.bool),
        is_terminal=torch.rand(rows, length, generator=rng) < rate,
    )
    optimizer = torch.optim.Adam(rnn.parameters(), lr=0.03)
    for _ in range(120):
        optimizer.zero_grad()
        objective(windows, rng=rng).total.backward()
        optimizer.step()
    hidden = torch.zeros(1, 4)
    _, weighted = rnn.mixture(hidden, torch.zeros(1, 2))
    ours, biased = rnn.end_probability(weighted).item(), torch.sigmoid(weighted).item()
    true = float(windows.is_terminal[:, 1:].float().mean())
    assert ours == pytest.approx(true, rel=0.35) and biased > 4 * true


def test_dropped_latents_teach_nothing_and_only_training_drops_them() -> None:
    torch.manual_seed(2)
    rnn = MdnRnn(MdnRnnConfig(latent_channels=3, action_width=1, num_units=4, num_components=2))
    rows, length = 5, 8
    windows = LatentWindows(
        mean=torch.randn(rows, length, 3, generator=seeded(1)),
        log_variance=torch.full((rows, length, 3), -4.0),
        prev_actions=torch.randn(rows, length, 1, generator=seeded(2)),
        prev_rewards=torch.zeros(rows, length),
        is_first=torch.zeros(rows, length, dtype=torch.bool),
        is_terminal=torch.zeros(rows, length, dtype=torch.bool),
    )
    plain = MdnRnnObjective(rnn)(windows, rng=seeded(3)).total
    half, whole = (
        MdnRnnObjective(rnn, MdnRnnObjectiveConfig(latent_dropout=chance)) for chance in (0.5, 1.0)
    )
    assert not torch.equal(half(windows, rng=seeded(3)).total, plain)
    assert torch.equal(half.eval()(windows, rng=seeded(3)).total, plain)
    whole.train()(windows, rng=seeded(3)).total.backward()
    gradient = rnn.lstm.inputs.weight.grad
    assert gradient is not None
    assert not gradient[:, :3].any() and gradient[:, 3].any()


def test_frames_after_a_context_continue_as_if_the_context_were_longer() -> None:
    world = make_classic_world(num_stacked=3)
    frames = random_frames(16, 16, rows=2, num_frames=4)
    batch = make_batch(2, 4, frames=frames)
    batch.is_first[:, 0] = True
    batch.prev_actions[:, 0] = 0
    still = torch.zeros(2, 4, 1, 5)
    whole = world.start(batch, still)
    part = world.start(batch.slice_time(0, 3), still[:, :3])
    fed = world.observe(part, batch.prev_actions[:, 3], frames[:, 3])
    for name in ("latent", "hidden", "cell"):
        assert_close(getattr(fed, name), getattr(whole, name))


def test_a_saved_dream_and_its_controller_come_back_and_another_v_is_refused(
    tmp_path: Path,
) -> None:
    world = make_classic_world()
    config = ControllerConfig(num_features=world.num_features, num_outputs=3)
    parameters = torch.randn(config.num_parameters, generator=seeded())
    save_classic_world(tmp_path / "a", world, controller=config, parameters=parameters)
    loaded = load_any_world(tmp_path / "a")
    for name, value in world.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)  # type: ignore[attr-defined]
    found, weights = load_controller_of(tmp_path / "a")
    assert found == config and torch.equal(weights, parameters)
    other = make_classic_world()
    with torch.no_grad():
        other.vae.mean.bias.add_(1)
    save_classic_world(tmp_path / "b", other)
    (tmp_path / "b" / "vae.safetensors").rename(tmp_path / "a" / "vae.safetensors")
    with pytest.raises(CheckpointError, match="damaged or of another model"):
        load_any_world(tmp_path / "a")
    with pytest.raises(CheckpointError, match="without a controller"):
        load_controller_of(tmp_path / "b")


def test_layers_that_do_not_fit_are_refused_with_ones_that_do() -> None:
    with pytest.raises(ConfigError, match=r"\(2, 4, 5, 4\) paint 32"):
        VaeConfig(decoder_kernels=(5, 5, 6, 4))
    with pytest.raises(ConfigError, match="shrink to nothing"):
        VaeConfig(frame_px=16)
