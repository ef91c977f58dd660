"""Frozen dataclasses -> ROS parameters: the robot file gives the value, a ROS parameter may override a single one.

Defaults, bounds and descriptions live in the dataclass alone; this module declares, reads back and rebuilds, so that
the dataclass' own checks run on what was given.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from defi_models.contract import ConfigError

if TYPE_CHECKING:
    from defi_ros.robot import RobotFile

Section = TypeVar("Section")
_SCALARS = (bool, int, float, str)


def _is_value(value: Any) -> bool:
    if isinstance(value, tuple):
        return (
            bool(value)
            and all(isinstance(item, _SCALARS) for item in value)
            and len({type(item) for item in value}) == 1
        )
    return isinstance(value, _SCALARS)


def _coerced(name: str, given: Any, declared: Any) -> Any:
    """`given` in the type of `declared`; whole numbers are welcome where a float is declared."""
    if isinstance(declared, tuple):
        return tuple(_coerced(name, item, declared[0]) for item in given)
    if isinstance(declared, bool) == isinstance(given, bool):
        if isinstance(declared, float) and isinstance(given, int):
            return float(given)
        if isinstance(given, type(declared)):
            return given
    raise ConfigError(
        f"parameter {name!r}: got {given!r} ({type(given).__name__}), expected a {type(declared).__name__} "
        f"like {declared!r}"
    )


def _declare(node: Node, name: str, value: Any, description: str) -> Any:
    descriptor = ParameterDescriptor(description=description, dynamic_typing=True)
    default = list(value) if isinstance(value, tuple) else value
    if not node.has_parameter(name):
        node.declare_parameter(name, default, descriptor)
    given = node.get_parameter(name).value
    return _coerced(name, tuple(given) if isinstance(value, tuple) else given, value)


def with_overrides(node: Node, section: Section, prefix: str) -> Section:
    """The section with every value that a ROS parameter `<prefix>.<field>` gives; nested dataclasses go deeper.

    Fields that are no plain value (None, mappings, arrays) cannot be overridden and stay as they are.

    Raises:
        ConfigError: a parameter has another type, or the dataclass refuses the value.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, field.name)
        name = f"{prefix}.{field.name}"
        if dataclasses.is_dataclass(value):
            changed = with_overrides(node, value, name)
            if changed is value:
                continue
        elif _is_value(value):
            changed = _declare(node, name, value, str(field.metadata.get("description", "")))
            if changed == value:
                continue
        else:
            continue
        changes[field.name] = changed
    return dataclasses.replace(section, **changes) if changes else section  # type: ignore[type-var]


def robot_of(node: Node) -> RobotFile:
    """The robot file that the parameter `robot` names, with the values that other ROS parameters override.

    Raises:
        ConfigError: no robot is named, there is no such robot file, or a value in it is wrong.
    """
    from defi_ros.robot import load_robot  # noqa: PLC0415  reads files; a node without a robot needs none

    name = str(node.get_parameter("robot").value)
    if not name:
        raise ConfigError(
            f"{node.get_name()}: got no robot, expected the parameter 'robot' to name a file of config/robots "
            "or a path to one, as in `--ros-args -p robot:=franka`"
        )
    return with_overrides_of_sections(node, load_robot(name))


def with_overrides_of_sections(node: Node, robot: RobotFile) -> RobotFile:
    """The robot file with every section rebuilt from the ROS parameters `<section>.<field>` that were given."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(robot):
        section = getattr(robot, field.name)
        if dataclasses.is_dataclass(section) and field.name != "spec":
            changed = with_overrides(node, section, field.name)
            if changed is not section:
                changes[field.name] = changed
    return dataclasses.replace(robot, **changes) if changes else robot
