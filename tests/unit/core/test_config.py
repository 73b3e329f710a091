import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.core.config import from_dict, override, to_dict
from reverie.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    rate: float = 0.5
    kind: Literal["conv", "causal"] = "conv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (3, "x")
    names: dict[str, int] | None = None
    width: int | Literal["auto"] = "auto"
    is_fast: bool = False


@given(
    rate=st.floats(allow_nan=False, allow_infinity=False),
    sizes=st.lists(st.integers()).map(tuple),
    names=st.none() | st.dictionaries(st.text(), st.integers()),
    width=st.just("auto") | st.integers(),
)
def test_a_config_survives_json(rate: float, sizes: Any, names: Any, width: Any) -> None:
    config = Outer(inner=Inner(rate=rate), sizes=sizes, names=names, width=width)
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"widht": 3}, "Unknown Outer field 'widht'. Did you mean 'width'\\? Outer has: inner,"),
        ({"inner": {"rate": 1.0}}, "Inner is missing kind. It was probably written by another"),
        ({"inner": {"rate": "fast", "kind": "conv"}}, "rate must be .*float.*, got 'fast'"),
        ({"inner": {"rate": 1.0, "kind": "cnov"}}, "kind must be one of .*'cnov'"),
        ({"inner": 3}, "Inner needs a mapping of its fields, got 3"),
        ({"sizes": [1, "2"]}, "sizes must be .*int.*, got '2'"),
        ({"sizes": [1, True]}, "sizes must be .*int.*, got True"),
        ({"pair": [3]}, "pair must be tuple"),
        ({"is_fast": 1}, "is_fast must be .*bool.*, got 1"),
        ({"width": 1.5}, "width must be .*int.*, got 1.5. Or: width must be one of"),
    ],
)
def test_a_value_that_does_not_belong_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        from_dict(Outer, to_dict(Outer()) | changes)


def test_a_missing_key_is_refused_even_where_the_field_has_a_default() -> None:
    values = to_dict(Outer())
    del values["sizes"], values["width"]
    with pytest.raises(ConfigError, match="Outer is missing sizes, width"):
        from_dict(Outer, values)


def test_a_whole_number_may_stand_for_a_fraction_but_not_the_other_way() -> None:
    config = from_dict(Inner, {"rate": 2, "kind": "conv"})
    assert type(config.rate) is float
    with pytest.raises(ConfigError, match="sizes must be"):
        from_dict(Outer, to_dict(Outer()) | {"sizes": [1.0]})


def test_a_path_changes_one_field_and_nothing_else() -> None:
    config = override(Outer(), {"inner.rate": 2})
    assert config == Outer(inner=Inner(rate=2.0))
    with pytest.raises(ConfigError, match="Unknown config field 'rat'. Did you mean 'rate'"):
        override(Outer(), {"inner.rat": 1.0})
    with pytest.raises(ConfigError, match="^rate must be .*float.*, got .high"):
        override(Outer(), {"inner.rate": "high"})


def test_a_path_may_end_inside_a_dictionary_and_may_add_a_key() -> None:
    config = override(Outer(names={"pygame-pong": 1}), {"names.pygame-pong": 2})
    assert config == Outer(names={"pygame-pong": 2})
    assert override(config, {"names.v1.5": 3}).names == {"pygame-pong": 2, "v1.5": 3}
    assert config.names == {"pygame-pong": 2}, "the config it came from stays as it was"
    assert override(Outer(), {"names.new": 1}).names == {"new": 1}
    with pytest.raises(ConfigError, match="^names.new must be .*int.*, got 'many'"):
        override(Outer(), {"names.new": "many"})


@pytest.mark.parametrize("path", ["sizes.0", "is_fast.really", "width.deep.down", "inner.rate.x"])
def test_a_path_that_goes_on_below_a_plain_value_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(ConfigError, match="Nothing can be set inside of '") as caught:
        override(Outer(), {path: 1})
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreeing:
    total: int = 3
    parts: int = 3
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        if self.total != self.parts:
            raise ConfigError(f"{self.total} is not {self.parts}")


def test_fields_that_must_agree_are_changed_together_in_any_order() -> None:
    changed = override(
        Agreeing(), {"parts": 5, "inner.rate": 1, "total": 5, "inner.kind": "causal"}
    )
    assert changed == Agreeing(total=5, parts=5, inner=Inner(rate=1.0, kind="causal"))
    with pytest.raises(ConfigError, match="5 is not 3"):
        override(Agreeing(), {"total": 5})


def test_a_config_that_holds_an_object_cannot_be_saved() -> None:
    @dataclass(frozen=True)
    class Odd:
        thing: Any

    with pytest.raises(ConfigError, match="plain values only"):
        to_dict(Odd(object()))
