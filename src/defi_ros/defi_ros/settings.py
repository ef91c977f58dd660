"""Settings declared once: a frozen dataclass holds each value's default, unit, bounds and meaning.

Robot files and ROS parameters are both checked against these declarations; this module knows neither.
The unit is the text in the last square brackets of a value's documentation: "Rate of the loop [Hz]."
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass
from typing import Any, TypeVar

from defi_models.contract import ConfigError

T = TypeVar("T")
Where = Callable[[tuple[str, ...]], str]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number or a word may be; None means not limited.

    Attributes:
        above: It must be greater than this.
        at_least: It must be this or more.
        at_most: It must be this or less.
        choices: It must be one of these.
    """

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    choices: tuple[Any, ...] = ()

    def allow(self, value: Any) -> bool:
        """Whether one number or word is inside."""
        if self.choices:
            return value in self.choices
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        parts = [f"above {self.above:g}"] if self.above is not None else []
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g}..{self.at_most:g}"
        parts += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        parts += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return " and ".join(parts)


def param(
    default: Any = MISSING,
    doc: str = "",
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: Sequence[Any] = (),
) -> Any:
    """Declares one value of a settings dataclass: default, documentation with unit, and bounds.

    Leave `default` out (pass `doc=`) for a value that every file must give.
    """
    metadata = {"doc": doc, "bounds": Bounds(above, at_least, at_most, tuple(choices))}
    if default is MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(make: Callable[[], Any], doc: str) -> Any:
    """Declares a nested settings dataclass; what `make` gives, most often its own defaults, stands for one left out."""
    return dataclasses.field(default_factory=make, metadata={"doc": doc, "bounds": Bounds()})


def doc_of(field: Field) -> str:
    """What the value means, in words."""
    return field.metadata.get("doc", "")


def unit_of(field: Field) -> str:
    """The unit of a value, or "" for a number or word without one."""
    found = re.findall(r"\[([^\]]+)\]", doc_of(field))
    return found[-1] if found else ""


def bounds_of(field: Field) -> Bounds:
    """The bounds of a value."""
    return field.metadata.get("bounds", Bounds())


def types_of(settings_type: type) -> dict[str, Any]:
    """Value name -> its resolved type."""
    return typing.get_type_hints(settings_type)


def build(settings_type: type[T], given: Any, where: Where, path: tuple[str, ...] = ()) -> T:
    """A checked instance of `settings_type` made from a mapping, as YAML gives it.

    Args:
        settings_type: A frozen dataclass whose fields are declared with `param` and `section`.
        given: Name -> value, nested like the dataclass.
        where: Says where a value stands, for messages: its path -> "franka.yaml, line 12".
        path: Path of `given` itself.

    Raises:
        ConfigError: an unknown or missing name, a wrong type, or a value out of range.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{where(path)}: {_dotted(path)}: got {_shown(given)}, expected a section with names and values"
        )
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, settings_type))}
    for key in given:
        if key not in fields:
            raise ConfigError(
                unknown_name(f"{where((*path, str(key)))}: {_section(path)}", "key", str(key), list(fields))
            )
    for name, field in fields.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if required and name not in given:
            unit = f" in {unit_of(field)}" if unit_of(field) else ""
            raise ConfigError(
                f"{where(path)}: {_section(path)}: got no key {name!r}, expected it{unit} ({doc_of(field)}). "
                f"Known keys: {', '.join(fields)}"
            )
    hints = types_of(settings_type)
    values = {key: checked(fields[key], hints[key], value, where, (*path, key)) for key, value in given.items()}
    return settings_type(**values)


def checked(field: Field, kind: Any, value: Any, where: Where, path: tuple[str, ...]) -> Any:
    """One value, converted to the declared type and inside its bounds.

    Raises:
        ConfigError: a wrong type or a value out of range; the message holds the value, the range and the unit.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kind = next(argument for argument in arguments if argument is not type(None))
        return checked(field, kind, value, where, path)
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, where, path)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(_wrong(field, value, "a list", where, path))
        return tuple(checked(field, arguments[0], item, where, (*path, str(at))) for at, item in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(_wrong(field, value, "a section with names and values", where, path))
        items = {str(k): checked(field, arguments[1], v, where, (*path, str(k))) for k, v in value.items()}
        return types.MappingProxyType(items)
    return _scalar(field, kind, value, where, path)


def _scalar(field: Field, kind: Any, value: Any, where: Where, path: tuple[str, ...]) -> Any:
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wrong_type = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
    if wrong_type or (kind is float and not abs(value) < float("inf")):
        raise ConfigError(_wrong(field, value, words[kind], where, path))
    if not bounds_of(field).allow(value):
        raise ConfigError(_wrong(field, value, str(bounds_of(field)), where, path))
    return value


def check(settings: Any) -> None:
    """Checks an instance that was built in code, with the same messages.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """
    hints, name = types_of(type(settings)), type(settings).__name__
    for field in dataclasses.fields(settings):
        checked_value(field, hints[field.name], getattr(settings, field.name), name)


def checked_value(field: Field, kind: Any, value: Any, source: str) -> Any:
    """One value from anywhere but a file, such as a ROS parameter; `source` says where it came from.

    Raises:
        ConfigError: a wrong type or a value out of range.
    """
    if dataclasses.is_dataclass(value):
        check(value)
        return value
    if isinstance(value, Mapping) and all(dataclasses.is_dataclass(item) for item in value.values()):
        for item in value.values():
            check(item)
        return value
    return checked(field, kind, value, lambda _path: source, (field.name,))


def with_values(settings: T, overrides: Mapping[str, Any], source: str) -> T:
    """A copy with single values replaced; names are dotted, as in {"control.rate_hz": 100.0}.

    Raises:
        ConfigError: a name that does not exist, a wrong type, or a value out of range.
    """
    for dotted, value in overrides.items():
        settings = _with_value(settings, dotted.split("."), value, source, dotted)
    return settings


def _with_value(settings: Any, names: list[str], value: Any, source: str, dotted: str) -> Any:
    head, *rest = names
    if isinstance(settings, Mapping):
        if head not in settings:
            raise ConfigError(unknown_name(f"{source}: {dotted}", "name", head, list(settings)))
        return types.MappingProxyType({**settings, head: _with_value(settings[head], rest, value, source, dotted)})
    fields = {field.name: field for field in dataclasses.fields(settings)}
    if head not in fields:
        raise ConfigError(unknown_name(f"{source}: {dotted}", "key", head, list(fields)))
    if rest:
        return dataclasses.replace(
            settings, **{head: _with_value(getattr(settings, head), rest, value, source, dotted)}
        )
    kind = types_of(type(settings))[head]
    return dataclasses.replace(settings, **{head: checked(fields[head], kind, value, lambda _path: source, (dotted,))})


def unknown_name(place: str, noun: str, got: str, known: Sequence[str]) -> str:
    """The message for a name that does not exist: what was got, the nearest known one, and all that exist."""
    near = difflib.get_close_matches(got, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{place}: got an unknown {noun} {got!r}.{hint} Known: {', '.join(known) or 'none'}"


def _wrong(field: Field, value: Any, expected: str, where: Where, path: tuple[str, ...]) -> str:
    unit = f" {unit_of(field)}" if unit_of(field) else ""
    got = f"{_shown(value)}{unit}" if isinstance(value, (int, float)) else _shown(value)
    return f"{where(path)}: {_dotted(path)}: got {got}, expected {expected}{unit.replace(' ', ' in ', 1) if expected.startswith('a ') else unit} ({doc_of(field)})"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path) or "the file"


def _section(path: tuple[str, ...]) -> str:
    return f"section {'.'.join(path)!r}" if path else "top level"
