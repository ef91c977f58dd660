"""Pose <-> joints of one arm, on Pinocchio; knows nothing of time, speed or who asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

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
# An arm with fewer joints meets a pose in general by its place alone.
JOINTS_FOR_ANY_POSE = 6
# Turning comes to an end where a posture cannot be bent further with the tip in its place. There the damping of a turn
# must grow with what is left of it, not with its square, or the joints jump to and fro (tried on the SO-101: by 0.1 rad).
TURN_DAMPING_GAIN = 1.0
TURN_DAMPING_FLOOR = 1e-5
# A turn smaller than this is rounding and asks for nothing; of a larger one, less than this part may be left undone.
NO_TURN_RAD = 1e-9
LEFT_UNDONE = 0.01
# So near a place, how it is turned decides which posture is the better one; the last iterations are the place's alone.
NEARLY_THERE_M = 1e-3
FINISHING_ITERATIONS = 4


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


@dataclass(frozen=True, slots=True)
class Solution:
    """Joints for a pose.

    Attributes:
        q: Joint positions, shape (joints,) [rad]; the best found, always within the joint limits.
        reached: Whether the pose is reached within 0.01 mm and 0.1 mrad. With fewer than six joints: whether the place
            is, and the turn from the seed to the pose, if any; a pose turned as the seed is asks for none.
        reason: Why not; empty when reached.
    """

    q: FloatArray
    reached: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SpareTurn:
    """What an arm with fewer than six joints can do of a turn without moving its tip.

    Attributes:
        keeping: Joint motion to the place of a pose, turned as before as far as that can be, shape (joints,) [rad].
        exact: Joint motion that turns besides, shape (joints,) [rad]; long where such turning comes to an end.
        careful: The same, but shorter there, so that it does not run past that end.
        to_turn: d(turn)/d(joint motion), shape (3, joints).
        reason: Why the turn cannot be had in full; empty when it can.
    """

    keeping: FloatArray
    exact: FloatArray
    careful: FloatArray
    to_turn: FloatArray
    reason: str


class Kinematics:
    """Forward and inverse kinematics of the joints named, seen from the base of the robot description.

    Not thread-safe: Pinocchio's work space is shared by all calls.

    Attributes:
        joint_names: The joints, in the order of every joint array.
        place_first: Whether the joints are fewer than six. Then the tip is brought to the place of a pose, and of the
            turn it does what the joints can do without moving the tip.
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
        self.place_first = len(self.joint_names) < JOINTS_FOR_ANY_POSE
        self._model = model
        self._data = model.createData()
        self._tip = model.getFrameId(tip_frame)
        self._order = np.array([model.joints[model.getJointId(name)].idx_q for name in joint_names])
        self._lower = np.array(model.lowerPositionLimit[self._order] if limits is None else limits.lower)
        self._upper = np.array(model.upperPositionLimit[self._order] if limits is None else limits.upper)
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
        descend = self._descend_place_first if self.place_first else self._descend
        return descend(target, np.clip(q, self._lower, self._upper), posture, posture_gain, max_iterations)

    def spare_turn(self, pose: npt.ArrayLike, seed: npt.ArrayLike) -> SpareTurn:
        """What can be had of the turn from joints, shape (joints,) [rad], to a pose, shape (7,), on the way to its place."""
        target, q = np.asarray(pose, dtype=np.float64), np.clip(seed, self._lower, self._upper)
        rotation = pin.Quaternion(target[3:] / np.linalg.norm(target[3:])).toRotationMatrix()
        jacobian, error = self._linearised(q, target[:3], rotation)
        asked, to_turn = error[3:], jacobian[3:]
        step, free = self._to_place(jacobian, error, q, None)
        keeping, _ = self._to_turn(jacobian, -to_turn @ step, _turn_damping(to_turn @ step), q + step, free)
        careful, _ = self._to_turn(jacobian, asked, _turn_damping(asked), q, free)
        exact, free = self._to_turn(jacobian, asked, TURN_DAMPING_FLOOR, q, free)
        reason = self._judged(q, asked, asked - to_turn @ exact, free == 0).reason
        return SpareTurn(step + keeping, exact, careful, to_turn, reason)

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

    def _descend_place_first(
        self, target: FloatArray, q: FloatArray, posture: npt.ArrayLike | None, posture_gain: float, max_iterations: int
    ) -> Solution:
        position = target[:3]
        rotation = pin.Quaternion(target[3:] / np.linalg.norm(target[3:])).toRotationMatrix()
        pull = None if posture is None else posture_gain * (np.asarray(posture) - q)
        jacobian, error = self._linearised(q, position, rotation)
        asked = left = error[3:]
        best_q, best_rank, stalled = q, (np.inf, np.inf), 0
        for iteration in range(max_iterations):
            following, possible, left = self._step_place_first(jacobian, error, q, pull)
            far, turn = float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
            if far <= POSITION_TOLERANCE_M and possible <= ANGLE_TOLERANCE_RAD and pull is None:
                return self._judged(following, asked, left)  # the step is made: small turns add up
            rank = (max(far - NEARLY_THERE_M, 0.0), turn)
            stalled = 0 if rank < (0.99 * best_rank[0], 0.99 * best_rank[1]) else stalled + 1
            if rank < best_rank:
                best_q, best_rank = q, rank
            if stalled >= STALLED_ITERATIONS or iteration == max_iterations - 1:
                break
            q, pull = following, None
            jacobian, error = self._linearised(q, position, rotation)
        for _ in range(FINISHING_ITERATIONS):
            jacobian, error = self._linearised(best_q, position, rotation)
            if float(np.linalg.norm(error[:3])) <= POSITION_TOLERANCE_M:
                return self._judged(best_q, asked, error[3:])
            best_q = self._in_range(best_q + self._to_place(jacobian, error, best_q, None)[0])
        return Solution(best_q, False, self._why(target, best_q, error))

    def _judged(
        self, q: FloatArray, asked: FloatArray, left: FloatArray, frozen: npt.NDArray[np.bool_] | None = None
    ) -> Solution:
        """The solution where the place is reached, by what was asked of the turn and what is left of it [rad]."""
        wish = float(np.linalg.norm(asked))
        if wish <= NO_TURN_RAD or float(np.linalg.norm(left)) <= min(ANGLE_TOLERANCE_RAD, LEFT_UNDONE * wish):
            return Solution(q, True, "")
        about = ", ".join(f"{value + 0.0:.2f}" for value in np.round(asked / wish, 2))
        part = max(float((asked - left) @ asked) / wish**2, 0.0)
        cause = self._at_limit(q, frozen) or f"it has {len(q)} joints"
        reason = f"turn about ({about}) not reached: the arm can do {part:.0%} of it where its tip is ({cause})"
        return Solution(q, False, reason)

    def _step_place_first(
        self, jacobian: FloatArray, error: FloatArray, q: FloatArray, pull: FloatArray | None
    ) -> tuple[FloatArray, float, FloatArray]:
        """One damped step: to the place, then of the turn what moves the tip no more (Siciliano and Slotine 1991).

        Returns:
            The joints, shape (joints,) [rad]; the turn that was possible without moving the tip [rad]; what is left of
            the turn after it, shape (3,) [rad].
        """
        step, free = self._to_place(jacobian, error, q, pull)
        left = error[3:] - jacobian[3:] @ step
        extra, _ = self._to_turn(jacobian, left, _turn_damping(left), q + step, free)
        extra *= MAX_STEP_RAD / max(float(np.linalg.norm(jacobian[3:] @ extra)), MAX_STEP_RAD)
        turned = jacobian[3:] @ extra
        return self._in_range(q + step + extra), float(np.linalg.norm(turned)), left - turned

    def _to_turn(
        self, jacobian: FloatArray, wanted: FloatArray, damping: float, q: FloatArray, free: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The damped step that turns the tool by `wanted` as far as it can without moving the tip, and which joints may.

        Both of shape (joints,).
        """

        def turn(free: FloatArray) -> FloatArray:
            to_place, to_turn = jacobian[:3] * free, jacobian[3:] * free
            lost = np.linalg.solve(_damped(to_place, DAMPING_FLOOR), to_place)
            spare = to_turn - (to_turn @ to_place.T) @ lost
            return spare.T @ np.linalg.solve(_damped(spare, damping), wanted)

        return self._frozen(q, turn, free)

    def _to_place(
        self, jacobian: FloatArray, error: FloatArray, q: FloatArray, pull: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """The damped step to a place, and which joints are free to make it, each of shape (joints,)."""
        wanted = _clipped(error)[:3]
        damping = DAMPING_FLOOR + DAMPING_GAIN * float(wanted @ wanted)

        def place(free: FloatArray) -> FloatArray:
            columns = jacobian[:3] * free
            own = np.zeros(len(q)) if pull is None else pull * free
            return own + columns.T @ np.linalg.solve(_damped(columns, damping), wanted - columns @ own)

        return self._frozen(q, place, np.ones(len(q)))

    def _frozen(
        self, q: FloatArray, solve: Callable[[FloatArray], FloatArray], free: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """A step from q by the joints that are free (1, else 0); those that would leave their range are frozen for it."""
        while free.any():
            step = solve(free)
            following = q + step
            outside = (free > 0) & ((following < self._lower) | (following > self._upper))
            if not outside.any():
                return step, free
            free = free * ~outside
        return np.zeros(len(q)), free

    def _in_range(self, q: FloatArray) -> FloatArray:
        return np.minimum(np.maximum(q, self._lower), self._upper)

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
        where = ", ".join(f"{value:.3f}" for value in target[:3])
        return (
            f"pose at ({where}) m not reached: {np.linalg.norm(error[:3]) * 1e3:.1f} mm "
            f"and {np.linalg.norm(error[3:]):.3f} rad away ({self._at_limit(q) or 'out of reach or singular'})"
        )

    def _at_limit(self, q: FloatArray, frozen: npt.NDArray[np.bool_] | None = None) -> str:
        stuck = (q <= self._lower + 1e-6) | (q >= self._upper - 1e-6)
        if frozen is not None:  # by a step that would have gone beyond
            stuck |= frozen
        names = [name for name, at in zip(self.joint_names, stuck, strict=True) if at]
        return f"{', '.join(names)} at the limit" if names else ""


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


def _damped(columns: FloatArray, damping: float) -> FloatArray:
    square: FloatArray = columns @ columns.T
    square.flat[:: len(square) + 1] += damping
    return square


def _turn_damping(turn: FloatArray) -> float:
    return DAMPING_FLOOR + TURN_DAMPING_GAIN * min(float(np.linalg.norm(turn)), MAX_STEP_RAD)


def _clipped(error: FloatArray) -> FloatArray:
    linear, angular = float(np.sqrt(error[:3] @ error[:3])), float(np.sqrt(error[3:] @ error[3:]))
    clipped = error.copy()
    if linear > MAX_STEP_M:
        clipped[:3] *= MAX_STEP_M / linear
    if angular > MAX_STEP_RAD:
        clipped[3:] *= MAX_STEP_RAD / angular
    return clipped
