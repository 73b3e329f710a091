"""PPO over dreams: its policy becomes a controller, and it learns where learning is possible."""

from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.core.errors import ConfigError
from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.mdn_rnn import MdnRnn
from reverie.train.classic import LatentStream
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.student import (
    StudentConfig,
    check_student,
    to_controller,
    to_policy,
    train_student,
)
from tests.support.classic import make_classic_world
from tests.support.dreams import TASKS, make_batch, seeded

QUICK = StudentConfig(
    horizon=8,
    updates=2,
    num_rows=8,
    steps_per_update=16,
    minibatch=64,
    num_starts=20,
    start_context=4,
)


def make_world() -> Any:
    return make_classic_world(
        tasks=TASKS[:1], terminating=TASKS[:1], action_width=1, num_components=1
    )


def make_stream(frames: int = 60) -> LatentStream:
    lanes = make_batch(1, frames, action_width=1)
    posteriors = torch.randn(frames, 2, 5, generator=seeded(2)) * 0.3
    return LatentStream(posteriors=posteriors, lanes=lanes, newest_from=0)


def controller_of(world: Any) -> ControllerConfig:
    return ControllerConfig(num_features=world.num_features, num_hidden=7, action_map="binary")


def train(tmp_path: Path, world: Any, config: StudentConfig = QUICK, **more: Any) -> torch.Tensor:
    controller = controller_of(world)
    return train_student(
        world,
        controller,
        torch.zeros(controller.num_parameters),
        make_stream(),
        config,
        folder=PhaseFolder(path=tmp_path / "student", config={"x": 1}),
        around=Surroundings(folder=tmp_path, seed=3),
        **more,
    )


def test_a_policy_written_as_a_controller_acts_the_same_and_comes_back() -> None:
    from stable_baselines3.common.policies import ActorCriticPolicy

    from reverie.train.student import _make_algorithm, _make_env

    world = make_world()
    controller = controller_of(world)
    env = _make_env(world, make_stream(), QUICK, 1)
    policy: ActorCriticPolicy = _make_algorithm(env, controller, QUICK).policy
    with torch.no_grad():
        policy.action_net.weight.copy_(torch.randn(2, 7, generator=seeded(1)))
        policy.action_net.bias.copy_(torch.tensor([0.3, -0.1]))
    features = torch.randn(50, world.num_features, generator=seeded(4)) * 3
    likeliest = policy.get_distribution(features).distribution.probs.argmax(dim=1)
    vector = to_controller(policy)
    assert vector.shape == (controller.num_parameters,)
    actions = act(controller, vector[None], features[:, None])[:, 0, 0]
    assert torch.equal(actions > 0, likeliest == 1) and 0 < int(likeliest.sum()) < 50
    to_policy(policy, controller, vector)
    assert torch.allclose(to_controller(policy), vector, atol=1e-6)


def test_training_repeats_and_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = [train(tmp_path / name, make_world()) for name in ("one", "two")]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1]) and torch.isfinite(found[0]).all()
    # A finished phase is read, not trained again.
    assert torch.equal(train(tmp_path / "one", make_world()), found[0])


def test_looks_see_the_newest_policy_first_and_earlier_ones_again(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def look(candidates: torch.Tensor, update: int) -> dict[str, float | str]:
        seen.append((update, len(candidates)))
        return {"real_return": 1.0}

    config = StudentConfig(
        horizon=8,
        updates=5,
        num_rows=4,
        steps_per_update=8,
        num_starts=5,
        start_context=4,
        check_every=2,
    )
    train(tmp_path, make_world(), config, check=look)
    assert seen == [(2, 1), (4, 2), (5, 3)]


def test_a_student_learns_which_action_is_paid(tmp_path: Path) -> None:
    world = make_world()
    _pay_for_the_action(world.rnn)
    config = StudentConfig(
        horizon=8,
        updates=12,
        num_rows=32,
        steps_per_update=16,
        minibatch=128,
        lr=3e-3,
        start_context=4,
    )
    vector = train(tmp_path, world, config)
    features = torch.randn(200, world.num_features, generator=seeded(4)) * 0.3
    actions = act(controller_of(world), vector[None], features[:, None])[:, 0, 0]
    assert float((actions > 0).float().mean()) > 0.9


def test_other_controllers_are_refused_with_what_to_set() -> None:
    with pytest.raises(ConfigError, match="controller.num_hidden=64"):
        check_student(ControllerConfig(num_features=3, action_map="binary"))
    with pytest.raises(ConfigError, match="controller.action_map=binary"):
        check_student(ControllerConfig(num_features=3, num_hidden=4))


@torch.no_grad()
def _pay_for_the_action(rnn: MdnRnn) -> None:
    """Let the first unit follow the action, and the reward follow the first unit."""
    reward = rnn.reward
    assert reward is not None
    reward.weight.zero_()
    reward.weight[0, 0] = 5.0
    reward.bias.zero_()
    units, lane = rnn.config.num_units, rnn.config.latent_channels
    for gate in range(4):
        rnn.lstm.inputs.weight[gate * units].zero_()
        rnn.lstm.recurrent.weight[gate * units].zero_()
        rnn.lstm.inputs.bias[gate * units] = 3.0 if gate in (0, 3) else 0.0
    rnn.lstm.inputs.bias[units] = -6.0
    rnn.lstm.inputs.weight[2 * units, lane] = 3.0
