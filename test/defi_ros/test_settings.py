# ruff: noqa: RUF009  (`param` and `section` return dataclass fields)
import dataclasses

import pytest

from defi_models.contract import ConfigError
from defi_ros.sections import Control, Gripper
from defi_ros.settings import bounds_of, build, check, doc_of, param, section, types_of, unit_of, with_values


@dataclasses.dataclass(frozen=True)
class Inner:
    rate_hz: float = param(10.0, "Rate [Hz].", above=0.0, at_most=100.0)


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str = param(doc="Name.")
    inner: Inner = section(Inner, "Inner.")
    limit: float | None = param(None, "Limit, none if not given [m].", at_least=0.0)
    sizes: tuple[int, ...] = param((), "Sizes [px].", at_least=1)


@dataclasses.dataclass(frozen=True)
class Guarded:
    kind: str = param(doc="Whose word counts.")
    inner: Inner = section(lambda: Inner(1.0), "Inner.")


@dataclasses.dataclass(frozen=True)
class MayBeGuarded:
    guard: Guarded = section(lambda: Guarded("nobody"), "Guard.")


FIELDS = {field.name: field for field in dataclasses.fields(Control)}


def test_documentation_unit_and_bounds_stand_with_the_value():
    assert doc_of(FIELDS["rate_hz"]) == "Rate of the command loop [Hz]."
    assert unit_of(FIELDS["rate_hz"]) == "Hz"
    assert unit_of(FIELDS["start_mode"]) == ""
    assert str(bounds_of(FIELDS["rate_hz"])) == "50..1000"
    assert str(bounds_of(FIELDS["start_mode"])) == "one of HOLD, POLICY"
    assert types_of(Control)["rate_hz"] is float


def test_a_mapping_becomes_a_checked_value():
    built = build(Outer, {"name": "a", "inner": {"rate_hz": 5}, "limit": 1, "sizes": [1, 2]}, lambda path: "here")
    assert built == Outer("a", Inner(5.0), 1.0, (1, 2))
    assert build(Outer, {"name": "a", "limit": None}, lambda path: "here") == Outer("a")


def test_a_section_left_out_is_what_was_made_for_it_but_one_that_is_given_says_what_it_must():
    assert build(MayBeGuarded, {}, lambda path: "here") == MayBeGuarded(Guarded("nobody", Inner(1.0)))
    with pytest.raises(ConfigError, match=r"here: section 'guard': got no key 'kind', expected it \(Whose word counts"):
        build(MayBeGuarded, {"guard": {"inner": {"rate_hz": 5}}}, lambda path: "here")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"here: top level: got no key 'name', expected it \(Name.\). Known keys: name, inner, limit, sizes"),
        ({"name": "a", "inner": {"rate_hz": 0}}, "here: inner.rate_hz: got 0 Hz, expected above 0 and at most 100 Hz"),
        ({"name": "a", "limit": -1}, "here: limit: got -1 m, expected at least 0 m"),
        ({"name": "a", "sizes": 3}, "here: sizes: got 3 px, expected a list in px"),
        ({"name": "a", "sizes": [0]}, "here: sizes.0: got 0 px, expected at least 1 px"),
        ({"name": "a", "inner": 3}, "here: inner: got 3, expected a section with names and values"),
        ({"name": "a", "iner": {}}, "here: top level: got an unknown key 'iner'. Did you mean 'inner'"),
    ],
)
def test_what_does_not_fit_is_named_with_range_and_unit(given, message):
    with pytest.raises(ConfigError, match=message):
        build(Outer, given, lambda path: "here")


def test_single_values_are_replaced_and_checked():
    outer = with_values(Outer("a"), {"inner.rate_hz": 20}, "parameter")
    assert outer.inner.rate_hz == 20.0
    with pytest.raises(ConfigError, match=r"parameter: inner.rate_hz: got 200 Hz, expected above 0 and at most 100 Hz"):
        with_values(outer, {"inner.rate_hz": 200.0}, "parameter")
    with pytest.raises(
        ConfigError, match=r"parameter: inner.rat_hz: got an unknown key 'rat_hz'. Did you mean 'rate_hz'"
    ):
        with_values(outer, {"inner.rat_hz": 2.0}, "parameter")


def test_values_built_in_code_are_checked_alike():
    check(Control())
    with pytest.raises(ConfigError, match=r"Gripper: close_below: got 2, expected 0..1"):
        check(Gripper(close_below=2.0))
    with pytest.raises(ConfigError, match="Inner: rate_hz: got -1 Hz"):
        check(Outer("a", Inner(-1.0)))
