"""Messages <-> the values of the contract (images: `bridge.images`); the door where what comes from the wire is checked. Knows no node.

Arrays are read as views of the message where the receiver copies anyway, and written with one copy
(`array.frombytes`): a list would cost a Python object a byte.
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState

from defi_models.contract import (
    NS_PER_S,
    ActionChunk,
    ActionSpace,
    ContractError,
    FloatArray,
    Imagination,
)
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import Imagination as ImaginationMsg
from defi_ros.sections import Gripper

MOST_LAYOUTS = 16  # of joint states: as many publishers as one arm may have, and more


def to_ns(stamp: Any) -> int:
    """A builtin_interfaces/Time in nanoseconds [ns]."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def to_stamp(time_ns: int) -> Time:
    """Nanoseconds as a builtin_interfaces/Time."""
    seconds, nanoseconds = divmod(int(time_ns), NS_PER_S)
    return Time(sec=seconds, nanosec=nanoseconds)


def bytes_array(values: npt.NDArray) -> array.array:
    """The memory of an array as what a uint8[] field takes; one copy."""
    out = array.array("B")
    out.frombytes(np.ascontiguousarray(values).data.cast("B"))
    return out


def float_array(values: npt.ArrayLike) -> array.array:
    """Numbers, row-major, as what a float64[] field takes."""
    out = array.array("d")
    out.frombytes(np.ascontiguousarray(values, dtype=np.float64).data.cast("B"))
    return out


# Joints --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JointReading:
    """What one joint state says of an arm.

    Attributes:
        time_ns: Its stamp [ns].
        positions: Shape (joints,) [rad].
        velocities: Shape (joints,) [rad/s]; None when it holds none.
        opening: The gripper's newest opening, 0 closed .. 1 open, perhaps of an earlier message; None before the first.
    """

    time_ns: int
    positions: FloatArray
    velocities: FloatArray | None
    opening: float | None


class JointReader:
    """Picks one arm and its gripper out of joint states that may hold other joints too, in any order.

    Arm and gripper may come in messages of their own, as drivers with two state publishers send them.

    Args:
        joint_names: The arm's joints, in the order of every joint array.
        gripper: The gripper's section of the robot file.
    """

    def __init__(self, joint_names: Sequence[str], gripper: Gripper) -> None:
        self._joint_names = tuple(joint_names)
        self._finger_joint = gripper.joint
        self._opening_at = gripper.opening
        self._layouts: dict[tuple[str, ...], tuple[npt.NDArray[np.intp] | None, int | None]] = {}
        self._opening = 1.0 if gripper.kind == "none" else None

    def read(self, message: JointState) -> JointReading | None:
        """What the message says of the arm; None when it is about other joints only.

        Raises:
            ContractError: it holds some of the arm's joints but not all, fewer numbers than names, or one that is not
                finite.
        """
        names = tuple(message.name)
        if names not in self._layouts:
            if len(self._layouts) >= MOST_LAYOUTS:  # of a publisher that says other joints each time
                self._layouts.clear()
            self._layouts[names] = self._layout(names)
        order, finger = self._layouts[names]
        if finger is not None and finger < len(message.position):
            self._opening = self._opening_at(message.position[finger])
        if order is None:
            return None
        positions = self._values("position", message.position, names, order)
        if positions is None:
            raise ContractError(f"joint_states: got no positions, expected one for each of {list(names)}")
        # A broadcaster says "not a number" where the robot has no such interface.
        known = not any(map(math.isnan, message.velocity))
        velocities = self._values("velocity", message.velocity, names, order) if known else None
        return JointReading(to_ns(message.header.stamp), positions, velocities, self._opening)

    def _layout(self, names: tuple[str, ...]) -> tuple[npt.NDArray[np.intp] | None, int | None]:
        finger = names.index(self._finger_joint) if self._finger_joint in names else None
        missing = [name for name in self._joint_names if name not in names]
        if len(missing) == len(self._joint_names):
            return None, finger
        if missing:
            raise ContractError(
                f"joint_states: got no joint {missing[0]!r}, expected all of {list(self._joint_names)}. "
                f"It has {list(names)}. Check `joints.names` in the robot file."
            )
        return np.array([names.index(name) for name in self._joint_names], dtype=np.intp), finger

    def _values(
        self, what: str, numbers: Sequence[float], names: tuple[str, ...], order: npt.NDArray[np.intp]
    ) -> FloatArray | None:
        if len(numbers) == 0:
            return None
        if len(numbers) != len(names):
            raise ContractError(f"joint_states: got {len(numbers)} numbers in {what}, expected {len(names)}")
        values = np.frombuffer(cast(Any, numbers), dtype=np.float64)[order]
        if not np.isfinite(values).all():
            worst = self._joint_names[int(np.argmin(np.isfinite(values)))]
            raise ContractError(f"joint_states: got a {what} of joint {worst!r} that is not finite, expected a number")
        return values


def scene_from(message: JointState) -> dict[str, float]:
    """The numbers of a simulated scene by name, flat as in `Observation.scene`: "drawer", "red_block.0" ..

    Raises:
        ContractError: there are not as many numbers as names.
    """
    if len(message.name) != len(message.position):
        raise ContractError(f"scene_state: got {len(message.position)} numbers, expected {len(message.name)}")
    return dict(zip(message.name, message.position, strict=True))


def scene_to(scene: Mapping[str, npt.ArrayLike], time_ns: int) -> JointState:
    """The message of a scene; an array under a name becomes one number a name, "red_block.0" .. "red_block.6"."""
    message = JointState()
    message.header.stamp = to_stamp(time_ns)
    names: list[str] = []
    values: list[float] = []
    for name, value in scene.items():
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
        names.extend([name] if len(numbers) == 1 else [f"{name}.{index}" for index in range(len(numbers))])
        values.extend(numbers.tolist())
    message.name = names
    message.position = array.array("d", values)
    return message


# Imaginations and chunks ---------------------------------------------------------------------------------------------


def imagination_to(imagination: Imagination) -> ImaginationMsg:
    """The message of an imagination, features as little-endian float32 bytes."""
    message = ImaginationMsg(
        instruction=imagination.instruction, policy=imagination.policy, inference_ms=float(imagination.inference_ms)
    )
    message.header.stamp = to_stamp(imagination.time_ns)
    message.shape = array.array("I", imagination.features.shape)
    message.features = bytes_array(np.asarray(imagination.features, dtype="<f4"))
    return message


def imagination_from(message: ImaginationMsg) -> Imagination:
    """The imagination in a message; its features are a read-only view of the message.

    Raises:
        ContractError: the bytes do not fill the shape.
    """
    shape = tuple(int(size) for size in message.shape)
    wanted = 4 * int(np.prod(shape, dtype=np.int64))
    if not shape or len(message.features) != wanted:
        raise ContractError(f"imagination: got {len(message.features)} bytes, expected {wanted} for shape {shape}")
    features = np.frombuffer(cast(Any, message.features), dtype="<f4").reshape(shape)
    features.setflags(write=False)
    return Imagination(
        time_ns=to_ns(message.header.stamp),
        instruction=message.instruction,
        policy=message.policy,
        features=features,
        inference_ms=message.inference_ms,
    )


def chunk_to(chunk: ActionChunk, frame_id: str = "") -> ActionChunkMsg:
    """The message of an action chunk; `frame_id` is the base frame of the arm."""
    message = ActionChunkMsg(
        step_ns=chunk.step_ns,
        space=chunk.space,
        steps=chunk.targets.shape[0],
        dims=chunk.targets.shape[1],
        arm=chunk.arm,
        instruction=chunk.instruction,
        imagination_ms=float(chunk.imagination_ms),
        inference_ms=float(chunk.inference_ms),
    )
    message.header.stamp = to_stamp(chunk.start_ns)
    message.header.frame_id = frame_id
    message.targets = float_array(chunk.targets)
    message.gripper = float_array(chunk.gripper)
    return message


def chunk_from(message: ActionChunkMsg) -> ActionChunk:
    """The action chunk in a message.

    Raises:
        ContractError: the numbers do not fill (steps, dims), one is not finite, or a quaternion is not of unit length.
    """
    if len(message.targets) != message.steps * message.dims:
        raise ContractError(
            f"action_chunk: got {len(message.targets)} numbers in targets, "
            f"expected {message.steps * message.dims} for steps {message.steps} and dims {message.dims}"
        )
    return ActionChunk(
        start_ns=to_ns(message.header.stamp),
        step_ns=message.step_ns,
        space=cast(ActionSpace, message.space),
        targets=np.frombuffer(cast(Any, message.targets), dtype=np.float64).reshape(message.steps, message.dims),
        gripper=np.frombuffer(cast(Any, message.gripper), dtype=np.float64),
        arm=message.arm,
        instruction=message.instruction,
        imagination_ms=message.imagination_ms,
        inference_ms=message.inference_ms,
    )
