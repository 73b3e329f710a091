"""Macro-actions: what is decided together, and when dreams of them stop looking like real play."""

import numpy as np
import pytest
import torch

from reverie.core.errors import ConfigError
from reverie.core.types import FrameSpec
from reverie.envs.registry import make_env
from reverie.evaluate.macro_drift import measure_macro_drift
from reverie.models.classic.controller import ControllerConfig, act
from reverie.planning.live import LiveConfig, LiveEpisode, first_state, play_live
from reverie.planning.macros import MacroConfig, choose_macro, dream_macros, play_macros
from tests.support.classic import make_classic_world
from tests.support.dreams import seeded

TASK, ROWS = "toy-fall", 3


def make():
    world = make_classic_world(tasks=(TASK,), terminating=(TASK,), action_width=2, num_components=1)
    controller = ControllerConfig(num_features=world.num_features, num_outputs=2)
    parameters = torch.randn(controller.num_parameters, generator=seeded(3))
    spec = FrameSpec(height_px=16, width_px=16)
    envs = [make_env(TASK, frame_spec=spec) for _ in range(ROWS)]
    return world, controller, parameters, envs


def test_a_macro_begins_with_the_controllers_move_and_goes_on_as_the_mean_expects() -> None:
    world, controller, parameters, envs = make()
    state = first_state(world, [LiveEpisode(env, seed) for seed, env in enumerate(envs)])
    moves = choose_macro(world, controller, parameters, state, 3)
    first = act(controller, parameters[None], world.features(state)[:, None])[:, 0]
    assert moves.shape == (ROWS, 3, 2) and torch.equal(moves[:, 0], first)
    assert torch.equal(moves, choose_macro(world, controller, parameters, state, 3))
    assert not torch.equal(moves[:, 0], moves[:, 1])


def test_macros_of_one_move_live_as_long_as_ordinary_play() -> None:
    world, controller, parameters, envs = make()
    seeds = [11, 12, 13]
    config = MacroConfig(moves=1, num_steps=100)
    played, starts = play_macros(world, controller, parameters, envs, seeds, config)
    usual = play_live(
        world,
        controller,
        parameters[None],
        envs,
        seeds,
        config=LiveConfig(samples_latents=True),
    )
    assert starts.num_rows == ROWS
    lived = played.alive.sum(axis=1)
    # The step that ends an episode is not lived; a time limit ends one too.
    assert lived.tolist() == [len(episode.rewards) - 1 for episode in usual]
    assert (played.latents[~played.alive] == 0).all() and played.latents[played.alive].any()


def test_a_dream_that_ended_stays_ended_and_repeats_under_its_noise() -> None:
    world, controller, parameters, envs = make()
    config = MacroConfig(moves=2, num_steps=12)
    _, starts = play_macros(world, controller, parameters, envs, [1, 2, 3], config)
    runs = [
        dream_macros(world, controller, parameters, starts.fork(8), config, seeded(5))
        for _ in range(2)
    ]
    alive = runs[0].alive
    assert alive.shape == (24, 12) and (alive[:, 1:] <= alive[:, :-1]).all()
    assert 0 < alive.mean() < 1
    assert np.array_equal(runs[0].latents, runs[1].latents)


def test_dreams_drawn_as_real_play_match_and_the_first_other_step_is_found() -> None:
    rng = np.random.default_rng(0)
    shape = (300, 6, 4)
    real, dreamed = rng.normal(size=shape), rng.normal(size=shape)
    alive = np.ones(shape[:2], np.bool_)
    same = measure_macro_drift(dreamed, alive, real, alive, rng=rng)
    assert same.first_failure is None
    shifted = dreamed.copy()
    shifted[:, 3:] += 1.0
    drift = measure_macro_drift(shifted, alive, real, alive, rng=rng)
    assert drift.first_failure == 4
    # A shift by one std in each of four dimensions is two nats.
    kl = drift.steps[3].kl_nats
    assert kl == pytest.approx(2.0, abs=0.3)


def test_dreams_that_live_longer_than_real_play_do_not_match() -> None:
    rng = np.random.default_rng(0)
    shape = (200, 5, 3)
    real, dreamed = rng.normal(size=shape), rng.normal(size=shape)
    dream_alive = np.ones(shape[:2], np.bool_)
    real_alive = dream_alive.copy()
    real_alive[:40, 2:] = False
    drift = measure_macro_drift(dreamed, dream_alive, real, real_alive, rng=rng)
    assert drift.first_failure == 3
    assert (drift.steps[2].dream_alive, drift.steps[2].real_alive) == (1.0, 0.8)
    assert not drift.steps[2].is_survival_alike


def test_too_few_rollouts_and_empty_macros_are_refused() -> None:
    few, alive = np.zeros((5, 2, 3)), np.ones((5, 2), np.bool_)
    with pytest.raises(ConfigError, match="At least 16 rollouts"):
        measure_macro_drift(few, alive, few, alive, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at least one move"):
        MacroConfig(moves=0)
