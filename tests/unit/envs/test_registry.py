"""The task registry and its messages."""

from dataclasses import replace

import pytest

from reverie.core.errors import MissingExtraError, UnknownNameError
from reverie.core.types import FrameSpec
from reverie.envs import registry
from reverie.envs.registry import make_env, make_from_spec, task_names, task_spec


def test_names_are_unique_and_lead_to_their_spec() -> None:
    names = task_names()
    assert len(set(names)) == len(names)
    assert all(task_spec(name).name == name for name in names)


def test_the_first_games_are_listed_with_their_splits() -> None:
    assert task_spec("pygame-pong").is_targeted
    assert task_spec("pygame-point-maze-var4").split == "unseen"
    assert task_spec("pygame-reacher-easy").split == "unseen"
    assert task_spec("toy-paint").split == "extra"
    assert task_spec("pygame-cartpole-tremor").max_steps == 500
    assert task_spec("pygame-point-maze-var1").max_steps == 200


def test_a_misspelt_task_is_answered_with_the_nearest_name_and_where_to_look() -> None:
    with pytest.raises(UnknownNameError) as caught:
        make_env("pygame-pont-maze-var1")
    assert str(caught.value) == (
        "Unknown task 'pygame-pont-maze-var1'. Did you mean 'pygame-point-maze-var1'? "
        f"'reverie tasks list' shows all {len(task_names())}."
    )


def test_a_missing_simulator_names_the_extra_to_install() -> None:
    spec = replace(task_spec("toy-paint"), factory="no_such_simulator.tasks:make", extra="sim")
    with pytest.raises(MissingExtraError) as caught:
        make_from_spec(spec, FrameSpec())
    assert str(caught.value) == (
        "The package 'no_such_simulator' is needed to run the task 'toy-paint' and is not "
        "installed. Install it with: pip install 'reverie[sim]'"
    )


def test_a_broken_module_of_a_core_task_is_not_blamed_on_an_extra() -> None:
    spec = replace(task_spec("toy-paint"), factory="no_such_simulator.tasks:make")
    with pytest.raises(ModuleNotFoundError, match="no_such_simulator") as caught:
        make_from_spec(spec, FrameSpec())
    assert not isinstance(caught.value, MissingExtraError)


def test_a_name_in_two_domains_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "DOMAINS", ("toy", "toy"))
    registry._specs.cache_clear()
    with pytest.raises(ValueError, match="names must be unique"):
        task_names()
    monkeypatch.undo()
    registry._specs.cache_clear()
    assert task_names()
