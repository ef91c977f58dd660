"""The second half of inference on the graph: imagination and joint states in, action chunk out."""

from __future__ import annotations

from sensor_msgs.msg import JointState
from std_msgs.msg import String

from defi_models.contract import ActionChunk, ContractError, DefiError, Imagination, Policy, Proprioception
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import ControlState
from defi_ros.bridge import qos
from defi_ros.bridge.convert import JointReader, chunk_to, to_ns
from defi_ros.bridge.lifecycle import DefiNode, NodeError
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.promises import Promises
from defi_ros.nodes.joint_inputs import JointInputs
from defi_ros.robot import RobotFile


class ActionStage:
    """Owns the inputs and outputs of the GIDM. Callbacks copy in; everything else belongs to the worker's thread.

    Args:
        node: Hears and says.
        robot: The robot file.
        joints: Where the arm is.

    Raises:
        NodeError: no robot description or no joint states came within `start_timeout_s`.
        ContractError: the joint states lack a joint of the robot file.
        ConfigError: the robot description lacks a joint or the tip frame.
    """

    def __init__(self, node: DefiNode, robot: RobotFile, joints: JointInputs) -> None:
        self._node, self._joints = node, joints
        self._base_frame = robot.driver.base_frame
        self._limit_s = robot.control.chunk_timeout_s
        self.kinematics = Kinematics(wait_for_description(node), robot.spec.joint_names, robot.spec.tip_frame)
        wait_for_joints(node, JointReader(robot.spec.joint_names, robot.gripper))
        self._chunks = node.say("action_chunk", ActionChunkMsg, qos.STREAM)
        self._promises: Promises | None = None
        if robot.control.blending == "rtc":
            self._promises = Promises(robot.control.lookahead_s)
            node.hear("control_state", ControlState, self._on_control_state, qos.STREAM)

    def _on_control_state(self, message: ControlState) -> None:
        if self._promises is not None:
            follows = message.mode == ControlState.POLICY
            self._promises.executing(to_ns(message.chunk_stamp) if follows else 0)

    def proprioception_at(self, time_ns: int) -> Proprioception | str:
        """Where the arm was at `time_ns`, interpolated, or the reason it is not known."""
        sample = self._joints.at(time_ns)
        if isinstance(sample, str):
            return sample
        return Proprioception(time_ns, sample.positions, self.kinematics.forward(sample.positions), sample.gripper)

    def act(self, policy: Policy, imagination: Imagination) -> ActionChunk | None:
        """The chunk that would make the imagination come true; None when that is refused, with the reason shown."""
        reason: str | None = None
        chunk: ActionChunk | None = None
        if imagination.policy != policy.spec.fingerprint:
            reason = (
                f"imagination: made by checkpoint {imagination.policy}, expected {policy.spec.fingerprint}; "
                "load the same policy in both nodes"
            )
        elif imagination.features.shape != policy.spec.feature_shape:
            reason = f"imagination: got shape {imagination.features.shape}, expected {policy.spec.feature_shape}"
        else:
            known = self.proprioception_at(imagination.time_ns)
            if isinstance(known, str):
                reason = known
            else:
                spec, promises = policy.spec, self._promises
                promised = promises and promises.at(imagination.time_ns, spec.step_ns, spec.chunk_steps, spec.space)
                try:
                    with self._node.health.working("inferring the action", self._limit_s):
                        chunk = policy.act(imagination, known, promised)
                except DefiError as error:
                    reason = str(error)
        self._node.health.trouble("act", reason)
        return chunk

    def publish(self, chunk: ActionChunk) -> None:
        """Says the chunk."""
        if self._promises is not None:
            self._promises.note(chunk, self._node.now_ns())
        self._chunks.publish(chunk_to(chunk, self._base_frame))


def wait_for_description(node: DefiNode) -> str:
    """The robot description; for `configure`.

    Raises:
        NodeError: none came within `start_timeout_s`.
    """
    timeout_s = node.start_timeout_s
    message = node.wait_to_hear("robot_description", String, qos.LATCHED, timeout_s=timeout_s)
    if message is None:
        raise NodeError(
            f"{node.get_name()}: got no robot_description for {timeout_s:.1f} s, expected a URDF on that topic. "
            "Start the robot's driver (robot_state_publisher) or the simulation."
        )
    return message.data


def wait_for_joints(node: DefiNode, reader: JointReader) -> None:
    """Returns once joint states hold the whole arm; for `configure`.

    Raises:
        NodeError: none came within `start_timeout_s`.
        ContractError: they lack a joint.
    """
    timeout_s, refused = node.start_timeout_s, [""]

    def holds_the_arm(message: JointState) -> bool:
        try:
            return reader.read(message) is not None
        except ContractError as error:
            refused[0] = str(error)
            return True

    message = node.wait_to_hear("joint_states", JointState, qos.STATES, timeout_s=timeout_s, enough=holds_the_arm)
    if refused[0]:
        raise ContractError(refused[0])
    if message is None:
        raise NodeError(
            f"{node.get_name()}: got no joint_states of the arm for {timeout_s:.1f} s, expected them. "
            "Start the robot's driver or the simulation, or check `joints.names` in the robot file."
        )
