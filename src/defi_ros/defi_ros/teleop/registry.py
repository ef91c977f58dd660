"""A device by name: its mapping, and what it needs besides."""

from __future__ import annotations

from pathlib import Path

from defi_models.contract import ConfigError
from defi_ros.control.kinematics import Kinematics
from defi_ros.robot import RobotFile
from defi_ros.teleop.joystick import Joystick
from defi_ros.teleop.keyboard import Keyboard
from defi_ros.teleop.leader import Leader
from defi_ros.teleop.mapping import JoystickMapping, KeyboardMapping, LeaderMapping, SpaceMouseMapping, load_mapping
from defi_ros.teleop.spacemouse import SpaceMouse
from defi_ros.teleop.wish import Device


def needs_description(name: str) -> bool:
    """Whether the device called `name` is built like the robot, so that the robot's description is needed.

    Raises:
        ConfigError: no such device, or its file is wrong.
    """
    mapping = load_mapping(name)
    return isinstance(mapping, LeaderMapping) and not mapping.description


def make_device(name: str, robot: RobotFile, description: str = "") -> Device:
    """The device called `name`, with the speeds of the robot file.

    Args:
        name: As in `config/teleop/<name>.yaml`, or a path.
        robot: The robot file.
        description: Text of the robot's URDF, where `needs_description`.

    Raises:
        ConfigError: no such device, or its file is wrong.
    """
    mapping, speed = load_mapping(name), robot.teleop
    if isinstance(mapping, JoystickMapping):
        return Joystick(mapping, speed)
    if isinstance(mapping, SpaceMouseMapping):
        return SpaceMouse(mapping, speed)
    if isinstance(mapping, KeyboardMapping):
        return Keyboard(mapping, speed)
    if mapping.description:
        try:
            description = Path(mapping.description).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"leader: description: got {mapping.description}, expected a URDF ({error})") from error
    joints = mapping.description_joints or robot.joints.names
    return Leader(mapping, speed, Kinematics(description, joints, mapping.tip_frame or robot.tip_frame))
