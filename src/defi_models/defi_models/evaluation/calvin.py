"""`defi eval calvin`: the long-horizon benchmark of CALVIN in its own simulator, where that is installed.

Protocol and scales from github.com/mees/calvin and mees/calvin_env: 30 steps a second, relative Cartesian actions of
0.02 m and 0.05 rad at most, Euler angles about fixed axes, 360 steps a task (some report 720).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from defi_models.contract import NS_PER_S, ConfigError, FloatArray, Policy, Proprioception
from defi_models.evaluation.calvin_chains import (
    CHAINS,
    ROBOT_START,
    CalvinChain,
    State,
    draw_chains,
    scene_start,
)
from defi_models.evaluation.calvin_tasks import RULES, SENTENCES
from defi_models.evaluation.environment import Images, check_policy, follow
from defi_models.evaluation.score import ChainRun, ChainScore, print_score
from defi_models.files import check_place, write_json
from defi_models.inference.load import SCRIPTED, load_policy, read_spec, resolve
from defi_models.options import check_at_least
from defi_sim.optional import needed

STEPS_PER_TASK = 360
STEP_NS = round(NS_PER_S / 30)
MAX_MOVE_M, MAX_TURN_RAD = 0.02, 0.05  # of an action of 1
MAX_OPENING_M = 0.08
ARMS = ("calvin_panda",)
CAMERAS: Mapping[str, str] = {"static": "rgb_static", "wrist": "rgb_gripper"}
INSTALL = (
    "install github.com/mees/calvin_env (PyBullet, hydra-core) into this Python environment, and give the folder of a "
    "data set, as in task_ABC_D, with --dataset"
)


def relative_action(target: FloatArray, gripper: float, since: FloatArray) -> FloatArray:
    """CALVIN's relative action, shape (7,), that leads from one target to the next.

    Args:
        target: Pose to reach, shape (7,).
        gripper: Opening 0..1; CALVIN knows open (1) and closed (-1) only.
        since: Pose the simulator adds the action to, shape (7,).
    """
    angles = [Rotation.from_quat(pose[3:]).as_euler("xyz") for pose in (target, since)]
    turn = np.array([math.remainder(angle, math.tau) for angle in angles[0] - angles[1]])
    move = (target[:3] - since[:3]) / MAX_MOVE_M
    return np.concatenate([move, turn / MAX_TURN_RAD, [1.0 if gripper > 0.5 else -1.0]])


def tip_pose(robot_obs: FloatArray) -> FloatArray:
    """The pose, shape (7,), of the tool centre point in CALVIN's `robot_obs`, shape (15,)."""
    return np.concatenate([robot_obs[:3], Rotation.from_euler("xyz", robot_obs[3:6]).as_quat()])


class Calvin:
    """CALVIN's play table as a `StepEnvironment`.

    Args:
        dataset: Folder of a CALVIN data set; its validation part describes the scene.
        accumulates: Whether the policy's targets are steps added up, as CALVIN's relative actions are; otherwise they
            are poses, and each action leads to the pose from where the simulator's own target is.

    Raises:
        ConfigError: CALVIN is not installed, or the folder is no CALVIN data set.
    """

    step_ns = STEP_NS

    def __init__(self, dataset: Path, *, accumulates: bool) -> None:
        needed("calvin_env", "CALVIN", INSTALL)
        table = needed("calvin_env.envs.play_table_env", "CALVIN", INSTALL)
        tasks = needed("calvin_env.envs.tasks", "CALVIN", INSTALL)
        if not (dataset / "validation" / ".hydra" / "merged_config.yaml").is_file():
            raise ConfigError(
                f"--dataset: got {dataset}, expected the folder of a CALVIN data set, with validation/.hydra/merged_config.yaml"
            )
        self._environment: Any = table.get_env(dataset / "validation", show_gui=False)
        self._oracle: Any = tasks.Tasks({name: list(rule) for name, rule in RULES.items()})
        self._accumulates = accumulates
        self._begin: Any = None
        self._seen: Mapping[str, Any] = {}
        self._target = tip_pose(ROBOT_START)

    def reset(self, start: State) -> None:
        """Puts robot and scene where a chain starts."""
        self._seen = self._environment.reset(robot_obs=np.array(ROBOT_START), scene_obs=scene_start(start))
        self._target = tip_pose(np.asarray(self._seen["robot_obs"]))

    def begin(self) -> None:
        """Remembers the scene, against which the next task is judged."""
        self._begin = self._environment.get_info()

    def done(self, task: str) -> bool:
        """Whether a task has been done since `begin`."""
        return bool(self._oracle.get_task_info_for_set(self._begin, self._environment.get_info(), {task}))

    def images(self) -> Images:
        """What the cameras see."""
        return {name: np.asarray(self._seen["rgb_obs"][theirs], np.uint8) for name, theirs in CAMERAS.items()}

    def proprioception(self, time_ns: int) -> Proprioception:
        """Where the arm is, in the frame of the play table."""
        robot = np.asarray(self._seen["robot_obs"], np.float64)
        opening = float(np.clip(robot[6] / MAX_OPENING_M, 0.0, 1.0))
        return Proprioception(time_ns, robot[7:14], tip_pose(robot), opening)

    def step(self, target: FloatArray, gripper: float, before: FloatArray) -> None:
        """Commands one relative action."""
        action = relative_action(target, gripper, before if self._accumulates else self._target)
        self._seen, _, _, _ = self._environment.step(action)
        self._target = np.array(target)


def run_chain(
    table: Calvin, policy: Policy, chain: CalvinChain, index: int, steps: int, horizon: int | None
) -> ChainRun:
    """Lets a policy do the tasks of one chain until one fails."""
    began, took = time.perf_counter(), []
    table.reset(chain.start)
    for task in chain.tasks:
        table.begin()
        needed_steps = follow(table, policy, SENTENCES[task], lambda task=task: table.done(task), steps, horizon)
        if needed_steps is None:
            break
        took.append(needed_steps)
    return ChainRun(index, chain.tasks, tuple(took), time.perf_counter() - began)


class CalvinEvaluation:
    """Judges a policy on CALVIN."""

    help = "CALVIN's long-horizon benchmark in its own simulator (needs calvin_env)"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--policy", required=True, help="a checkpoint folder")
        parser.add_argument("--dataset", type=Path, required=True, help="folder of a CALVIN data set, as in task_ABC_D")
        parser.add_argument("--chains", type=int, default=CHAINS, help="how many of the benchmark's chains")
        parser.add_argument("--steps", type=int, default=STEPS_PER_TASK, help="for one task; 360, some report 720")
        parser.add_argument("--horizon", type=int, default=None, help="steps of a chunk to carry out; default: all")
        parser.add_argument("--device", default="cpu", help="where the policy runs, as in cuda:0")
        parser.add_argument("--json", type=Path, default=None, help="where to write the score")

    def run(self, args: argparse.Namespace) -> int:
        """Runs the chains and prints the table.

        Raises:
            CheckpointError: there is no such policy.
            ConfigError: CALVIN is not installed, the policy does not fit it, or a number is out of range.
        """
        check_at_least(1, args, "chains", "steps", "horizon")
        check_place("--json", args.json)
        check_policy(read_spec(args.policy), ARMS, tuple(CAMERAS), STEP_NS, "CALVIN")
        accumulates = args.policy != SCRIPTED and resolve(args.policy).config.action_encoding == "accumulated_pose"
        table = Calvin(args.dataset, accumulates=accumulates)
        policy = load_policy(args.policy, device=args.device)
        facts = {"asked": args.chains, "policy": args.policy, "steps_per_task": args.steps}
        runs: list[ChainRun] = []
        try:
            for index, chain in enumerate(draw_chains()[: args.chains]):
                runs.append(run_chain(table, policy, chain, index, args.steps, args.horizon))
                score = ChainScore(runs)
                sys.stdout.write(
                    f"chain {index}: {runs[-1].length}/5; average {score.average_length:.3f} of {len(runs)}\n"
                )
                sys.stdout.flush()
                write_json(args.json, score.to_mapping(0) | facts)
        finally:  # also of those that were done before Ctrl-C
            if runs:
                labels = {"policy": args.policy, "steps a task": str(args.steps), "seed": "0 (CALVIN's)"}
                print_score(ChainScore(runs), labels)
        return 0
