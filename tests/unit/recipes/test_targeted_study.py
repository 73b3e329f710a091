"""Sources of data: compared at equal seeds and episodes, by what they saw and what they taught."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reverie.data.store import EpisodeStore
from reverie.models.load import save_world_model
from reverie.recipes.adapt import ALL, AdaptOrder
from reverie.recipes.planning import PlanningOrder
from reverie.recipes.targeted_study import TargetedStudy, study_targeted
from tests.support.small_world import make_small_world
from tests.support.tiny_adapt import KNOWN_TASK, NEW_TASK, TINY_STUDY_PLAN, tiny_order

ORDER = PlanningOrder(tasks=(KNOWN_TASK,), num_episodes=2, max_steps=4, plan=TINY_STUDY_PLAN)


def test_all_is_every_source_in_turn_after_the_warm_up() -> None:
    tiny = tiny_order()
    order = replace(tiny, explore=replace(tiny.explore, policy=ALL), num_episodes=6)
    played = [order.policy_of(index) for index in range(order.num_episodes)]
    assert played == ["random", "noop", "random", "expert", "curiosity", "noop"]


@pytest.mark.long
def test_sources_are_compared_at_equal_seeds_and_episodes(tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_world_model(model, make_small_world(tasks=(KNOWN_TASK,)))

    def order(task: str, num_episodes: int, policy: str) -> AdaptOrder:
        tiny = tiny_order()
        explore = replace(tiny.explore, task=task, policy=policy)
        return replace(tiny, explore=explore, num_episodes=num_episodes, num_rounds=1)

    study = TargetedStudy(
        tasks=(NEW_TASK,),
        policies=("random", "curiosity"),
        num_seeds=2,
        num_episodes=2,
        plan_episodes=1,
        make_order=order,
        planning=ORDER,
    )
    numbers = study_targeted(model, study, tmp_path / "study", num_workers=0)
    assert set(numbers["rows"]) == {"random", "curiosity"}
    curious = numbers["rows"]["curiosity"]
    assert curious["reconstruction_psnr_db"]["num_runs"] == 2
    assert "rollout_gain_db_minus_random" in curious and "planned_score" in curious
    stored = EpisodeStore.open(tmp_path / "study" / NEW_TASK / "random" / "seed-0" / "data")
    entries = [entry for entry in stored.index if entry.task == NEW_TASK]
    returns = [stored.read_episode(entry.id).rewards.sum() for entry in entries]
    random = numbers["rows"]["random"]
    low, high = (random["collected_return"][end] for end in ("low", "high"))
    assert low - 1e-6 <= float(np.mean(returns)) <= high + 1e-6
    assert curious["visited_cells"]["low"] >= 1
    assert study_targeted(model, study, tmp_path / "study", num_workers=0) == numbers
