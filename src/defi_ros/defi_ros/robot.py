"""A robot file, config/robots/<name>.yaml, as a checked value; knows no ROS but where its files are installed."""

# ruff: noqa: RUF009  (`param` and `section` return dataclass fields)
from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from defi_models.contract import TIP_LIMITS, ConfigError, ContractError, JointLimits, RobotSpec, Workspace
from defi_ros import sections
from defi_ros.settings import Where, build, param, section

PACKAGE = "defi_ros"
# driver.kind -> the word that its controller's name has, and that of the controller which hears the same type of message.
_NAMED = {"forward_position": ("position", "velocity"), "forward_velocity": ("velocity", "position")}
# Commands that come within the silence that the stop guard takes for the bridge's end; one or two may be late.
GUARDED_TICKS = 5
# driver.kind -> the topic that is meant where the file gives none; those of MoveIt Servo come after its node's name.
_USUAL = {
    "forward_position": "forward_position_controller/commands",
    "forward_velocity": "forward_velocity_controller/commands",
    "joint_trajectory": "joint_trajectory_controller/joint_trajectory",
    "cartesian_pose": "target_pose",
    "servo_twist": "delta_twist_cmds",
    "servo_pose": "pose_target_cmds",
}


def _no_interlock() -> sections.Interlock:
    return sections.Interlock(kind="none")


@dataclass(frozen=True)
class RobotFile:
    """Everything that is particular to one robot. See `defi_ros.sections` for each value."""

    name: str = param(doc="What the robot is called in reports and messages; a copy of its file may keep it.")
    arm: str = param(doc="Kind of arm; policies are trained for one.")
    joints: sections.Joints = param(doc="The arm's joints and their limits.")
    workspace: sections.WorkspaceBox = param(doc="Where the tool centre point may be.")
    home: tuple[float, ...] = param(doc="Rest posture [rad].")
    tip_frame: str = param(doc="Frame of the tool centre point in the robot description.")
    cameras: Mapping[str, sections.Camera] = param(doc="Camera name -> how its images come in.")
    alignment: sections.Alignment = section(sections.Alignment, "How far apart in time inputs may be.")
    policy: sections.PolicySettings = section(sections.PolicySettings, "Which policy runs, and how often.")
    control: sections.Control = section(sections.Control, "The arm bridge's loop and watchdogs.")
    driver: sections.Driver = section(sections.Driver, "The controller that moves the arm.")
    interlock: sections.Interlock = section(_no_interlock, "What the robot must say before it may move.")
    gripper: sections.Gripper = section(sections.Gripper, "The gripper.")
    teleop: sections.Teleop = section(sections.Teleop, "Moving the arm by hand.")
    sim: sections.Sim = section(sections.Sim, "The simulated robot.")
    nodes: sections.Nodes = section(sections.Nodes, "The processes.")

    @property
    def spec(self) -> RobotSpec:
        """What models, control and simulator need to know; limits are already scaled by `joints.limit_scale`.

        Raises:
            ContractError: list lengths or limits contradict each other.
        """
        joints, scale = self.joints, self.joints.limit_scale
        return RobotSpec(
            name=self.name,
            arm=self.arm,
            joint_names=joints.names,
            limits=JointLimits(
                lower=np.array(joints.lower),
                upper=np.array(joints.upper),
                velocity=np.array(joints.velocity) * scale.velocity,
                acceleration=np.array(joints.acceleration) * scale.acceleration,
                jerk=np.array(joints.jerk) * scale.jerk,
            ),
            workspace=_workspace(self.workspace),
            home=np.array(self.home),
            tip_frame=self.tip_frame,
            cameras=tuple(self.cameras),
        )


def robots_folder() -> Path:
    """The folder of robot files: the source tree's, or else the installed one.

    Raises:
        ConfigError: neither exists.
    """
    looked = [Path(__file__).resolve().parents[3] / "config" / "robots"]
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    looked += [Path(prefix) / "share" / PACKAGE / "config" / "robots" for prefix in prefixes if prefix]
    looked += [parent / "share" / PACKAGE / "config" / "robots" for parent in Path(__file__).resolve().parents]
    for folder in looked:
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"robot files: got no folder config/robots, expected one of {', '.join(map(str, looked))}. "
        "Run `make setup`, or pass the path of a robot file."
    )


def available_robots() -> tuple[str, ...]:
    """The names `load_robot` knows."""
    return tuple(sorted(path.stem for path in robots_folder().glob("*.yaml")))


def load_robot(name_or_path: str | Path) -> RobotFile:
    """The robot of a name, as in "franka", or of a path that ends in .yaml.

    Raises:
        ConfigError: no such robot, a text that is no YAML, an unknown, missing or repeated key, a wrong type or a
            value out of range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        known = available_robots()
        if str(name_or_path) not in known:
            near = difflib.get_close_matches(str(name_or_path), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"robot: got {str(name_or_path)!r}, expected a robot file of {robots_folder()} or a path ending in "
                f".yaml.{hint} Robots: {', '.join(known) or 'none'}"
            )
        path = robots_folder() / f"{name_or_path}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"robot: got {path}, expected a text in UTF-8 ({error.reason} at byte {error.start})"
        ) from error
    except OSError as error:
        folder = path.parent
        beside = ", ".join(sorted(file.name for file in folder.glob("*.yaml"))) if folder.is_dir() else "no such folder"
        raise ConfigError(f"robot: got {path}, expected a readable file ({error.strerror}). There: {beside}") from error
    return parse_robot(text, path.name)


def parse_robot(text: str, source: str) -> RobotFile:
    """The robot that a YAML text describes; `source` names it in messages.

    Raises:
        ConfigError: see `load_robot`.
    """
    lines: dict[tuple[str, ...], int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _note_lines(node, (), lines, source)
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(no_yaml(error, text, source)) from error

    def where(path: tuple[str, ...]) -> str:
        while path and path not in lines:
            path = path[:-1]
        return f"{source}, line {lines[path]}" if path else source

    robot = build(RobotFile, {} if given is None else given, where)
    check_together(robot, where)
    return robot


def no_yaml(error: yaml.YAMLError, text: str, source: str) -> str:
    """The message for a text that is no YAML: the line, what is wrong there and, below it, the place."""
    wrong = "got a text that is no YAML"
    if isinstance(error, yaml.reader.ReaderError):
        code = error.character if isinstance(error.character, int) else ord(error.character)
        return f"{source}, line {text.count(chr(10), 0, error.position) + 1}: {wrong}: {error.reason}: #x{code:04x}"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{source}: {wrong}: {error}"
    began = f" from line {error.context_mark.line + 1} on" if error.context_mark is not None else ""
    context = f" ({error.context}{began})" if error.context else ""
    place = f"\n{error.problem_mark.get_snippet() or ''}".rstrip()
    return f"{source}, line {error.problem_mark.line + 1}: {wrong}: {error.problem}{context}{place}"


def _note_lines(node: yaml.Node | None, path: tuple[str, ...], lines: dict[tuple[str, ...], int], source: str) -> None:
    """Notes the line of every key, and refuses a key given twice, of which YAML would silently keep the last."""
    if isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            lines[(*path, str(at))] = item.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key = (*path, str(key_node.value))
        line = key_node.start_mark.line + 1
        if key in lines:
            raise ConfigError(
                f"{source}, line {line}: {'.'.join(key)}: got it a second time, expected it once. First: line {lines[key]}"
            )
        lines[key] = line
        _note_lines(value_node, key, lines, source)


def _workspace(box: sections.WorkspaceBox) -> Workspace:
    return Workspace(
        lower=np.array(box.lower),
        upper=np.array(box.upper),
        planes=_planes(box.planes),
        **{name: getattr(box, name) for name in TIP_LIMITS},
    )


def _planes(walls: Mapping[str, sections.Plane]) -> np.ndarray:
    """Rows (unit normal, distance) as the contract has them, shape (walls, 4)."""
    rows = [[*np.array(wall.normal) / np.linalg.norm(wall.normal), wall.distance_m] for wall in walls.values()]
    return np.array(rows).reshape(-1, 4)


def _check_walls(robot: RobotFile, where: Where) -> None:
    for name, wall in robot.workspace.planes.items():
        path = ("workspace", "planes", name, "normal")
        if len(wall.normal) != 3 or not any(wall.normal):
            raise ConfigError(
                f"{where(path)}: {'.'.join(path)}: got {list(wall.normal)}, expected a direction x, y, z other than 0, 0, 0"
            )


def _check_names(robot: RobotFile, where: Where) -> None:
    names, finger = robot.joints.names, robot.gripper.joint
    for at, name in enumerate(names):
        if name in names[:at]:
            path = ("joints", "names", str(at))
            raise ConfigError(
                f"{where(path)}: joints.names: got {name!r} a second time, expected each joint once: {list(names)}"
            )
    if robot.gripper.kind != "none" and finger in names:
        raise ConfigError(
            f"{where(('gripper', 'joint'))}: gripper.joint: got {finger!r}, which is a joint of the arm, expected one "
            f"of the gripper, none of {list(names)}"
        )


def _check_topic(robot: RobotFile, where: Where) -> None:
    kind, topic = robot.driver.kind, robot.driver.topic
    own, other = _NAMED.get(kind, ("", ""))
    if own and topic.rfind(other) > topic.rfind(own):  # the controller's name comes last
        raise ConfigError(
            f"{where(('driver', 'topic'))}: driver.topic: got {topic!r} with kind {kind!r}, expected the topic of a "
            f"{own} controller: a {other} controller hears the same messages and takes their numbers for its own. "
            f"Change both, or leave driver.topic out for {_usual_topic(robot.driver)!r}, the usual one of the kind."
        )
    for foreign, usual in _USUAL.items():
        controller, _, last = usual.rpartition("/")
        ending = f"{controller}/{last}" if last == "commands" else last  # many controllers hear `commands`
        if foreign != kind and f"/{topic}".endswith(f"/{ending}"):
            raise ConfigError(
                f"{where(('driver', 'topic'))}: driver.topic: got {topic!r}, a topic of kind {foreign!r}, with kind {kind!r}, "
                f"expected one that its controller hears. Leave driver.topic out for {_usual_topic(robot.driver)!r}, the "
                "usual one of the kind, or give that of your controller."
            )


def _usual_topic(driver: sections.Driver) -> str:
    usual = _USUAL[driver.kind]
    return f"{driver.servo_node}/{usual}" if driver.kind.startswith("servo_") else usual


def _check_deviations(robot: RobotFile, where: Where) -> None:
    reanchor_rad, most_rad = robot.control.reanchor_rad, robot.control.max_deviation_rad
    if reanchor_rad > most_rad:
        raise ConfigError(
            f"{where(('control', 'reanchor_rad'))}: control: got reanchor_rad {reanchor_rad:g} rad and "
            f"max_deviation_rad {most_rad:g} rad, expected reanchor_rad <= max_deviation_rad"
        )


def _check_guard(robot: RobotFile, where: Where) -> None:
    timeout_s, rate_hz = robot.driver.guard_timeout_s, robot.control.rate_hz
    if robot.driver.kind == "forward_velocity" and timeout_s * rate_hz < GUARDED_TICKS:
        raise ConfigError(
            f"{where(('driver', 'guard_timeout_s'))}: driver: got guard_timeout_s {timeout_s:g} s and control.rate_hz "
            f"{rate_hz:g} Hz, expected at least {GUARDED_TICKS} commands in that time, {GUARDED_TICKS / rate_hz:g} s: the "
            "guard would stop an arm whose bridge lives"
        )


def check_together(robot: RobotFile, where: Where) -> None:
    """Refuses values that are fine alone but contradict each other; `where` says where a value stands, for messages.

    Raises:
        ConfigError: the first contradiction: both values, and what was expected.
    """
    _check_walls(robot, where)
    _check_names(robot, where)
    _check_topic(robot, where)
    _check_deviations(robot, where)
    _check_guard(robot, where)
    joints = len(robot.joints.names)
    arrays: dict[tuple[str, ...], tuple[float, ...]] = {
        ("joints", name): getattr(robot.joints, name) for name in ("lower", "upper", "velocity", "acceleration", "jerk")
    }
    arrays[("home",)] = robot.home
    wanted = dict.fromkeys(arrays, joints) | {("workspace", "lower"): 3, ("workspace", "upper"): 3}
    arrays |= {("workspace", "lower"): robot.workspace.lower, ("workspace", "upper"): robot.workspace.upper}
    for path, values in arrays.items():
        if len(values) != wanted[path]:
            raise ConfigError(
                f"{where(path)}: {'.'.join(path)}: got {len(values)} numbers, expected {wanted[path]}"
                + (f", one for each of {', '.join(robot.joints.names)}" if wanted[path] == joints else " (x, y, z)")
            )
    if robot.gripper.close_below >= robot.gripper.open_above:
        raise ConfigError(
            f"{where(('gripper', 'close_below'))}: gripper: got close_below {robot.gripper.close_below:g} and open_above "
            f"{robot.gripper.open_above:g}, expected close_below < open_above"
        )
    if robot.gripper.joint_open == robot.gripper.joint_closed:
        raise ConfigError(
            f"{where(('gripper', 'joint_open'))}: gripper: got joint_open and joint_closed {robot.gripper.joint_open:g}, "
            "expected two positions of its joint"
        )
    try:
        _workspace(robot.workspace)
    except ContractError as error:
        raise ConfigError(f"{where(('workspace',))}: {error}") from error
    try:
        spec = robot.spec
    except ContractError as error:
        raise ConfigError(f"{where(('joints',))}: {error}") from error
    outside = (spec.home < spec.limits.lower) | (spec.home > spec.limits.upper)
    if outside.any():
        at = int(np.argmax(outside))
        raise ConfigError(
            f"{where(('home',))}: home of {spec.joint_names[at]}: got {spec.home[at]:g} rad, "
            f"expected {spec.limits.lower[at]:g}..{spec.limits.upper[at]:g} rad"
        )
