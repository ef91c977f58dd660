"""The sections of a robot file as frozen dataclasses: the only home of each value's default, unit and bounds."""

# ruff: noqa: RUF009  (`param` and `section` return dataclass fields)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from defi_ros.settings import param, section

# No joint turns as far or as fast and no arm reaches as far: such numbers are in degrees, degrees a second and millimetres.
MOST_RAD, MOST_RAD_S, MOST_M = 13.0, 30.0, 10.0


@dataclass(frozen=True)
class LimitScale:
    """How much of the arm's documented limits this site lets it use. No defaults: nobody shall get all by silence."""

    velocity: float = param(doc="Part of the joint velocity limits in use, 0..1.", above=0.0, at_most=1.0)
    acceleration: float = param(doc="Part of the joint acceleration limits in use, 0..1.", above=0.0, at_most=1.0)
    jerk: float = param(doc="Part of the joint jerk limits in use, 0..1.", above=0.0, at_most=1.0)


@dataclass(frozen=True)
class Joints:
    """The arm's joints and what they may do, in the order of every joint array."""

    names: tuple[str, ...] = param(doc="Joint names as in joint_states and robot_description.")
    lower: tuple[float, ...] = param(doc="Lowest positions [rad].", at_least=-MOST_RAD, at_most=MOST_RAD)
    upper: tuple[float, ...] = param(doc="Highest positions [rad].", at_least=-MOST_RAD, at_most=MOST_RAD)
    velocity: tuple[float, ...] = param(doc="Largest speeds [rad/s].", above=0.0, at_most=MOST_RAD_S)
    acceleration: tuple[float, ...] = param(doc="Largest accelerations [rad/s^2].", above=0.0)
    jerk: tuple[float, ...] = param(doc="Largest jerks [rad/s^3].", above=0.0)
    limit_scale: LimitScale = param(doc="How much of these limits this site uses; begin with a velocity of 0.1.")


@dataclass(frozen=True)
class Plane:
    """A wall in the workspace: a pane, a pillar, a person's seat. The tool centre point stays on the side of its normal."""

    normal: tuple[float, ...] = param(doc="Direction x, y, z towards where the tool may be; any length.")
    distance_m: float = param(
        doc="How far the wall is from the base along the normal, in metres, negative behind it [m].",
        at_least=-MOST_M,
        at_most=MOST_M,
    )


@dataclass(frozen=True)
class WorkspaceBox:
    """The box the tool centre point may be in and how it may go there, in the base frame.

    The values that stand for a robot without its own are ours: half of what Franka gives for its arms, or less.
    """

    lower: tuple[float, ...] = param(doc="Lowest corner x, y, z, in metres [m].", at_least=-MOST_M, at_most=MOST_M)
    upper: tuple[float, ...] = param(doc="Highest corner x, y, z, in metres [m].", at_least=-MOST_M, at_most=MOST_M)
    velocity_m_s: float = param(0.5, "Largest speed of the tool centre point [m/s].", above=0.0, at_most=2.0)
    acceleration_m_s2: float = param(5.0, "Largest acceleration that is asked of it [m/s^2].", above=0.0)
    jerk_m_s3: float = param(500.0, "Largest jerk that is asked of it [m/s^3].", above=0.0)
    velocity_rad_s: float = param(2.0, "Fastest turning that is asked of it [rad/s].", above=0.0)
    acceleration_rad_s2: float = param(10.0, "Largest acceleration of its turning [rad/s^2].", above=0.0)
    jerk_rad_s3: float = param(1000.0, "Largest jerk of its turning [rad/s^3].", above=0.0)
    planes: Mapping[str, Plane] = section(dict, "Wall name -> a plane that cuts the box.")


@dataclass(frozen=True)
class Camera:
    """One camera of a real robot; in simulation the same name is rendered instead."""

    driver: str = param("topic", "How its images come in.", choices=("topic", "opencv", "realsense"))
    source: str = param(
        "",
        "Topic (one that ends with /compressed brings JPEG or PNG), device path, stream, video file, serial number of a "
        "RealSense or a recording of one (.bag, .db3); empty: camera/<name>/image_raw, or any RealSense.",
    )
    width: int = param(640, "Image width [px].", at_least=16, at_most=4096)
    height: int = param(480, "Image height [px].", at_least=16, at_most=4096)
    rate_hz: float = param(30.0, "Frames a second [Hz].", above=0.0, at_most=240.0)
    depth: bool = param(False, "Whether a RealSense also sends depth, as seen by its colour camera.")
    max_age_s: float = param(0.3, "An image older than this is not acted upon [s].", above=0.0, at_most=10.0)
    latency_s: float = param(
        0.0, "How long before its stamp an image was seen, where the driver stamps late [s].", at_least=0.0, at_most=1.0
    )


@dataclass(frozen=True)
class Alignment:
    """How far apart in time what belongs together may be."""

    max_skew_s: float = param(0.05, "Largest spread of capture times of one observation's images [s].", above=0.0)
    joint_latency_s: float = param(
        0.0, "How long before their stamp joints were where a state says [s].", at_least=0.0, at_most=0.5
    )
    joint_max_age_s: float = param(0.1, "A joint state older than this is not acted upon [s].", above=0.0)
    joint_max_gap_s: float = param(0.1, "Joint states further apart are not interpolated between [s].", above=0.0)
    history_s: float = param(2.0, "How long joint states are kept for looking back [s].", above=0.0, at_most=60.0)


@dataclass(frozen=True)
class PolicySettings:
    """Which policy runs, on what, and how often."""

    path: str = param(
        "nano", "Name of a shipped policy, `scripted`, the folder of a checkpoint, or none: people alone."
    )
    backend: str = param("torch", "What runs the networks.", choices=("torch", "compiled", "onnx"))
    device: str = param("cpu", "Where they run: cpu, cuda, cuda:1, or, for onnx, tensorrt.")
    composed: bool = param(False, "GFDM and GIDM in one process, handing features over by reference.")
    replan_s: float = param(0.2, "Shortest time between two inferences [s].", at_least=0.0, at_most=10.0)
    threads: int = param(2, "CPU threads of one inference; 0 leaves it to the backend.", at_least=0, at_most=64)
    imagined_image_rate_hz: float = param(1.0, "Rate of imagined images for people; 0 is off [Hz].", at_least=0.0)
    camera_timeout_s: float = param(10.0, "Configure fails when a camera sends nothing for this long [s].", above=0.0)


@dataclass(frozen=True)
class Control:
    """The arm bridge's loop, its watchdogs, and what it lets pass."""

    rate_hz: float = param(200.0, "Rate of the command loop [Hz].", at_least=50.0, at_most=1000.0)
    chunk_timeout_s: float = param(
        0.3, "POLICY comes to rest when the newest chunk arrived longer ago than this [s].", above=0.0, at_most=10.0
    )
    policy_patience_s: float = param(
        30.0, "A policy that has sent nothing for longer must be asked for anew [s].", above=0.0, at_most=3600.0
    )
    chunk_max_age_s: float = param(
        1.0, "A chunk whose observation is older than this is refused [s].", above=0.0, at_most=10.0
    )
    state_timeout_s: float = param(
        0.1, "Comes to rest when joint states are older than this [s].", above=0.0, at_most=2.0
    )
    teleop_timeout_s: float = param(
        0.2,
        "HOLD after this silence of the input device; its deadman must then be pressed anew [s].",
        above=0.0,
        at_most=2.0,
    )
    lookahead_s: float = param(
        0.0, "Commands lead by the delay of the arm's own controller [s].", at_least=0.0, at_most=0.5
    )
    blend_s: float = param(0.12, "Crossfade from one chunk to the next [s].", at_least=0.0, at_most=1.0)
    blending: str = param(
        "newest",
        "How overlapping chunks become one: newest, temporal ensemble, or rtc (the policy continues what is promised).",
        choices=("newest", "ensemble", "rtc"),
    )
    ensemble_gain_1_s: float = param(
        -0.5,
        "ensemble: a chunk seen 1 s later weighs exp(this) as much; -0.5 is ACT's [1/s].",
        at_least=-20.0,
        at_most=20.0,
    )
    reanchor_rad: float = param(
        0.1,
        "In HOLD, the reference goes to where an arm stands that was moved by more than this [rad].",
        above=0.0,
        at_most=0.7,
    )
    max_deviation_rad: float = param(
        0.35, "A reference this far from the measured joints is held back [rad].", above=0.0, at_most=0.7
    )
    posture_gain_hz: float = param(
        1.0, "How fast free motion leans to the home posture [1/s].", at_least=0.0, at_most=20.0
    )
    at_rest_rad_s: float = param(0.005, "Slower than this counts as at rest [rad/s].", above=0.0, at_most=0.1)
    start_mode: str = param("HOLD", "Who may move the arm after start.", choices=("HOLD", "POLICY"))
    after_teleop: str = param("HOLD", "Who may move the arm once the deadman is released.", choices=("HOLD", "POLICY"))


NO_POLICY = "none"  # as policy.path: the arm is moved by people alone, to teach it or before there is a policy for it
ARM_DRIVERS = (
    "forward_position",
    "forward_velocity",
    "joint_trajectory",
    "cartesian_pose",
    "servo_twist",
    "servo_pose",
)
GRIPPER_DRIVERS = ("none", "parallel_gripper_command", "gripper_command", "franka_gripper", "forward_position")


@dataclass(frozen=True)
class Driver:
    """The controller interface that the arm bridge speaks."""

    kind: str = param("forward_position", "Kind of controller.", choices=ARM_DRIVERS)
    topic: str = param("", "Command topic; empty: the usual one of the kind.")
    base_frame: str = param("panda_link0", "Frame that poses and twists are given in.")
    horizon_s: float = param(0.1, "joint_trajectory: how long the stop at its end takes [s].", above=0.0, at_most=2.0)
    sending: str = param(
        "streaming",
        "joint_trajectory: a short message every 20 ms, or batches of set points that run `batch_s` late.",
        choices=("streaming", "batches"),
    )
    batch_s: float = param(
        0.1, "joint_trajectory: time that a batch covers; add it to control.lookahead_s [s].", above=0.02, at_most=0.2
    )
    nullspace_topic: str = param(
        "target_joint", "cartesian_pose: topic of the posture that leaves the tool where it is; empty: none."
    )
    servo_node: str = param("servo_node", "servo_twist, servo_pose: name of MoveIt Servo's node.")
    correction_hz: float = param(
        4.0,
        "forward_velocity, servo_twist: how fast a distance from the set point is made up for [1/s].",
        at_least=0.0,
        at_most=20.0,
    )
    guard_timeout_s: float = param(
        0.1, "forward_velocity: silence after which the stop guard sends zero [s].", above=0.02, at_most=1.0
    )


@dataclass(frozen=True)
class Interlock:
    """What the robot itself must say before anything may move, and how it is brought back after it has stopped."""

    kind: str = param(doc="Whose states are heard.", choices=("none", "franka", "ur"))
    silence_s: float = param(0.5, "franka: its state counts as gone after this silence [s].", above=0.0, at_most=10.0)
    state_topic: str = param(
        "franka_robot_state_broadcaster/robot_state", "franka: topic of franka_msgs/FrankaRobotState."
    )
    status_prefix: str = param(
        "io_and_status_controller/", "ur: before robot_program_running, robot_mode and safety_mode."
    )
    recovery_prefix: str = param(
        "", "Before action_server/error_recovery (franka) or dashboard_client/unlock_protective_stop (ur)."
    )
    program: str = param(
        "resend",
        "ur: how its program starts again: `resend` in headless mode, `play` with the External Control program.",
        choices=("resend", "play"),
    )
    hardware: str = param("FrankaHardwareInterface", "franka: hardware component that is activated again.")
    controllers: tuple[str, ...] = param((), "franka: controllers that are switched on again after it.")
    step_timeout_s: float = param(10.0, "Longest time for one step of the recovery [s].", above=0.0, at_most=120.0)


@dataclass(frozen=True)
class Gripper:
    """The gripper's interface and when it is commanded: on transitions only."""

    kind: str = param("parallel_gripper_command", "Kind of interface.", choices=GRIPPER_DRIVERS)
    action: str = param(
        "panda_gripper/gripper_cmd", "Name of the action; franka_gripper: of its node; forward_position: of the topic."
    )
    joint: str = param("panda_finger_joint1", "Its joint in joint_states and in goals.")
    width_m: float = param(0.08, "Full opening between the fingers [m].", above=0.0, at_most=1.0)
    joint_closed: float = param(0.0, "Position of the joint when closed [m or rad].")
    joint_open: float = param(
        0.04, "Position of the joint when open, half the width where each of two fingers moves [m or rad]."
    )
    speed_m_s: float = param(0.1, "franka_gripper: speed of the fingers [m/s].", above=0.0, at_most=1.0)
    max_effort_n: float = param(20.0, "Largest force of a closing gripper [N].", above=0.0, at_most=500.0)
    close_below: float = param(0.4, "Closes when the wanted opening falls below this, 0..1.", at_least=0.0, at_most=1.0)
    open_above: float = param(0.6, "Opens when the wanted opening rises above this, 0..1.", at_least=0.0, at_most=1.0)
    min_interval_s: float = param(0.3, "Shortest time between two goals [s].", at_least=0.0, at_most=10.0)

    def position(self, opening: float) -> float:
        """Position of the joint [m or rad] at an opening, 0 closed .. 1 open."""
        return self.joint_closed + opening * (self.joint_open - self.joint_closed)

    def opening(self, position: float) -> float:
        """Opening, 0 closed .. 1 open, at a position of the joint [m or rad]."""
        share = (position - self.joint_closed) / (self.joint_open - self.joint_closed)
        return min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class Teleop:
    """What a person's input device may ask for."""

    device: str = param("keyboard", "Input device: a name in config/teleop, or the path of such a file.")
    linear_m_s: float = param(0.15, "Speed at full deflection [m/s].", above=0.0, at_most=1.0)
    angular_rad_s: float = param(0.6, "Turning speed at full deflection [rad/s].", above=0.0, at_most=3.0)


@dataclass(frozen=True)
class Sim:
    """The simulated robot and its cameras."""

    image_px: int = param(128, "Width and height of rendered images [px].", at_least=32, at_most=1024)
    camera_rate_hz: float = param(30.0, "Rendered frames a second [Hz].", above=0.0, at_most=120.0)
    joint_state_rate_hz: float = param(200.0, "Rate of joint_states [Hz].", above=0.0, at_most=500.0)
    scene_rate_hz: float = param(30.0, "Rate of scene_state [Hz].", above=0.0, at_most=200.0)
    scenes: str = param(
        "drawn",
        "How its scenes look: as drawn, or as those to train or to test on.",
        choices=("drawn", "train", "test"),
    )
    real_time: bool = param(True, "Physics keeps pace with the clock; false runs as fast as possible.")
    reset_pause_s: float = param(
        0.25, "Controllers ignore commands for at least this long after a reset [s].", at_least=0.0
    )


def _nice(default: int) -> int:
    return param(
        default, "Scheduling priority; negative values apply where the system permits them.", at_least=-20, at_most=19
    )


@dataclass(frozen=True)
class Nice:
    """How the processes share the CPU, one value a node: the arm, then a person, then what the policy sees and infers."""

    arm_bridge_node: int = _nice(-10)
    stop_guard_node: int = _nice(-10)
    camera_node: int = _nice(-6)
    teleop_node: int = _nice(-8)
    task_node: int = _nice(0)
    recorder_node: int = _nice(5)
    sim_node: int = _nice(0)
    monitor_node: int = _nice(10)
    imagination_node: int = _nice(-5)
    action_node: int = _nice(-5)


@dataclass(frozen=True)
class Nodes:
    """The processes."""

    arm_bridge_core: int = param(
        -1,
        "CPU that arm_bridge_node keeps to where it runs in real time; -1: the last it may use. Two arms need two.",
        at_least=-1,
    )
    nice: Nice = section(Nice, "Scheduling priority of each node.")
