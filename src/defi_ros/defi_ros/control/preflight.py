"""Do policy, robot file and robot description fit each other? Asked once in `configure`, before any hardware is touched."""

from __future__ import annotations

import math

import numpy as np

from defi_models.contract import NS_PER_S, POSE_DIMS, FloatArray, PolicySpec, PreflightError, RobotSpec

RANGE_SLACK_RAD = 0.01  # files and descriptions round: 6.28, 6.2832 and 2 pi mean the same
VELOCITY_SLACK = 1.05  # 180 deg/s is 3.1416, 3.14 or 3.15 rad/s, in descriptions of one and the same arm
PLACE_SLACK_M = 1e-6


def check_policy_fits_robot(
    policy: PolicySpec,
    robot: RobotSpec,
    *,
    rate_hz: float = 200.0,
    replan_s: float = 0.0,
    chunk_timeout_s: float = math.inf,
    simulated: bool = True,
) -> None:
    """Refuses a policy that cannot drive this robot, naming every mismatch at once.

    Args:
        policy: What the policy needs and gives.
        robot: What the robot is.
        rate_hz: Rate of the arm's command loop [Hz].
        replan_s: Shortest time between two chunks [s]; a policy's own horizon may be longer.
        chunk_timeout_s: The arm comes to rest when it hears of no chunk for so long [s].
        simulated: Whether a simulator gives the scene's ground truth.

    Raises:
        PreflightError: one line for each mismatch: got, expected, what exists.
    """
    faults: list[str] = []
    if policy.arm not in ("any", robot.arm):
        faults.append(f"arm: got a policy for {policy.arm!r}, expected {robot.arm!r}")
    missing = [camera for camera in policy.cameras if camera not in robot.cameras]
    if missing:
        faults.append(
            f"cameras: got a policy that looks through {list(policy.cameras)}, expected only cameras of this robot; "
            f"missing {missing}, there are {list(robot.cameras)}"
        )
    if policy.space == "ee_pose" and not robot.tip_frame:
        faults.append(f"space: got poses of {POSE_DIMS} numbers, expected a robot file with a tip_frame")
    if policy.joints is not None and policy.joints != len(robot.joint_names):
        faults.append(
            f"space: got targets of {policy.joints} joints, expected {len(robot.joint_names)}: {list(robot.joint_names)}"
        )
    if policy.reads_tool_pose and not robot.tip_frame:
        faults.append("proprioception: got a policy that reads the tool's pose, expected a robot file with a tip_frame")
    faults += _chunk_faults(policy, rate_hz, replan_s, chunk_timeout_s)
    if policy.needs_scene and not simulated:
        faults.append(
            "scene: got a policy that reads the scene's ground truth, expected one that sees; it runs in simulation only"
        )
    if faults:
        raise PreflightError(
            f"policy {policy.name!r} ({policy.fingerprint}) does not fit robot {robot.name!r}:\n  - "
            + "\n  - ".join(faults)
        )


def _chunk_faults(policy: PolicySpec, rate_hz: float, replan_s: float, chunk_timeout_s: float) -> list[str]:
    """What is wrong with the times of a policy's chunks: of their targets, between two of them, and until rest."""
    faults: list[str] = []
    command_ns = NS_PER_S / rate_hz
    if policy.step_ns < command_ns:
        faults.append(
            f"step: got targets every {policy.step_ns / 1e6:.2f} ms, "
            f"expected at least one command apart, {command_ns / 1e6:.2f} ms at {rate_hz:g} Hz"
        )
    lasts_s = policy.chunk_steps * policy.step_ns / NS_PER_S
    apart_s, named = replan_s, "policy.replan_s"
    horizon_s = (policy.horizon_steps or 0) * policy.step_ns / NS_PER_S
    if horizon_s > replan_s:
        apart_s, named = (
            horizon_s,
            f"the {policy.horizon_steps} targets that it wants carried out before the next chunk",
        )
    if apart_s >= lasts_s:  # what inference takes comes on top, and is not known here
        faults.append(
            f"chunk: got {policy.chunk_steps} targets that last {lasts_s:.2f} s, expected more than {named}, "
            f"{apart_s:.2f} s; between two chunks the arm would stop"
        )
    if apart_s > chunk_timeout_s:
        faults.append(
            f"chunk: got chunks {apart_s:.2f} s apart, by {named}, expected at most control.chunk_timeout_s, "
            f"{chunk_timeout_s:.2f} s, after which the arm comes to rest"
        )
    return faults


def check_robot_fits_description(
    robot: RobotSpec, lower: FloatArray, upper: FloatArray, velocity: FloatArray, tip_at_home: FloatArray
) -> None:
    """Refuses a robot file that asks for more than the robot's own description allows, or rests outside its workspace.

    Such a file is in degrees, for another arm, or for another tool. Rows are in the order of the robot's joints.

    Args:
        robot: What the robot file says; its velocities are those in use, scaled by `joints.limit_scale`.
        lower: Lowest positions of the description, shape (joints,) [rad]; an infinity is not stated.
        upper: Highest positions, the same; where both are equal, as 0 and 0, neither is stated.
        velocity: Largest speeds, shape (joints,) [rad/s]; an infinity or 0 is not stated.
        tip_at_home: Where the tool centre point is in the home posture, in the base frame, shape (3,) [m].

    Raises:
        PreflightError: one line for each mismatch: got, expected, what to correct.
    """
    limits, ranged = robot.limits, np.asarray(lower) < np.asarray(upper)
    faults: list[str] = []
    for at, name in enumerate(robot.joint_names):
        below = np.isfinite(lower[at]) and limits.lower[at] < lower[at] - RANGE_SLACK_RAD
        above = np.isfinite(upper[at]) and limits.upper[at] > upper[at] + RANGE_SLACK_RAD
        if ranged[at] and (below or above):
            faults.append(
                f"joints.lower, joints.upper of {name}: got {limits.lower[at]:g}..{limits.upper[at]:g} rad, "
                f"expected within {lower[at]:g}..{upper[at]:g} rad"
            )
        stated = np.isfinite(velocity[at]) and velocity[at] > 0.0
        if stated and limits.velocity[at] > VELOCITY_SLACK * velocity[at]:
            faults.append(
                f"joints.velocity of {name}: got {limits.velocity[at]:g} rad/s in use, "
                f"expected at most {velocity[at]:g} rad/s"
            )
    away_m = float(np.linalg.norm(robot.workspace.nearest(tip_at_home) - tip_at_home))
    if not away_m <= PLACE_SLACK_M:
        box = robot.workspace
        walls = f" and {len(box.planes)} planes" if len(box.planes) else ""
        faults.append(
            f"home: got {robot.tip_frame} at {_place(tip_at_home)} m, expected inside the workspace {_place(box.lower)}.."
            f"{_place(box.upper)} m{walls}, which is {away_m:.3f} m away; correct home, workspace or tip_frame"
        )
    if faults:
        raise PreflightError(
            f"robot file {robot.name!r} does not fit the robot description. It is in rad, rad/s and m:\n  - "
            + "\n  - ".join(faults)
        )


def _place(point: FloatArray) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in point) + ")"
