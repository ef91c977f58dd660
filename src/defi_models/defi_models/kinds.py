"""Values of annotated fields, out of JSON and out of what a command line says; knows no field by name."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from defi_models.contract import ConfigError
from defi_models.options import did_you_mean

C = TypeVar("C")
NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}


def from_json(hint: Any, value: Any, name: str) -> Any:
    """A value of a field as JSON gives it back: lists become tuples, whole numbers do for any number.

    Args:
        hint: The field's annotation: a number, a text, a choice of them, or a tuple of such.
        value: What stands there.
        name: Of the field, for the refusal.

    Raises:
        ConfigError: it is of another kind.
    """
    if get_origin(hint) is tuple and isinstance(value, list) and _fits(hint, value):
        return tuple(from_json(get_args(hint)[0], one, name) for one in value)
    if get_origin(hint) is Literal and isinstance(value, str) and value in get_args(hint):
        return value
    if hint is float and isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value):
        return float(value)
    if hint in {int, bool, str} and type(value) is hint:  # a bool is an int too
        return value
    raise ConfigError(f"{name}: got {reprlib.repr(value)}, expected {described(hint)}")


def from_text(hint: Any, text: str, name: str) -> Any:
    """A value of a field as a command line says it: commas part the members of a tuple, `none` is absence.

    Args:
        hint: The field's annotation, as in `from_json`, or one that may be absent.
        text: What was said.
        name: Of the field, for the refusal.

    Raises:
        ConfigError: it is of another kind.
    """
    refusal = ConfigError(f"{name}: got {text!r}, expected {described(hint)}")
    if get_origin(hint) is UnionType:
        present = [one for one in get_args(hint) if one is not NoneType]
        if text.lower() == "none" and len(present) < len(get_args(hint)):
            return None
        hint = present[0]
    if get_origin(hint) is tuple:
        parts = text.split(",")
        if not _fits(hint, parts):
            raise refusal
        return tuple(from_text(get_args(hint)[0], part, name) for part in parts)
    if hint is str or get_origin(hint) is Literal:
        value: Any = text
    elif hint is bool:
        value = {"true": True, "false": False}.get(text.lower())
    else:
        try:
            value = hint(text) if hint in {int, float} else None
        except ValueError:
            value = None
    if value is None:
        raise refusal
    try:
        return from_json(hint, value, name)
    except ConfigError:
        raise refusal from None


def described(hint: Any) -> str:
    """What a field takes, for a refusal."""
    members = get_args(hint)
    if get_origin(hint) is UnionType:
        return " or ".join("none" if one is NoneType else described(one) for one in members)
    if get_origin(hint) is Literal:
        return f"one of {list(members)}"
    if get_origin(hint) is tuple:
        many = "a list" if Ellipsis in members else f"a list of {len(members)}"
        return f"{many}, each {described(members[0])}"
    return NAMES.get(hint, f"the parts of a {hint.__name__}")


def with_fields(config: C, changes: Sequence[tuple[str, str]], of: str = "") -> C:
    """A config that differs in some fields, given as on a command line, all at once.

    Args:
        config: A dataclass, such as `DefiConfig`.
        changes: Name and value of each; dots lead into parts, as in `gfdm.image_size`.
        of: What the names of `config`'s own fields begin with.

    Raises:
        ConfigError: there is no such field, or the value is none of its kind; or the numbers contradict each other.
    """
    assert is_dataclass(config)
    kind, hints = type(config).__name__, get_type_hints(type(config))
    known = [field.name for field in fields(config)]
    new: dict[str, Any] = {}
    parts: dict[str, list[tuple[str, str]]] = {}
    for name, text in changes:
        first, _, rest = name.partition(".")
        if first not in known:
            raise ConfigError(f"{kind}: got no field {first!r}, expected one of {known}{did_you_mean(first, known)}")
        before = getattr(config, first)
        if rest and not is_dataclass(before):
            what = "it is absent" if before is None else "it is a single value"
            raise ConfigError(f"{kind}.{first}: got {of + name!r}, expected no part of it: {what}")
        if rest:
            parts.setdefault(first, []).append((rest, text))
        elif is_dataclass(before) and text.lower() != "none":
            inner = [field.name for field in fields(before)]
            raise ConfigError(f"{kind}.{first}: got a value for the whole, expected one of {inner} of it")
        else:
            new[first] = from_text(hints[first], text, f"{of}{name}")
    new |= {first: with_fields(getattr(config, first), inner, f"{of}{first}.") for first, inner in parts.items()}
    return replace(config, **new)  # type: ignore[type-var]  # a dataclass it is


def _fits(hint: Any, values: Sequence[Any]) -> bool:
    """Whether a tuple of this annotation may have so many members."""
    return Ellipsis in get_args(hint) or len(values) == len(get_args(hint))
