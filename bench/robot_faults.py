"""The faults of a robot, its controllers and its gripper: what real ones do by themselves, done by the emulated ones."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fault import Fault
from robot_rig import RobotRig, Site

from defi_models.contract import FloatArray
from defi_sim.controllers import CommandRefusedError, FrankaStatus, ServoCode, ServoController, UrStatus

T = TypeVar("T")
UR, FR3 = Site("ur5e"), Site("fr3")
PANDA = Site("franka", {"policy.path": "scripted"})
SERVO = Site("ur5e", {"driver.kind": "servo_pose", "driver.topic": ""})
TWIST = Site("ur5e", {"driver.kind": "servo_twist", "driver.topic": ""})
POSE = Site("fr3", {"driver.kind": "cartesian_pose", "driver.topic": "target_pose"})
VELOCITY = Site("franka", {"driver.kind": "forward_velocity", "driver.topic": ""}, guarded=True)


def present(part: T | None) -> T:
    """A part that this robot has."""
    assert part is not None
    return part


def ur(happen: Callable[[UrStatus], Any]) -> Callable[[RobotRig], None]:
    """Something happens to a UR."""
    return lambda rig: present(rig.robot.ur).event(happen)


def franka(happen: Callable[[FrankaStatus], Any]) -> Callable[[RobotRig], None]:
    """Something happens to a Franka."""
    return lambda rig: present(rig.robot.franka).event(happen)


def falls_silent(rig: RobotRig) -> None:
    """The robot's state is not told any more."""
    present(rig.robot.franka).silent = True


def states_gone(rig: RobotRig) -> None:
    """The driver of the robot tells no joint states any more; its controllers go on."""
    rig.robot.silent = True


def switched_off(rig: RobotRig) -> None:
    """Somebody switches the controller off: it takes commands and does nothing."""
    simulation = rig.robot.simulation
    simulation.request(
        lambda now_ns: simulation.arm.suspend("switched off", now_ns, simulation.positions, deactivate=True)
    )


def halts(rig: RobotRig) -> None:
    """MoveIt Servo refuses to go on."""
    servo = rig.robot.controllers["servo"]
    assert isinstance(servo, ServoController)
    update = servo.update

    def halted(now_ns: int, measured: FloatArray) -> FloatArray | None:
        servo.paused = True
        positions = update(now_ns, measured)
        servo.code = ServoCode.HALT_FOR_SINGULARITY
        return positions

    servo.update = halted


def grips_stuck(rig: RobotRig) -> None:
    """The fingers do not move, and the policy wants them closed."""
    rig.robot.simulation.held_at = rig.robot.simulation.opening
    rig.opening = 0.0


def grips_refused(rig: RobotRig) -> None:
    """The gripper's controller rejects every goal."""

    def refuse(position_m: float, now_ns: int) -> None:
        raise CommandRefusedError(f"gripper: got {position_m} m at {now_ns} ns, expected nothing: switched off")

    rig.robot.simulation.check_gripper = refuse
    rig.opening = 0.0


def killed(name: str, number: signal.Signals = signal.SIGKILL) -> Callable[[RobotRig], None]:
    """A process of the robot's computer is killed."""
    return lambda rig: rig.children[name].send(number)


CASES: Sequence[tuple[Site, Fault]] = (
    (UR, Fault("UR: protective stop", "person", ur(UrStatus.protective_stop), "safety mode PROTECTIVE_STOP")),
    (
        UR,
        Fault(
            "UR: emergency stop on the teach pendant",
            "person",
            ur(lambda status: status.emergency_stop(True)),
            "safety mode ROBOT_EMERGENCY_STOP",
        ),
    ),
    (UR, Fault("UR: its program is stopped", "person", ur(UrStatus.stop_program), "no running program")),
    (
        FR3,
        Fault("Franka: reflex", "person", franka(lambda status: status.fail("cartesian_reflex")), "cartesian_reflex"),
    ),
    (
        FR3,
        Fault("Franka: user stop pressed", "person", franka(lambda status: status.press_user_stop(True)), "USER_STOP"),
    ),
    (
        FR3,
        Fault(
            "Franka: its state is not told any more", "person", falls_silent, "got no franka_robot_state_broadcaster"
        ),
    ),
    (
        PANDA,
        Fault("controller switched off, policy moving", "policy", switched_off, "rad from its command, limit"),
    ),
    (
        PANDA,
        Fault("controller switched off, person moving", "person", switched_off, "rad from its command, limit"),
    ),
    (FR3, Fault("joint trajectories: joint states gone", "person", states_gone, "no joint state for")),
    (POSE, Fault("Cartesian poses: joint states gone", "person", states_gone, "no joint state for")),
    (TWIST, Fault("Servo's twists: joint states gone", "person", states_gone, "no joint state for")),
    (VELOCITY, Fault("velocity controller: joint states gone", "person", states_gone, "no joint state for")),
    (SERVO, Fault("controller refuses: Servo halts", "person", halts, "servo_node halted before a singularity")),
    (PANDA, Fault("gripper stuck", "policy", grips_stuck, "gripper: told to close .* still 100% open")),
    (PANDA, Fault("gripper refuses its goal", "policy", grips_refused, "gripper: .* rejected the goal")),
    (
        VELOCITY,
        Fault(
            "velocity controller: its stop guard killed", "person", killed("stop_guard_node"), "stop_guard_node is gone"
        ),
    ),
    (
        VELOCITY,
        Fault("velocity controller: arm bridge killed", "person", killed("arm_bridge_node"), "arm_bridge_node ended"),
    ),
)
