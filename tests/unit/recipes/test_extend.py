"""A place for further tasks: known ones are dreamed as before, whatever the model is made of."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import load_world_model, make_world, save_world_model, weights_hash
from reverie.recipes.extend import Language, extend_world
from reverie.recipes.finetune import FinetuneConfig, fit_windows
from tests.support.release import imported
from tests.support.small_world import make_small_world

KNOWN, NEW = "toy-paint", "toy-fall"


def extended(world: ShortcutWorld, language: Language = Language()) -> ShortcutWorld:  # noqa: B008
    return extend_world(world, (NEW, KNOWN), language)


def instruction(world: ShortcutWorld, task: str) -> torch.Tensor:
    return world.net.language_of((task,), None, torch.device("cpu"))[0]


def test_one_hot_tasks_keep_their_number_and_every_weight() -> None:
    world = make_small_world(tasks=(KNOWN,))
    more = extended(world)
    assert more.tasks == (KNOWN, NEW)
    assert torch.equal(instruction(world, KNOWN), instruction(more, KNOWN))
    assert weights_hash(more) == weights_hash(world)


def test_a_table_of_instructions_grows_by_a_row_as_long_as_the_others() -> None:
    world = imported(tasks=(KNOWN,))
    world.net.task_embeddings.copy_(torch.full((1, world.net.config.language_dim), 3.0))
    more = extended(world)
    assert torch.equal(instruction(world, KNOWN), instruction(more, KNOWN))
    row = instruction(more, NEW)
    assert row.norm() == pytest.approx(float(instruction(world, KNOWN).norm()), rel=1e-5)
    assert len(row.unique()) > 1
    assert not instruction(extended(world, Language(source="one-hot")), NEW).any()


def test_all_heads_come_along_and_a_model_without_agents_gets_none() -> None:
    world = imported(tasks=(KNOWN,))
    assert world.policy_head is not None and world.continue_head is None
    more = extended(world)
    assert more.continue_head is None and more.policy_head is not None
    for name in ("reward_head", "policy_head"):
        assert weights_hash(getattr(more, name)) == weights_hash(getattr(world, name))
    bare = extended(imported("dynamics_noagent.pt", tasks=(KNOWN,)))
    assert bare.reward_head is None and bare.policy_head is None


def test_a_model_without_a_reward_head_gets_the_same_untrained_one_each_time() -> None:
    small = make_small_world(tasks=(KNOWN,))
    heads = replace(small.heads, has_reward=False)
    world = make_world(small.tokenizer, small.net.config, heads)  # type: ignore[arg-type]
    before = torch.get_rng_state()
    pair = [extended(world).reward_head for _ in range(2)]
    assert pair[0] is not None and pair[1] is not None
    assert weights_hash(pair[0]) == weights_hash(pair[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_windows_are_lengthened_to_a_full_context_at_as_many_frames() -> None:
    config = FinetuneConfig()
    assert fit_windows(config, make_small_world()) == config
    world = imported()
    fitted = fit_windows(config, world)
    dynamics, looks = fitted.dynamics_training, fitted.tokenizer_training
    assert dynamics.window_length > world.net.config.context
    assert dynamics.window_length * dynamics.batch_size == pytest.approx(120, rel=0.2)
    assert looks.window_length == world.tokenizer.config.context  # type: ignore[attr-defined]
    assert looks.batch_size >= 2


def test_a_folder_says_which_tokenizer_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    world = imported(tasks=(KNOWN,))
    save_world_model(folder, extended(world))
    assert load_world_model(folder).tasks == (KNOWN, NEW)
