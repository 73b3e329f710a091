"""An order names its episodes, always the same ones."""

from collections import Counter

import pytest

from reverie.collect.order import CollectOrder, assign_policies, list_items
from reverie.core.config import from_dict, to_dict
from reverie.core.errors import ConfigError, UnknownNameError


def _order(**changes: object) -> CollectOrder:
    settings = {"tasks": ("toy-paint", "toy-fall"), "policies": {"random": 1.0}, **changes}
    return CollectOrder(**settings)  # type: ignore[arg-type]


def test_a_longer_order_begins_with_the_shorter_one() -> None:
    short = {item.id for item in list_items(_order(episodes_per_task=5))}
    long = {item.id for item in list_items(_order(episodes_per_task=9))}
    assert len(short) == 10 and len(long) == 18
    assert short < long


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"step_limits": (7,)}, {"policies": {"noop": 1.0}}]
)
def test_what_changes_an_episode_changes_its_name(changes: dict[str, object]) -> None:
    one = {item.id for item in list_items(_order())}
    assert one.isdisjoint(item.id for item in list_items(_order(**changes)))


def test_every_beginning_of_an_order_keeps_the_shares() -> None:
    weights = {"random": 1.0, "mixed": 3.0, "noop": 0.5}
    dealt = assign_policies(weights, 90)
    for count in range(1, 91):
        given = Counter(dealt[:count])
        for name, weight in weights.items():
            assert abs(given[name] - count * weight / 4.5) <= 1.0
    assert Counter(dealt) == {"random": 20, "mixed": 60, "noop": 10}


def test_an_order_survives_as_json() -> None:
    order = _order(step_limits=(5,))
    assert from_dict(CollectOrder, to_dict(order)) == order


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ()}, "Name each task once and at least one"),
        ({"tasks": ("toy-paint", "toy-paint")}, "Name each task once"),
        ({"policies": {}}, "Name at least one policy of: random, noop"),
        ({"policies": {"random": 0.0}}, "Policy 'random' needs a weight above 0, got 0.0"),
        ({"episodes_per_task": 0}, "must be at least 1, got 0 and ()"),
        ({"step_limits": (0,)}, "must be at least 1, got 10 and (0,)"),
    ],
)
def test_an_order_that_cannot_work_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _order(**changes)
    assert message in str(caught.value)


def test_misspelt_names_are_answered_with_suggestions() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'toy-paint'"):
        _order(tasks=("toy-pain",))
    with pytest.raises(UnknownNameError, match="Did you mean 'random'"):
        _order(policies={"randon": 1.0})
