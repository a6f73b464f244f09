"""Names, and what they lead to."""

import math

import pytest

from mcmc.errors import InputError
from mcmc.runtime.registry import Registry


@pytest.fixture
def colours():
    registry = Registry[int]("colour")
    registry.register("red", 1)
    registry.register("green", 2)
    return registry


def test_things_are_found_by_name_and_listed_in_order(colours):
    assert [*colours] == ["red", "green"]
    assert colours.find("green") == 2


def test_a_module_s_attribute_is_found(colours):
    assert colours.find("math:tau") == math.tau


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gren", "unknown colour 'gren': did you mean 'green'"),
        ("blue", "known: red, green"),
        ("no_such_module:x", "cannot be imported"),
        ("math:taw", "module 'math' has no 'taw': did you mean 'tau'"),
    ],
)
def test_what_is_not_there_gets_one_line_with_the_nearest_name(colours, name, words):
    with pytest.raises(InputError, match=words) as caught:
        colours.find(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["red", "", "two words", "a:b"])
def test_names_that_cannot_join(colours, name):
    with pytest.raises(InputError):
        colours.register(name, 3)
    assert len(colours) == 2


def test_a_thing_is_replaced_only_when_asked(colours):
    colours.register("red", 3, replace=True)
    assert colours["red"] == 3
