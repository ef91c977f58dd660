"""Pose <-> joints of one arm, on Pinocchio; knows nothing of time, speed or who asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pinocchio as pin

from defi_models.contract import ConfigError, FloatArray, JointLimits
from defi_ros.control.descent import Descent, Solution
from defi_ros.control.place_first import PlaceFirst

# An arm with fewer joints meets a pose in general by its place alone.
JOINTS_FOR_ANY_POSE = 6


@dataclass(frozen=True, slots=True)
class DescribedLimits:
    """What the robot description itself says of the joints, whatever the robot file says; read-only.

    Attributes:
        lower: Lowest position, shape (joints,) [rad].
        upper: Highest position, shape (joints,) [rad].
        velocity: Fastest, shape (joints,) [rad/s].
    """

    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray

    def __post_init__(self) -> None:
        for field in fields(self):  # not `frozen_array`: what a description leaves out may be infinite
            array = np.array(getattr(self, field.name), dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, field.name, array)


class Kinematics:
    """Forward and inverse kinematics of the joints named, seen from the base of the robot description.

    Not thread-safe: Pinocchio's work space is shared by all calls.

    Attributes:
        joint_names: The joints, in the order of every joint array.
        place_first: What an arm with fewer than six joints can do of a pose; None with six joints or more.
        described_limits: What the robot description says of the joints.
    """

    def __init__(
        self, urdf_xml: str, joint_names: Sequence[str], tip_frame: str, limits: JointLimits | None = None
    ) -> None:
        """Parses a robot description; joints not named are locked at zero.

        Args:
            urdf_xml: The text of the URDF; meshes are not read.
            joint_names: Movable joints, in the order of every joint array.
            tip_frame: Frame of the tool centre point.
            limits: Position limits to use instead of those of the description.

        Raises:
            ConfigError: the text is no URDF, or it lacks a joint or the frame.
        """
        full = _parse(urdf_xml)
        names = [str(name) for name in full.names]
        missing = [name for name in joint_names if name not in names]
        if missing:
            raise ConfigError(
                f"robot description: got no joint {missing[0]!r}, expected all of {list(joint_names)}. "
                f"It has {names[1:]}. Check `joints.names` in the robot file."
            )
        locked = [full.getJointId(name) for name in names[1:] if name not in joint_names]
        model = pin.buildReducedModel(full, locked, pin.neutral(full))
        if not model.existFrame(tip_frame):
            raise ConfigError(
                f"robot description: got no frame {tip_frame!r}, expected the tool centre point. "
                f"It has {[frame.name for frame in model.frames][1:]}. Check `tip_frame` in the robot file."
            )
        if model.nq != len(joint_names):
            raise ConfigError(
                f"robot description: got {model.nq} numbers for {len(joint_names)} joints {list(joint_names)}, "
                "expected one each. Give continuous joints limits (type revolute)."
            )
        self.joint_names = tuple(joint_names)
        self._model = model
        self._data = model.createData()
        self._tip = model.getFrameId(tip_frame)
        self._order = np.array([model.joints[model.getJointId(name)].idx_q for name in joint_names])
        self._lower = np.array(model.lowerPositionLimit[self._order] if limits is None else limits.lower)
        self._upper = np.array(model.upperPositionLimit[self._order] if limits is None else limits.upper)
        arm = (self.linearised, self.joint_names, self._lower, self._upper)
        self.place_first = PlaceFirst(*arm) if len(self.joint_names) < JOINTS_FOR_ANY_POSE else None
        self._descent = self.place_first or Descent(*arm)
        self._model_q = pin.neutral(model)
        speeds = [model.joints[model.getJointId(name)].idx_v for name in joint_names]
        self.described_limits = DescribedLimits(
            model.lowerPositionLimit[self._order], model.upperPositionLimit[self._order], model.velocityLimit[speeds]
        )

    def forward(self, q: npt.ArrayLike) -> FloatArray:
        """The pose of the tool centre point in the base frame, shape (7,), for joints q, shape (joints,) [rad]."""
        self._model_q[self._order] = q
        pin.framesForwardKinematics(self._model, self._data, self._model_q)
        return np.asarray(pin.SE3ToXYZQUAT(self._data.oMf[self._tip]), dtype=np.float64)

    def tip(self, q: npt.ArrayLike) -> FloatArray:
        """Where the tool centre point is, shape (3,) [m]; half the work of `forward`."""
        self._model_q[self._order] = q
        pin.forwardKinematics(self._model, self._data, self._model_q)
        return np.array(pin.updateFramePlacement(self._model, self._data, self._tip).translation)

    def jacobian(self, q: npt.ArrayLike) -> FloatArray:
        """d(tip twist)/d(joint velocity), shape (6, joints): linear rows, then angular, in axes of the base frame."""
        self._model_q[self._order] = q
        return self._jacobian()

    def inverse(
        self,
        pose: npt.ArrayLike,
        seed: npt.ArrayLike,
        posture: npt.ArrayLike | None = None,
        *,
        posture_gain: float = 0.01,
        max_iterations: int = 60,
    ) -> Solution:
        """Joints that bring the tool centre point to `pose`, by damped least squares from `seed`.

        Args:
            pose: Wanted pose in the base frame, shape (7,).
            seed: Joints to start from, shape (joints,) [rad].
            posture: Joints to lean to where the pose leaves freedom, shape (joints,) [rad].
            posture_gain: Part of the way to `posture` taken in one call, 0..1.
            max_iterations: Bound on the work; one iteration takes about 0.04 ms.

        Returns:
            The solution; when the pose is out of reach, the closest joints found and the reason.
        """
        target = np.asarray(pose, dtype=np.float64)
        q = np.array(seed, dtype=np.float64)
        if target.shape != (7,) or q.shape != self._order.shape:
            raise ConfigError(
                f"inverse: got a pose of shape {target.shape} and a seed of shape {q.shape}, "
                f"expected (7,) and {self._order.shape}"
            )
        if not np.isfinite(target).all() or not np.isfinite(q).all():
            return Solution(np.clip(np.nan_to_num(q), self._lower, self._upper), False, "pose or seed is not finite")
        return self._descent.descend(
            target, np.clip(q, self._lower, self._upper), posture, posture_gain, max_iterations
        )

    def linearised(self, q: FloatArray, position: FloatArray, rotation: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The Jacobian at q, shape (6, joints), and the twist that leads from there to the target, shape (6,)."""
        self._model_q[self._order] = q
        jacobian = self._jacobian()
        placement = pin.updateFramePlacement(self._model, self._data, self._tip)
        linear = position - placement.translation
        return jacobian, np.concatenate([linear, pin.log3(rotation @ placement.rotation.T)])

    def _jacobian(self) -> FloatArray:
        jacobian = pin.computeFrameJacobian(
            self._model, self._data, self._model_q, self._tip, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        return jacobian[:, self._order]


def _parse(urdf_xml: str) -> pin.Model:
    if "<robot" not in urdf_xml:
        raise ConfigError(
            f"robot description: got a text of {len(urdf_xml)} characters without <robot>, expected a URDF"
        )
    try:
        return pin.buildModelFromXML(urdf_xml)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"robot description: got a text that is no URDF ({error}), expected a URDF") from error
