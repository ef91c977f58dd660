"""Robot file -> ROS parameters and back: the file gives each value, a ROS parameter may override a single one.

Defaults, bounds and documentation live in `defi_ros.sections` alone. A parameter is named as in the file, with dots:
`control.rate_hz`. Robot-file parameters are read when a node is configured and are read-only while it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from defi_models.contract import ConfigError
from defi_ros.robot import RobotFile, check_together, load_robot
from defi_ros.settings import doc_of, with_values

_SCALARS = (bool, int, float, str)
_FOREIGN = ("qos_overrides.",)  # rclpy's own dotted parameters


def _is_value(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and isinstance(value[0], _SCALARS) and len({type(item) for item in value}) == 1
    return isinstance(value, _SCALARS)


def values_of(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every single value of nested settings: (dotted name, value, documentation)."""
    if isinstance(settings, Mapping):
        for key, item in settings.items():
            yield from values_of(item, f"{prefix}{key}.")
        return
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            yield from values_of(value, f"{prefix}{field.name}.")
        elif _is_value(value):
            yield f"{prefix}{field.name}", value, doc_of(field)


def robot_of(node: Node, sections: tuple[str, ...] = ()) -> RobotFile:
    """The robot file that the parameter `robot` names, with the values that other ROS parameters override.

    Args:
        node: Has the parameter `robot`.
        sections: Sections whose values shall be visible as parameters of the node, whether overridden or not.

    Raises:
        ConfigError: no robot is named, there is no such robot file, or a value or an override in it is wrong.
    """
    name = str(node.get_parameter("robot").value)
    if not name:
        raise ConfigError(
            f"{node.get_name()}: got no robot, expected the parameter 'robot' to name a file of config/robots "
            "or a path to one, as in `--ros-args -p robot:=franka`"
        )
    robot = load_robot(name)
    overrides = {
        key: _plain(parameter.value)
        for key, parameter in node._parameter_overrides.items()  # rclpy has no public way to list what was given
        if "." in key and not key.startswith(_FOREIGN)
    }
    robot = with_values(robot, overrides, f"parameters of {node.get_name()}")
    check_together(robot, lambda _: f"parameters of {node.get_name()}")
    for key, value, doc in values_of(robot):
        if (key in overrides or key.partition(".")[0] in sections) and not node.has_parameter(key):
            shown = list(value) if isinstance(value, tuple) else value
            descriptor = ParameterDescriptor(description=doc, read_only=True, dynamic_typing=True)
            node.declare_parameter(key, shown, descriptor, ignore_override=True)
    return robot


def _plain(value: Any) -> Any:
    return value if isinstance(value, _SCALARS) else list(value)
