"""Does this policy fit this robot? Asked once in `configure`, before any hardware is touched."""

from __future__ import annotations

from defi_models.contract import NS_PER_S, POSE_DIMS, PolicySpec, PreflightError, RobotSpec


def check_policy_fits_robot(
    policy: PolicySpec, robot: RobotSpec, *, rate_hz: float = 200.0, simulated: bool = True
) -> None:
    """Refuses a policy that cannot drive this robot, naming every mismatch at once.

    Args:
        policy: What the policy needs and gives.
        robot: What the robot is.
        rate_hz: Rate of the arm's command loop [Hz].
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
    command_ns = NS_PER_S / rate_hz
    if policy.step_ns < command_ns:
        faults.append(
            f"step: got targets every {policy.step_ns / 1e6:.2f} ms, "
            f"expected at least one command apart, {command_ns / 1e6:.2f} ms at {rate_hz:g} Hz"
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
