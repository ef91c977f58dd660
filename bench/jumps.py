"""How near its limits the tool centre point comes when the poses that are asked for jump about.

    python bench/jumps.py --trials 60

The arm bridge's core drives an arm that follows with a lag; every 0.4 s another chunk of poses up to 0.26 m away begins,
of which a third stand still, a third move at up to the tip's limit and a third jump at every step. Printed are speed,
acceleration and jerk of the commanded tip in parts of the robot file's limits: the medians of the trials' largest, and
the largest of all. Joints have limits of their own: where these make them lag, the tip catches up as they can.
"""

from __future__ import annotations

import argparse

import numpy as np

from defi_models.contract import NS_PER_S, ActionChunk
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.kinematics import Kinematics
from defi_ros.robot import RobotFile, load_robot
from defi_sim.description import robot_description

KINDS = ("standing", "moving", "jumping")
CHUNKS, CHUNK_S, ROWS, ROW_NS, REACH_M, JUMP_M = 6, 0.4, 20, NS_PER_S // 20, 0.15, 0.1


def rows(kind: str, home: np.ndarray, top_m_s: float, rng: np.random.Generator) -> np.ndarray:
    """Poses of one chunk, shape (ROWS, 7)."""
    poses = np.tile(home, (ROWS, 1))
    poses[:, :3] += rng.uniform(-REACH_M, REACH_M, 3)
    if kind == "moving":
        direction = rng.normal(size=3)
        velocity = direction * rng.uniform(0.1, 1.0) * top_m_s / np.linalg.norm(direction)
        poses[:, :3] += velocity * (ROW_NS / NS_PER_S) * np.arange(ROWS)[:, None]
    elif kind == "jumping":
        poses[:, :3] += rng.uniform(-JUMP_M, JUMP_M, (ROWS, 3))
    return poses


def trial(robot: RobotFile, kinematics: Kinematics, kind: str, seed: int) -> list[float]:
    """The largest speed [m/s], acceleration [m/s^2] and jerk [m/s^3] of the commanded tip.

    Raises:
        RuntimeError: a command left a limit of the joints or the tip's speed.
    """
    spec, rng = robot.spec, np.random.default_rng(seed)
    core = ArmCore(spec, robot.control, robot.gripper, kinematics)
    period_ns = round(NS_PER_S / robot.control.rate_hz)
    now_ns, measured, tips = NS_PER_S, spec.home.copy(), []
    home = kinematics.forward(measured)
    command = core.tick(now_ns)
    while command.positions is None:  # it is looked for
        now_ns += period_ns
        core.on_state(now_ns, measured, now_ns, 1.0)
        command = core.tick(now_ns)
    core.request(Mode.POLICY, "jumps", now_ns)
    begun_ns = now_ns
    for _ in range(round((CHUNKS + 1) * CHUNK_S * NS_PER_S / period_ns)):
        now_ns += period_ns
        core.on_state(now_ns, measured, now_ns, 1.0)
        if (now_ns - begun_ns) % round(CHUNK_S * NS_PER_S) < period_ns:
            poses = rows(kind, home, spec.workspace.velocity_m_s, rng)
            refused = core.on_chunk(ActionChunk(now_ns, ROW_NS, "ee_pose", poses, np.ones(ROWS), spec.arm), now_ns)
            if refused:
                raise RuntimeError(refused)
        command = core.tick(now_ns)
        assert command.positions is not None
        measured = measured + 0.3 * (command.positions - measured)
        tips.append(kinematics.tip(command.positions))
    if core.limit_violations:
        raise RuntimeError(core.monitor.last)
    period_s = period_ns / NS_PER_S
    return [np.linalg.norm(np.diff(tips, n, axis=0), axis=1).max() / period_s**n for n in (1, 2, 3)]


def main() -> None:
    """Prints one line a kind of target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    robot = load_robot("franka")
    box = robot.spec.workspace
    kinematics = Kinematics(robot_description(), robot.spec.joint_names, robot.spec.tip_frame, robot.spec.limits)
    limits = np.array([box.velocity_m_s, box.acceleration_m_s2, box.jerk_m_s3])
    print(f"limits of the tip: {limits[0]:g} m/s, {limits[1]:g} m/s^2, {limits[2]:g} m/s^3; parts of them:")
    print(f"{'targets':10} {'speed':>14} {'acceleration':>14} {'jerk':>14}   median, largest")
    for number, kind in enumerate(KINDS):
        found = np.array(
            [
                trial(robot, kinematics, kind, arguments.seed + number * arguments.trials + index) / limits
                for index in range(arguments.trials)
            ]
        )
        shown = " ".join(
            f"{middle:7.2f} {most:6.2f}" for middle, most in zip(np.median(found, 0), found.max(0), strict=True)
        )
        print(f"{kind:10} {shown}")


if __name__ == "__main__":
    main()
