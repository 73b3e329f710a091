"""Dreams of both families keep TorchRL's contract; ``contract/test_torchrl_env.py`` runs it."""

from typing import Any

import numpy as np
import pytest
import torch
import torchrl.envs as torchrl_envs
from torch import nn

from reverie.core.errors import ReverieError
from reverie.models.api import WorldModel
from reverie.models.dream_env.dreams import DreamConfig
from reverie.models.dream_env.single import DreamEnv
from tests.contract.test_dream_env import KINDS, NEVER, starts_of
from tests.contract.test_world_model import MAKERS

pytestmark = pytest.mark.filterwarnings("ignore")
ROWS = 3


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> WorldModel:
    return MAKERS[request.param]()


def make(world: WorldModel, **settings: Any) -> Any:
    from reverie.models.dream_env.torchrl import make_torchrl_env

    return make_torchrl_env(world, starts_of(world), ROWS, **({"config": NEVER} | settings))


@pytest.mark.parametrize("observation", ["features", "frame"])
def test_torchrls_own_checker_is_content(world: WorldModel, observation: Any) -> None:
    config = DreamConfig(horizon=5, observation=observation)
    torchrl_envs.check_env_specs(make(world, config=config))


def test_actions_of_a_menu_are_categories(world: WorldModel) -> None:
    menu = np.eye(world.action_width, dtype=np.float32)
    env = make(world, actions=menu)
    torchrl_envs.check_env_specs(env)
    env.set_seed(3)
    by_menu = env.rollout(3)
    plain = make(world)
    plain.set_seed(3)
    chosen = iter(torch.from_numpy(menu)[by_menu["action"]].unbind(1))
    by_lanes = plain.rollout(3, policy=lambda td: td.set("action", next(chosen)))
    assert torch.equal(by_menu["observation"], by_lanes["observation"])


def test_a_single_dream_needs_no_adapter(world: WorldModel) -> None:
    env = torchrl_envs.GymWrapper(DreamEnv(world, starts_of(world), config=NEVER))
    torchrl_envs.check_env_specs(env)


def test_a_cut_is_no_death_and_ended_rows_begin_anew(world: WorldModel) -> None:
    env = make(world)
    env.set_seed(1)
    found = env.rollout(10, break_when_any_done=False)
    ends = found["next", "truncated"][..., 0]
    # The horizon is 4: every row is cut at steps 4 and 8 and goes on from another start.
    assert ends.nonzero()[:, 1].tolist() == [3, 7] * ROWS
    assert not found["next", "terminated"].any()
    fresh = found["observation"][:, 4]
    assert not torch.equal(fresh, found["next", "observation"][:, 3])


def test_the_same_seed_dreams_the_same(world: WorldModel) -> None:
    seen = []
    for _ in range(2):
        env = make(world)
        env.set_seed(5)
        torch.manual_seed(0)
        seen.append(env.rollout(6, break_when_any_done=False)["next", "observation"])
    assert torch.equal(seen[0], seen[1])


def test_a_gauge_cuts_a_dream_and_says_so(world: WorldModel) -> None:
    config = DreamConfig(horizon=9, end_threshold=1.0, gauge_limit=0.5)
    env = make(world, config=config, gauge=lambda _, step: torch.tensor([0.0, 1.0, 0.0]))
    step = env.rollout(1)["next"]
    assert step["distrusted"][:, 0, 0].tolist() == [False, True, False]
    assert step["truncated"][:, 0, 0].tolist() == [False, True, False]


def test_a_dream_that_has_not_begun_cannot_be_stepped(world: WorldModel) -> None:
    env = make(world)
    with pytest.raises(ReverieError, match=r"Call reset\(\) first"):
        env.step(env.fake_tensordict())


def test_torchrls_losses_train_on_dreams(world: WorldModel) -> None:
    from tensordict.nn import TensorDictModule
    from torchrl.objectives.value import GAE

    env = make(world)
    found = env.rollout(8, break_when_any_done=False)
    width = found["observation"].shape[-1]
    value = TensorDictModule(nn.Linear(width, 1), in_keys=["observation"], out_keys=["state_value"])
    GAE(gamma=0.99, lmbda=0.95, value_network=value)(found)
    assert torch.isfinite(found["advantage"]).all()
