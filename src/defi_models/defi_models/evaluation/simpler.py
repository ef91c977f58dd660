"""`defi eval simpler`: SimplerEnv's Google robot benchmark in its own simulator, where that is installed.

Facts from github.com/simpler-env/SimplerEnv and ManiSkill2_real2sim: 3 steps a second; an action is a translation in
the base frame, a rotation vector about the base's axes and a relative command of the gripper, 1 closes and -1 opens.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from defi_models.contract import NS_PER_S, FloatArray, Policy, Proprioception
from defi_models.evaluation.environment import Images, check_policy, follow
from defi_models.evaluation.interval import success_line
from defi_models.evaluation.simpler_plan import (
    AVERAGE,
    KINDS,
    TASKS,
    Setting,
    SimplerEpisode,
    averages,
    episodes,
    intervals,
    settings,
)
from defi_models.files import check_place, write_json
from defi_models.inference.load import SCRIPTED, load_policy, read_spec, resolve
from defi_models.options import check_at_least
from defi_sim.optional import needed

CONTROL_HZ, SIMULATION_HZ = 3, 513
STEP_NS = NS_PER_S // CONTROL_HZ
ARMS = ("google_robot",)
CAMERA, THEIR_CAMERA = "static", "overhead_camera"
CONTROL_MODE = (
    "arm_pd_ee_delta_pose_align_interpolate_by_planner_gripper_pd_joint_target_delta_pos_interpolate_by_planner"
)
CLOSED_RAD = 1.31  # a finger, fully closed
STICKY_STEPS = 15  # the Google robot's fingers need as long; the value of the benchmark's own wrappers
INSTALL = "install github.com/simpler-env/SimplerEnv with its ManiSkill2_real2sim (SAPIEN, a GPU with Vulkan)"


def delta_action(target: FloatArray, since: FloatArray) -> FloatArray:
    """The arm's part of an action, shape (6,): from one pose to another, both of shape (7,) in the base frame."""
    turn = Rotation.from_quat(target[3:]) * Rotation.from_quat(since[3:]).inv()
    return np.concatenate([target[:3] - since[:3], turn.as_rotvec()])


class StickyGripper:
    """Openings to the Google robot's relative command, which is repeated until the fingers have moved."""

    def __init__(self) -> None:
        self._opening: float | None = None
        self._command, self._repeats = 0.0, 0

    def command(self, opening: float) -> float:
        """The command for a wanted opening, 0 closed .. 1 open: positive closes."""
        change = 0.0 if self._opening is None else self._opening - opening
        self._opening = opening
        if abs(change) > 0.5 and self._repeats == 0:
            self._command, self._repeats = change, STICKY_STEPS
        if self._repeats == 0:
            return change
        self._repeats -= 1
        return self._command


def standing_quaternion(yaw_rad: float) -> tuple[float, float, float, float]:
    """How the robot stands, w, x, y, z: turned by half a turn and by `yaw_rad` about the vertical."""
    half = (math.pi + yaw_rad) / 2
    return math.cos(half), 0.0, 0.0, math.sin(half)


class Simpler:
    """One setting of SimplerEnv as a `StepEnvironment`.

    Args:
        setting: What to build.
        accumulates: Whether the policy's targets are steps added up; otherwise each action leads from where the arm is.

    Raises:
        ConfigError: SimplerEnv is not installed.
    """

    step_ns = STEP_NS

    def __init__(self, setting: Setting, *, accumulates: bool) -> None:
        package = needed("mani_skill2_real2sim", "SimplerEnv", INSTALL)
        needed("mani_skill2_real2sim.envs", "SimplerEnv", INSTALL)
        self._gym = needed("gymnasium", "SimplerEnv", INSTALL)
        self._photographs = Path(str(package.__file__)).parents[1] / "data" / "real_inpainting"
        self._setting, self._accumulates = setting, accumulates
        self._environment: Any = None
        self._seen: Any = None
        self._gripper = StickyGripper()
        self.success, self.over = False, False

    def reset(self, episode: SimplerEpisode) -> None:
        """Builds the scene of an episode and puts everything where it starts."""
        self.close()
        setting = self._setting
        overlay: dict[str, object] = {}
        if episode.overlay is not None:
            photograph = self._photographs / f"{episode.overlay}.png"
            overlay = {"rgb_overlay_path": str(photograph), "rgb_overlay_cameras": [THEIR_CAMERA]}
        self._environment = self._gym.make(
            setting.environment,
            obs_mode="rgbd",
            robot="google_robot_static",
            sim_freq=SIMULATION_HZ,
            control_mode=CONTROL_MODE,
            control_freq=CONTROL_HZ,
            max_episode_steps=setting.max_steps,
            scene_name=setting.scene,
            camera_cfgs={"add_segmentation": True},
            **setting.options,
            **overlay,
        )
        x, y, yaw = episode.robot
        where: dict[str, object] = {"episode_id": episode.object_episode}
        if episode.object_xy is not None:
            where = {"init_xy": np.array(episode.object_xy)}
        robot = {"init_xy": np.array([x, y]), "init_rot_quat": np.array(standing_quaternion(yaw))}
        self._seen, _ = self._environment.reset(options={"robot_init_options": robot, "obj_init_options": where})
        self._gripper, self.success, self.over = StickyGripper(), False, False

    def instruction(self) -> str:
        """What the environment asks for now."""
        return str(self._environment.unwrapped.get_language_instruction())

    def images(self) -> Images:
        """What the overhead camera sees."""
        return {CAMERA: np.asarray(self._seen["image"][THEIR_CAMERA]["rgb"], np.uint8)}

    def proprioception(self, time_ns: int) -> Proprioception:
        """Where the arm is, in the frame of the robot's base."""
        controllers = self._environment.unwrapped.agent.controller.controllers
        pose = controllers["arm"].ee_pose_at_base
        opening = 1.0 - float(np.mean(controllers["gripper"].qpos)) / CLOSED_RAD
        quaternion = np.asarray(pose.q, np.float64)[[1, 2, 3, 0]]
        ee_pose = np.concatenate([np.asarray(pose.p, np.float64), quaternion / np.linalg.norm(quaternion)])
        joints = np.asarray(controllers["arm"].qpos, np.float64)
        return Proprioception(time_ns, joints, ee_pose, float(np.clip(opening, 0.0, 1.0)))

    def step(self, target: FloatArray, gripper: float, before: FloatArray) -> None:
        """Commands one action; `success` then tells of this step alone, as the benchmark counts it."""
        since = before if self._accumulates else self.proprioception(0).ee_pose
        action = np.concatenate([delta_action(target, since), [self._gripper.command(gripper)]])
        self._seen, _, done, truncated, _ = self._environment.step(action)
        self.success, self.over = bool(done), bool(truncated)

    def close(self) -> None:
        """Gives the scene back; may be called twice."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None


def run_setting(setting: Setting, policy: Policy, *, accumulates: bool, horizon: int | None) -> list[bool]:
    """Success of a policy in each episode of one setting, at the episode's last step."""
    simulator, successes = Simpler(setting, accumulates=accumulates), []
    for episode in episodes(setting):
        simulator.reset(episode)
        follow(simulator, policy, simulator.instruction(), lambda: simulator.over, setting.max_steps, horizon)
        successes.append(simulator.success)
    simulator.close()
    return successes


class SimplerEvaluation:
    """Judges a policy on SimplerEnv."""

    help = "SimplerEnv's Google robot benchmark in its own simulator (needs SimplerEnv)"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--policy", required=True, help="a checkpoint folder")
        parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="which benchmarks")
        parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, help="which tasks")
        parser.add_argument("--horizon", type=int, default=None, help="steps of a chunk to carry out; default: all")
        parser.add_argument("--device", default="cpu", help="where the policy runs, as in cuda:0")
        parser.add_argument("--json", type=Path, default=None, help="where to write the figures")

    def run(self, args: argparse.Namespace) -> int:
        """Runs the episodes and prints success with its 95 % interval.

        Raises:
            CheckpointError: there is no such policy.
            ConfigError: SimplerEnv is not installed, or the policy does not fit it.
        """
        check_at_least(1, args, "horizon")
        check_place("--json", args.json)
        check_policy(read_spec(args.policy), ARMS, (CAMERA,), STEP_NS, "SimplerEnv")
        needed("mani_skill2_real2sim", "SimplerEnv", INSTALL)
        accumulates = args.policy != SCRIPTED and resolve(args.policy).config.action_encoding == "accumulated_pose"
        policy = load_policy(args.policy, device=args.device)
        report: dict[str, Any] = {"policy": args.policy, "seed": None, "arrangements": "fixed by the benchmark"}
        sys.stdout.write(f"policy {args.policy}  arrangements fixed by the benchmark, no seed\n")
        for kind in args.kinds:
            results: list[tuple[Setting, list[bool]]] = []
            wanted = [setting for setting in settings(kind) if setting.task in args.tasks]
            asked = sum(len(episodes(setting)) for setting in wanted)
            for setting in wanted:
                won = run_setting(setting, policy, accumulates=accumulates, horizon=args.horizon)
                results.append((setting, won))
                _say(setting.name, won)
                report[kind] = score_of(results) | {"asked": asked}
                write_json(args.json, report)
            for name, share in report[kind]["success"].items():
                low, high = report[kind]["interval_95"][name]
                sys.stdout.write(
                    f"{kind} {name}: {share:.1%} [{low:.1%}, {high:.1%}], {report[kind]['episodes'][name]} episodes\n"
                )
        return 0


def score_of(results: list[tuple[Setting, list[bool]]]) -> dict[str, Any]:
    """What `--json` writes of one kind, of the settings run so far."""
    counts = Counter({AVERAGE: sum(len(successes) for _, successes in results)})
    for setting, successes in results:
        counts[setting.task] += len(successes)
    return {
        "success": averages(results),
        "interval_95": intervals(results),
        "episodes": dict(counts),
        "settings": {setting.name: successes for setting, successes in results},
    }


def _say(name: str, successes: list[bool]) -> None:
    sys.stdout.write(success_line(name, sum(successes), len(successes)))
    sys.stdout.flush()
