"""Does this policy fit this robot? Asked once in `configure`, before any hardware is touched."""

from __future__ import annotations

from defi_models.contract import NS_PER_S, POSE_DIMS, PolicySpec, PreflightError, RobotSpec


def check_policy_fits_robot(
    policy: PolicySpec, robot: RobotSpec, *, rate_hz: float = 200.0, replan_s: float = 0.0, simulated: bool = True
) -> None:
    """Refuses a policy that cannot drive this robot, naming every mismatch at once.

    Args:
        policy: What the policy needs and gives.
        robot: What the robot is.
        rate_hz: Rate of the arm's command loop [Hz].
        replan_s: Shortest time between two chunks [s].
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
    if policy.uses_proprioception and not robot.tip_frame:
        faults.append("proprioception: got a policy that reads the tool's pose, expected a robot file with a tip_frame")
    command_ns = NS_PER_S / rate_hz
    if policy.step_ns < command_ns:
        faults.append(
            f"step: got targets every {policy.step_ns / 1e6:.2f} ms, "
            f"expected at least one command apart, {command_ns / 1e6:.2f} ms at {rate_hz:g} Hz"
        )
    lasts_s = policy.chunk_steps * policy.step_ns / NS_PER_S
    if replan_s > lasts_s:
        faults.append(
            f"chunk: got {policy.chunk_steps} targets that last {lasts_s:.2f} s, expected at least policy.replan_s, "
            f"{replan_s:.2f} s; between two chunks the arm would stop"
        )
    if policy.needs_scene and not simulated:
        faults.append(
            "scene: got a policy that reads the scene's ground truth, expected one that sees; it runs in simulation only"
        )
    if faults:
        raise PreflightError(
            f"policy {policy.name!r} ({policy.fingerprint}) does not fit robot {robot.name!r}:\n  - "
            + "\n  - ".join(faults)
        )
