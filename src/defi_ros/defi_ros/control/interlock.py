"""What a robot says of itself -> whether it moves as commanded, why not, and what brings it back; knows no messages.

Numbers and orders are those of franka_ros2 (franka_msgs/FrankaRobotState, franka_hardware's "Error Recovery") and of the
UR driver (ur_dashboard_msgs/RobotMode and SafetyMode, dashboard_client).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from defi_models.contract import DefiError


class RecoveryError(DefiError):
    """The robot cannot be brought back from here: a person must do something at the robot, or a step failed."""


class FrankaMode(IntEnum):
    """What a Franka is doing."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    AUTOMATIC_ERROR_RECOVERY = 6


FRANKA_MEANING = {
    FrankaMode.OTHER: "its brakes are closed or its joints are locked; open them in Desk and activate FCI",
    FrankaMode.IDLE: "no controller moves it; switch one on, or ask for a recovery",
    FrankaMode.GUIDING: "a person moves it by hand; let go of the guiding button",
    FrankaMode.REFLEX: "it stopped by itself; clear the way and ask for a recovery",
    FrankaMode.USER_STOPPED: "its user stop is pressed; release it and ask for a recovery",
    FrankaMode.AUTOMATIC_ERROR_RECOVERY: "it clears its errors; wait",
}
FRANKA_UNKNOWN = "unknown mode; look in Desk at what it means and bring the robot back there"


def franka_fault(mode: int, errors: Sequence[str]) -> str | None:
    """Why a Franka does not move as commanded, or None.

    Args:
        mode: `robot_mode`.
        errors: Names of the `current_errors` that stand.
    """
    if errors:
        return f"robot: got {_franka_name(mode)} with {', '.join(errors)}, expected MOVE without errors"
    if mode == FrankaMode.MOVE:
        return None
    meaning = FRANKA_MEANING.get(FrankaMode(mode), "") if mode in tuple(FrankaMode) else FRANKA_UNKNOWN
    return f"robot: got {_franka_name(mode)}, expected MOVE; {meaning}"


def check_franka_recovers(mode: int) -> None:
    """Refuses to recover a Franka that waits for a person, or is in a mode that nobody here knows.

    Raises:
        RecoveryError: with what the person must do.
    """
    known = mode in tuple(FrankaMode)
    if not known or mode in (FrankaMode.USER_STOPPED, FrankaMode.GUIDING, FrankaMode.OTHER):
        what = FRANKA_MEANING[FrankaMode(mode)] if known else FRANKA_UNKNOWN
        raise RecoveryError(f"recovery: got a robot in {_franka_name(mode)}, expected REFLEX or IDLE; {what}")


def _franka_name(mode: int) -> str:
    return FrankaMode(mode).name if mode in tuple(FrankaMode) else f"robot_mode {mode}"


class UrMode(IntEnum):
    """What the arm of a UR is doing."""

    NO_CONTROLLER = -1
    DISCONNECTED = 0
    CONFIRM_SAFETY = 1
    BOOTING = 2
    POWER_OFF = 3
    POWER_ON = 4
    IDLE = 5
    BACKDRIVE = 6
    RUNNING = 7
    UPDATING_FIRMWARE = 8


class UrSafety(IntEnum):
    """What the safety system of a UR is doing."""

    NORMAL = 1
    REDUCED = 2
    PROTECTIVE_STOP = 3
    RECOVERY = 4
    SAFEGUARD_STOP = 5
    SYSTEM_EMERGENCY_STOP = 6
    ROBOT_EMERGENCY_STOP = 7
    VIOLATION = 8
    FAULT = 9
    VALIDATE_JOINT_ID = 10
    UNDEFINED_SAFETY_MODE = 11
    AUTOMATIC_MODE_SAFEGUARD_STOP = 12
    SYSTEM_THREE_POSITION_ENABLING_STOP = 13


UR_PERSON = {
    UrSafety.RECOVERY: "move it back inside its limits with the teach pendant",
    UrSafety.SAFEGUARD_STOP: "leave the safeguarded space and reset the safeguard",
    UrSafety.SYSTEM_EMERGENCY_STOP: "release the emergency stop of the system",
    UrSafety.ROBOT_EMERGENCY_STOP: "release the emergency stop on the teach pendant",
    UrSafety.VIOLATION: "confirm the violation on the teach pendant and restart the safety system",
    UrSafety.FAULT: "look at the teach pendant and restart the safety system",
    UrSafety.VALIDATE_JOINT_ID: "confirm the joints on the teach pendant",
    UrSafety.UNDEFINED_SAFETY_MODE: "look at the teach pendant for what its safety system waits for",
    UrSafety.AUTOMATIC_MODE_SAFEGUARD_STOP: "leave the safeguarded space and reset the safeguard",
    UrSafety.SYSTEM_THREE_POSITION_ENABLING_STOP: "hold the enabling device in its middle position",
}
UR_WAITS = {
    UrMode.NO_CONTROLLER: "switch its controller on",
    UrMode.DISCONNECTED: "wait until its controller has found the arm, or look at the cables",
    UrMode.CONFIRM_SAFETY: "confirm the safety configuration on the teach pendant",
    UrMode.BOOTING: "wait until it has started",
    UrMode.BACKDRIVE: "a person moves it by hand; leave backdrive on the teach pendant",
    UrMode.UPDATING_FIRMWARE: "wait until it has updated itself",
}
UR_MOVES = (UrSafety.NORMAL, UrSafety.REDUCED)
UR_UNKNOWN = "unknown safety mode; look at the teach pendant and bring the robot back there"


def ur_fault(program_running: bool | None, mode: int | None, safety: int | None) -> str | None:
    """Why a UR does not move as commanded, or None; None for what was not heard yet."""
    if program_running is None or mode is None or safety is None:
        missing = [
            name
            for name, value in (
                ("robot_program_running", program_running),
                ("robot_mode", mode),
                ("safety_mode", safety),
            )
            if value is None
        ]
        return f"robot: got no {', '.join(missing)} yet, expected the UR driver to say it"
    if safety not in UR_MOVES:
        return f"robot: got safety mode {_ur_safety(safety)}, expected NORMAL or REDUCED"
    if mode != UrMode.RUNNING:
        return f"robot: got robot mode {_ur_mode(mode)}, expected RUNNING"
    if not program_running:
        return "robot: got no running program, expected the one that listens to ROS; ask for a recovery"
    return None


def ur_recovery(program_running: bool | None, mode: int | None, safety: int | None, program: str) -> list[str]:
    """The dashboard's steps that bring a UR back, in their order; `program` is resend or play.

    Raises:
        RecoveryError: a person must do something first.
    """
    if safety is None:
        person: str | None = "start the UR driver"
    else:
        person = UR_PERSON.get(UrSafety(safety)) if safety in tuple(UrSafety) else UR_UNKNOWN
    if person is not None:
        said = "nothing" if safety is None else _ur_safety(safety)
        raise RecoveryError(f"recovery: got safety mode {said}, expected PROTECTIVE_STOP or NORMAL; {person}")
    if mode is not None and mode in tuple(UrMode) and (person := UR_WAITS.get(UrMode(mode))) is not None:
        raise RecoveryError(f"recovery: got robot mode {_ur_mode(mode)}, expected RUNNING, IDLE or power off; {person}")
    steps = ["unlock_protective_stop"] if safety == UrSafety.PROTECTIVE_STOP else []
    if mode != UrMode.RUNNING:
        steps += ["power_on", "brake_release"]
    if steps or not program_running:
        steps.append("play" if program == "play" else "resend_robot_program")
    return steps


def _ur_safety(number: int) -> str:
    return UrSafety(number).name if number in tuple(UrSafety) else str(number)


def _ur_mode(number: int) -> str:
    return UrMode(number).name if number in tuple(UrMode) else str(number)
