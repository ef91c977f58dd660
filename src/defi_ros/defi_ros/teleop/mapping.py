"""The YAML of an input device, config/teleop/<name>.yaml, as checked values: what its axes, buttons and keys mean."""

# ruff: noqa: RUF009  (`param` and `section` return dataclass fields)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from defi_models.contract import ConfigError
from defi_ros.robot import no_yaml, robots_folder
from defi_ros.settings import build, param, section, unknown_name
from defi_ros.teleop.wish import FRAMES

DIRECTIONS = ("x", "y", "z", "roll", "pitch", "yaw")


@dataclass(frozen=True)
class Input:
    """An axis or a button that moves the tool."""

    axis: int = param(-1, "Number of an axis; -1: a button is meant.", at_least=-1, at_most=63)
    button: int = param(-1, "Number of a button; -1: an axis is meant.", at_least=-1, at_most=63)
    scale: float = param(1.0, "Part of the full speed; negative turns the direction round.", at_least=-1.0, at_most=1.0)


@dataclass(frozen=True)
class Buttons:
    """What buttons do, by number; -1: no button does it."""

    deadman: tuple[int, ...] = param(doc="Buttons that must all be held, else the arm comes to rest.", at_least=0)
    stop: int = param(-1, "Emergency stop.", at_least=-1, at_most=63)
    reset: int = param(-1, "Ends an emergency stop: asks for HOLD.", at_least=-1, at_most=63)
    policy: int = param(-1, "Hands the arm to the policy.", at_least=-1, at_most=63)
    hold: int = param(-1, "Takes the arm from the policy: HOLD.", at_least=-1, at_most=63)
    gripper: int = param(-1, "Opens a closed gripper and closes an open one.", at_least=-1, at_most=63)
    frame: int = param(-1, "Switches between the axes of the base and of the tool.", at_least=-1, at_most=63)


@dataclass(frozen=True)
class JoystickMapping:
    """A joystick or game controller that says sensor_msgs/Joy."""

    buttons: Buttons = param(doc="What its buttons do.")
    motion: Mapping[str, tuple[Input, ...]] = param(doc="Direction (x y z roll pitch yaw) -> what moves that way.")
    kind: str = param("joy", "Kind of device.", choices=("joy",))
    source: str = param("joystick", "Its name in control_state and recordings.")
    topic: str = param("joy", "Topic of sensor_msgs/Joy.")
    silence_s: float = param(0.3, "Silent for this long, its deadman counts as released [s].", above=0.0, at_most=2.0)
    deadzone: float = param(0.08, "Deflections below this are none.", at_least=0.0, at_most=0.9)
    frame: str = param("base", "Axes of the motion at the start.", choices=FRAMES)


@dataclass(frozen=True)
class SpaceMouseMapping:
    """A 3Dconnexion SpaceMouse through the ROS package spacenav, which says a Twist and a Joy."""

    buttons: Buttons = param(doc="What its buttons do.")
    motion: Mapping[str, tuple[Input, ...]] = param(
        doc="Direction -> numbers of the twist: 0 1 2 linear x y z, 3 4 5 angular."
    )
    kind: str = param("spacemouse", "Kind of device.", choices=("spacemouse",))
    source: str = param("spacemouse", "Its name in control_state and recordings.")
    twist_topic: str = param("spacenav/twist", "Topic of geometry_msgs/Twist, about -1..1.")
    topic: str = param("spacenav/joy", "Topic of sensor_msgs/Joy, for the buttons.")
    silence_s: float = param(0.3, "Silent for this long, its deadman counts as released [s].", above=0.0, at_most=2.0)
    deadzone: float = param(0.1, "Deflections below this are none.", at_least=0.0, at_most=0.9)
    frame: str = param("base", "Axes of the motion at the start.", choices=FRAMES)


@dataclass(frozen=True)
class Keys:
    """What keys do that do not move the arm."""

    stop: str = param(" ", "Emergency stop.")
    reset: str = param("R", "Ends an emergency stop: asks for HOLD.")
    policy: str = param("p", "Hands the arm to the policy.")
    hold: str = param("h", "Takes the arm from the policy: HOLD.")
    gripper: str = param("g", "Opens a closed gripper and closes an open one.")
    frame: str = param("t", "Switches between the axes of the base and of the tool.")
    faster: str = param("+", "A quarter faster.")
    slower: str = param("-", "A quarter slower.")


@dataclass(frozen=True)
class KeyboardMapping:
    """The keyboard of a terminal; a held key is the deadman and the motion at once."""

    motion: Mapping[str, str] = param(doc="Key -> direction with its sign, as in +x or -yaw.")
    kind: str = param("keyboard", "Kind of device.", choices=("keyboard",))
    source: str = param("keyboard", "Its name in control_state and recordings.")
    keys: Keys = section(Keys, "What the other keys do.")
    tap_s: float = param(0.12, "A key that is tapped moves for this long [s].", above=0.0, at_most=1.0)
    first_repeat_s: float = param(
        0.75, "A held key comes again within this; longer than the terminal's own delay [s].", above=0.0, at_most=2.0
    )
    repeat_s: float = param(0.15, "After that it comes within this, else it is released [s].", above=0.0, at_most=1.0)
    frame: str = param("base", "Axes of the motion at the start.", choices=FRAMES)


@dataclass(frozen=True)
class LeaderMapping:
    """A second arm that a person leads by hand: the tool does what the leader's tool does since the deadman was pressed."""

    buttons: Buttons = param(doc="What the buttons of its joystick or pedal do.")
    joint_names: tuple[str, ...] = param(doc="The leader's joints, in the order of the robot's.")
    kind: str = param("leader", "Kind of device.", choices=("leader",))
    source: str = param("leader", "Its name in control_state and recordings.")
    joints_topic: str = param("leader/joint_states", "Topic of the leader's sensor_msgs/JointState.")
    topic: str = param("joy", "Topic of sensor_msgs/Joy with the deadman.")
    description: str = param("", "Path of the leader's URDF; empty: it is built like the robot.")
    description_joints: tuple[str, ...] = param((), "Its joints in that URDF; empty: the robot's.")
    tip_frame: str = param("", "Its tool in that URDF; empty: the robot's.")
    signs: tuple[float, ...] = param((), "1 or -1 for each joint that turns the same or the other way; empty: all 1.")
    offsets_rad: tuple[float, ...] = param((), "Added to each joint after its sign; empty: all 0 [rad].")
    gripper_joint: str = param("", "The joint of its trigger; empty: the gripper button counts.")
    gripper_closed: float = param(0.0, "Position of the trigger that closes [rad or m].")
    gripper_open: float = param(1.0, "Position of the trigger that opens [rad or m].")
    scale: float = param(1.0, "How far the tool goes for each metre of the leader's.", above=0.0, at_most=2.0)
    gain_hz: float = param(8.0, "How fast the tool closes up to the leader [1/s].", above=0.0, at_most=50.0)
    silence_s: float = param(0.3, "Silent for this long, its deadman counts as released [s].", above=0.0, at_most=2.0)


DeviceMapping = JoystickMapping | SpaceMouseMapping | KeyboardMapping | LeaderMapping
KINDS: dict[str, type] = {
    "joy": JoystickMapping,
    "spacemouse": SpaceMouseMapping,
    "keyboard": KeyboardMapping,
    "leader": LeaderMapping,
}


def devices_folder() -> Path:
    """The folder of device files, beside that of the robot files."""
    return robots_folder().parent / "teleop"


def available_devices() -> tuple[str, ...]:
    """The names `load_mapping` knows."""
    return tuple(sorted(path.stem for path in devices_folder().glob("*.yaml")))


def load_mapping(name_or_path: str) -> DeviceMapping:
    """The mapping of a name, as in "joy", or of a path that ends in .yaml.

    Raises:
        ConfigError: no such file, a text that is no YAML, or a key or value that does not fit.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if name_or_path not in available_devices():
            raise ConfigError(unknown_name("teleop", "device", name_or_path, available_devices()))
        path = devices_folder() / f"{name_or_path}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"teleop: got {path}, expected a readable file ({error.strerror})") from error
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(no_yaml(error, text, path.name)) from error
    return mapping_from(given, path.name)


def mapping_from(given: Any, source: str) -> DeviceMapping:
    """The mapping that a YAML value describes; `source` names it in messages.

    Raises:
        ConfigError: a key or value that does not fit.
    """
    kind = given.get("kind") if isinstance(given, Mapping) else None
    if kind not in KINDS:
        raise ConfigError(f"{source}: kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    mapping = build(KINDS[kind], given, lambda _path: source)
    for name, moves in getattr(mapping, "motion", {}).items():
        direction = moves.lstrip("+-") if isinstance(moves, str) else name
        if direction not in DIRECTIONS or (isinstance(moves, str) and moves[:1] not in ("+", "-")):
            raise ConfigError(
                f"{source}: motion: got {moves if isinstance(moves, str) else name!r}, expected {_wanted()}"
            )
    if isinstance(mapping, (JoystickMapping, SpaceMouseMapping, LeaderMapping)) and not mapping.buttons.deadman:
        raise ConfigError(f"{source}: buttons.deadman: got no button, expected at least one that must be held")
    return mapping


def _wanted() -> str:
    return f"one of {', '.join(DIRECTIONS)} (for keys with a sign, as in +x)"
