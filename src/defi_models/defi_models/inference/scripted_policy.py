"""The simulator's scripted experts as a `Policy`: the same graph, with ground truth where a model would imagine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defi_models.contract import (
    NS_PER_S,
    ActionChunk,
    ContractError,
    FloatArray,
    Imagination,
    Observation,
    PolicySpec,
    Promised,
    Proprioception,
)
from defi_sim.experts import plan
from defi_sim.state import LAYOUT, SceneState
from defi_sim.tasks import task_for
from defi_sim.trajectory import Trajectory

SCENE_WIDTH = sum(LAYOUT.values())
SCRIPTED_SPEC = PolicySpec(
    name="scripted",
    fingerprint="scripted",
    arm="franka_panda",
    cameras=("static", "wrist"),
    image_size=(128, 128),
    space="ee_pose",
    chunk_steps=10,
    step_ns=100_000_000,
    feature_shape=(SCENE_WIDTH,),
    needs_scene=True,
)
NEW_PLAN_AFTER_S = 1.0  # asked nothing for so long, or still asked so long after the plan's end: plan again
KEEPING_UP_M = 0.06  # the plan's clock waits while the arm is farther than this from where it should be


@dataclass(frozen=True)
class Progress:
    """Where a plan stands.

    Attributes:
        instruction: What it is for.
        trajectory: The plan.
        time_s: Time along it.
        asked_ns: When it was asked last.
    """

    instruction: str
    trajectory: Trajectory
    time_s: float
    asked_ns: int


class ScriptedPolicy:
    """Plans once from the true scene, then serves chunks of the plan; plans again when the task is not done at its end."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._progress: Progress | None = None

    @property
    def spec(self) -> PolicySpec:
        """What this policy needs and gives."""
        return SCRIPTED_SPEC

    def imagine(self, observation: Observation) -> Imagination:
        """Hands the true scene on as features.

        Raises:
            ContractError: the observation has no scene.
        """
        if observation.scene is None:
            raise ContractError(
                "observation: got no scene, expected the simulator's ground truth; the scripted policy runs with --sim only"
            )
        start = time.perf_counter()
        numbers = list(SceneState.from_mapping(observation.scene).to_mapping().values())
        return Imagination(
            time_ns=observation.time_ns,
            instruction=observation.instruction,
            policy=SCRIPTED_SPEC.fingerprint,
            features=np.array(numbers, dtype=np.float32),
            inference_ms=(time.perf_counter() - start) * 1e3,
        )

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        """The next second of the plan, seen from where the arm is; a plan goes on from what was promised by itself.

        Raises:
            ContractError: the imagination was made by another policy.
            TaskError: no task matches the instruction.
        """
        if imagination.policy != SCRIPTED_SPEC.fingerprint:
            raise ContractError(f"imagination: made by {imagination.policy}, expected {SCRIPTED_SPEC.fingerprint}")
        start = time.perf_counter()
        progress = self._advance(imagination, proprioception)
        self._progress = progress
        times = progress.time_s + np.arange(SCRIPTED_SPEC.chunk_steps) * SCRIPTED_SPEC.step_ns / NS_PER_S
        samples = [progress.trajectory.sample(float(t)) for t in times]
        return ActionChunk(
            start_ns=imagination.time_ns,
            step_ns=SCRIPTED_SPEC.step_ns,
            space="ee_pose",
            targets=np.stack([pose for pose, _ in samples]),
            gripper=np.array([opening for _, opening in samples]),
            arm=SCRIPTED_SPEC.arm,
            instruction=imagination.instruction,
            imagination_ms=imagination.inference_ms,
            inference_ms=(time.perf_counter() - start) * 1e3,
        )

    def watch(self, imagination: Imagination) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Nothing: it imagines no frames."""
        return {}

    def _advance(self, imagination: Imagination, proprioception: Proprioception) -> Progress:
        now_ns, old = imagination.time_ns, self._progress
        if old is None or old.instruction != imagination.instruction:
            return self._plan(imagination, proprioception)
        passed_s = (now_ns - old.asked_ns) / NS_PER_S
        over_s = old.time_s - old.trajectory.duration_s
        if not 0 <= passed_s <= NEW_PLAN_AFTER_S or over_s > NEW_PLAN_AFTER_S:
            return self._plan(imagination, proprioception)
        # The arm may also be ahead, by what it still does of the last chunk: that is no reason to wait.
        times = old.time_s + np.arange(0.0, passed_s + NEW_PLAN_AFTER_S, 0.02)
        near = [t for t in times if _distance(old.trajectory, float(t), proprioception.ee_pose) <= KEEPING_UP_M]
        time_s = min(old.time_s + passed_s, float(max(near, default=old.time_s)))
        return Progress(old.instruction, old.trajectory, time_s, now_ns)

    def _plan(self, imagination: Imagination, proprioception: Proprioception) -> Progress:
        numbers = np.split(imagination.features.astype(np.float64), np.cumsum(list(LAYOUT.values()))[:-1])
        scene = SceneState(dict(zip(LAYOUT, numbers, strict=True)))
        task = task_for(imagination.instruction)
        trajectory = plan(task, scene, proprioception.ee_pose, proprioception.gripper, self._rng)
        return Progress(imagination.instruction, trajectory, 0.0, imagination.time_ns)


def _distance(trajectory: Trajectory, time_s: float, ee_pose: FloatArray) -> float:
    return float(np.linalg.norm(trajectory.sample(time_s)[0][:3] - ee_pose[:3]))
