"""Pose <-> joints of one arm, on Pinocchio; knows nothing of time, speed or who asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pinocchio as pin

from defi_models.contract import ConfigError, FloatArray, JointLimits

POSITION_TOLERANCE_M = 1e-5
ANGLE_TOLERANCE_RAD = 1e-4
# One iteration moves at most this far, so that the linearisation holds (tried on the Panda: 0.2 m still converges
# from any seed of the workspace, 0.5 m does not).
MAX_STEP_M = 0.2
MAX_STEP_RAD = 0.5
# Damping grows with the error (Sugihara 2011, "Solvability-unconcerned inverse kinematics"); the floor keeps the
# solution bounded in a singular posture.
DAMPING_FLOOR = 1e-7
DAMPING_GAIN = 1e-2
STALLED_ITERATIONS = 6


@dataclass(frozen=True, slots=True)
class Solution:
    """Joints for a pose.

    Attributes:
        q: Joint positions, shape (joints,) [rad]; the best found, always within the joint limits.
        reached: Whether the pose is reached within 0.01 mm and 0.1 mrad.
        reason: Why not; empty when reached.
    """

    q: FloatArray
    reached: bool
    reason: str


class Kinematics:
    """Forward and inverse kinematics of the joints named, seen from the base of the robot description.

    Not thread-safe: Pinocchio's work space is shared by all calls.
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
        self._model_q = pin.neutral(model)

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
        return self._descend(target, np.clip(q, self._lower, self._upper), posture, posture_gain, max_iterations)

    def _descend(
        self, target: FloatArray, q: FloatArray, posture: npt.ArrayLike | None, posture_gain: float, max_iterations: int
    ) -> Solution:
        position = target[:3]
        rotation = pin.Quaternion(target[3:] / np.linalg.norm(target[3:])).toRotationMatrix()
        if posture is not None:
            jacobian, error = self._linearised(q, position, rotation)
            q = self._step(jacobian, error, q, posture_gain * (np.asarray(posture) - q))
        best_q, best_error, best_norm, stalled = q, np.zeros(6), np.inf, 0
        for iteration in range(max_iterations):
            jacobian, error = self._linearised(q, position, rotation)
            norm = float(error @ error)
            stalled = 0 if norm < 0.99 * best_norm else stalled + 1
            if norm < best_norm:
                best_q, best_error, best_norm = q, error, norm
            if _within(error) or stalled >= STALLED_ITERATIONS or iteration == max_iterations - 1:
                break
            q = self._step(jacobian, error, q)
        if _within(best_error):
            return Solution(best_q, True, "")
        return Solution(best_q, False, self._why(target, best_q, best_error))

    def _step(
        self, jacobian: FloatArray, error: FloatArray, q: FloatArray, pull: FloatArray | None = None
    ) -> FloatArray:
        """One damped step, shape (joints,); joints that would leave their range are frozen and the rest solve again."""
        wanted = _clipped(error)
        damping = DAMPING_FLOOR + DAMPING_GAIN * float(wanted @ wanted)
        free = np.ones(len(q), dtype=bool)
        following = q
        for _ in range(3):
            columns = jacobian * free
            own = np.zeros(len(q)) if pull is None else pull * free
            square = columns @ columns.T
            square.flat[::7] += damping
            step = own + columns.T @ np.linalg.solve(square, wanted - columns @ own)
            following = q + step
            outside = free & ((following < self._lower) | (following > self._upper))
            if not outside.any():
                break
            free &= ~outside
        return np.minimum(np.maximum(following, self._lower), self._upper)

    def _jacobian(self) -> FloatArray:
        jacobian = pin.computeFrameJacobian(
            self._model, self._data, self._model_q, self._tip, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        return jacobian[:, self._order]

    def _linearised(self, q: FloatArray, position: FloatArray, rotation: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The Jacobian at q, shape (6, joints), and the twist that leads from there to the target, shape (6,)."""
        self._model_q[self._order] = q
        jacobian = self._jacobian()
        placement = pin.updateFramePlacement(self._model, self._data, self._tip)
        linear = position - placement.translation
        return jacobian, np.concatenate([linear, pin.log3(rotation @ placement.rotation.T)])

    def _why(self, target: FloatArray, q: FloatArray, error: FloatArray) -> str:
        stuck = (q <= self._lower + 1e-6) | (q >= self._upper - 1e-6)
        at_limit = [name for name, at in zip(self.joint_names, stuck, strict=True) if at]
        where = ", ".join(f"{value:.3f}" for value in target[:3])
        cause = f"{', '.join(at_limit)} at the limit" if at_limit else "out of reach or singular"
        return (
            f"pose at ({where}) m not reached: {np.linalg.norm(error[:3]) * 1e3:.1f} mm "
            f"and {np.linalg.norm(error[3:]):.3f} rad away ({cause})"
        )


def _parse(urdf_xml: str) -> pin.Model:
    if "<robot" not in urdf_xml:
        raise ConfigError(
            f"robot description: got a text of {len(urdf_xml)} characters without <robot>, expected a URDF"
        )
    try:
        return pin.buildModelFromXML(urdf_xml)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"robot description: got a text that is no URDF ({error}), expected a URDF") from error


def _within(error: FloatArray) -> bool:
    return bool(error[:3] @ error[:3] <= POSITION_TOLERANCE_M**2 and error[3:] @ error[3:] <= ANGLE_TOLERANCE_RAD**2)


def _clipped(error: FloatArray) -> FloatArray:
    linear, angular = float(np.sqrt(error[:3] @ error[:3])), float(np.sqrt(error[3:] @ error[3:]))
    clipped = error.copy()
    if linear > MAX_STEP_M:
        clipped[:3] *= MAX_STEP_M / linear
    if angular > MAX_STEP_RAD:
        clipped[3:] *= MAX_STEP_RAD / angular
    return clipped
