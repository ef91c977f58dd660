"""Simulators of others that are stepped: one protocol, and a policy following an instruction in one of them.

Such a simulator waits while the policy thinks, as the published figures of CALVIN, SimplerEnv and Meta-World assume;
for a policy that is served late, as on a robot, see `defi_models.evaluation.rollout`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from defi_models.contract import ConfigError, FloatArray, Observation, Policy, PolicySpec, Proprioception

Images = Mapping[str, npt.NDArray[np.uint8]]


class StepEnvironment(Protocol):
    """A simulated arm and its cameras, stepped by absolute targets of the tool centre point."""

    @property
    def step_ns(self) -> int:
        """Length of a step [ns]."""
        ...

    def images(self) -> Images:
        """What its cameras see now: name -> uint8 RGB, (H, W, 3)."""
        ...

    def proprioception(self, time_ns: int) -> Proprioception:
        """Where its arm is now."""
        ...

    def step(self, target: FloatArray, gripper: float, before: FloatArray) -> None:
        """Commands one step.

        Args:
            target: Pose the tool centre point shall have, shape (7,).
            gripper: Opening, 0 closed .. 1 open.
            before: The chunk's target before this one, or the pose it was inferred from; shape (7,).
        """
        ...


def follow(
    environment: StepEnvironment,
    policy: Policy,
    instruction: str,
    done: Callable[[], bool],
    steps: int,
    horizon: int | None = None,
) -> int | None:
    """Lets a policy follow an instruction until `done`, asked after every step.

    Row k of a chunk is what the arm was told k steps after the observation; so the first row is commanded first.

    Args:
        environment: Where, already reset.
        policy: Whom to let drive.
        instruction: What the policy is told.
        done: Whether that has been done.
        steps: How many steps it may take.
        horizon: Steps of a chunk that are carried out; if absent as many as the policy wants, else all of them.

    Returns:
        The steps it took, or None when they did not suffice.
    """
    left = 0
    for step in range(steps):
        if left == 0:
            time_ns = step * environment.step_ns
            imagination = policy.imagine(Observation(time_ns, environment.images(), instruction))
            proprioception = environment.proprioception(time_ns)
            chunk = policy.act(imagination, proprioception)
            before = proprioception.ee_pose
            wanted = horizon or policy.spec.horizon_steps or len(chunk.targets)
            left = row_count = min(wanted, len(chunk.targets))
        row = row_count - left
        environment.step(chunk.targets[row], float(chunk.gripper[row]), before)
        before, left = chunk.targets[row], left - 1
        if done():
            return step + 1
    return None


def check_policy(spec: PolicySpec, arms: Sequence[str], cameras: Sequence[str], step_ns: int, where: str) -> None:
    """Refuses a policy that an environment cannot serve.

    Args:
        spec: Of the policy.
        arms: Names that the environment's arm goes by.
        cameras: That it has.
        step_ns: Length of its step [ns].
        where: Its name.

    Raises:
        ConfigError: it is for another arm, commands joints, looks through another camera, has another step, or needs our own scene.
    """
    missing = sorted(set(spec.cameras) - set(cameras))
    if missing:
        raise ConfigError(f"policy {spec.name!r}: looks through {missing}, but {where} has {list(cameras)}")
    if spec.space != "ee_pose" or spec.needs_scene:
        raise ConfigError(
            f"policy {spec.name!r}: got space {spec.space!r}{' and a need of our scene' * spec.needs_scene}, "
            f"but {where} takes poses of the tool centre point, inferred from images"
        )
    if spec.arm not in ("any", *arms):
        raise ConfigError(
            f"policy {spec.name!r}: got one for arm {spec.arm!r}, but {where} has a {arms[0]!r}; if it was trained on data of "
            f'that arm, say so in its checkpoint.json ("arm": "{arms[0]}") and next time with `defi train --arm`'
        )
    if abs(spec.step_ns - step_ns) > 0.02 * step_ns:
        raise ConfigError(
            f"policy {spec.name!r}: got a step of {spec.step_ns / 1e6:.1f} ms, but one of {where} takes "
            f"{step_ns / 1e6:.1f} ms; train it on data of that rate"
        )
