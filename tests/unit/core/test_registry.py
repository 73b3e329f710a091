import sys

import pytest

from reverie.core.errors import MissingExtraError, UnknownNameError
from reverie.core.registry import Registry, require_extra


def make_registry() -> Registry:
    registry = Registry("task", "'reverie tasks list' shows all 2")
    registry.add("walker-run", "fractions:Fraction")
    registry.add("pong", "no_such_module:thing")
    return registry


def test_a_misspelt_name_is_answered_with_the_one_probably_meant() -> None:
    text = "Unknown task 'walker-runn'. Did you mean 'walker-run'? 'reverie tasks list' shows all 2"
    with pytest.raises(UnknownNameError) as caught:
        make_registry().load("walker-runn")
    assert str(caught.value) == f"{text}."


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"^Unknown task 'zzz'. 'reverie tasks list'"):
        make_registry().target("zzz")


def test_targets_are_imported_only_when_loaded() -> None:
    registry = make_registry()
    assert registry.names() == tuple(registry) == ("walker-run", "pong")
    assert "pong" in registry and "ping" not in registry
    assert registry.load("walker-run").__name__ == "Fraction"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        registry.load("pong")


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="task name 'pong' is already registered"):
        make_registry().add("pong", "fractions:Fraction")


def test_a_missing_package_is_answered_with_the_extra_that_brings_it() -> None:
    text = (
        "The package 'no_such_package' is needed to draw reports and is not installed. "
        "Install it with: pip install 'reverie[eval]'"
    )
    with pytest.raises(MissingExtraError) as caught:
        require_extra("no_such_package.part", "eval", "draw reports")
    assert str(caught.value) == text
    assert require_extra("json", "eval", "read") is sys.modules["json"]
