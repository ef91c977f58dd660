"""The first half of inference on the graph: cameras and instruction in, imagination out; used by one or by both halves' node."""

from __future__ import annotations

import time

from sensor_msgs.msg import Image, JointState

from defi_models.contract import NS_PER_S, ContractError, DefiError, Imagination, Observation, Policy
from defi_msgs.msg import Imagination as ImaginationMsg
from defi_msgs.msg import Instruction
from defi_ros.bridge import qos
from defi_ros.bridge.convert import imagination_to, scene_from
from defi_ros.bridge.images import image_to
from defi_ros.bridge.lifecycle import DefiNode, NodeError
from defi_ros.nodes.camera_inputs import CameraInputs, wait_for_cameras
from defi_ros.nodes.joint_inputs import JointInputs
from defi_ros.nodes.policy_slot import PolicySlot
from defi_ros.robot import RobotFile

# Images that come every 33 ms come again after 200 ms sharp: whoever wakes then finds them waiting already.
READY_BEFORE_S = 0.005


class ImaginationStage:
    """Owns the inputs and outputs of the GFDM. Callbacks copy in; everything else belongs to the worker's thread.

    Args:
        node: Hears and says.
        robot: The robot file.
        slot: The policy in use.
        joints: Where the arm is.

    Raises:
        NodeError: a camera, or the scene the policy needs, has sent nothing.
    """

    def __init__(self, node: DefiNode, robot: RobotFile, slot: PolicySlot, joints: JointInputs) -> None:
        self._node = node
        self._slot = slot
        self._settings = robot.policy
        self._limit_s = robot.control.chunk_timeout_s
        self._instruction = ""
        self._scene: JointState | None = None
        self._started_s = 0.0
        self._shown_s = 0.0
        wait_for_cameras(node, robot, slot.spec.cameras)
        if slot.spec.needs_scene:
            self._wait_for_scene(self._settings.camera_timeout_s)
            node.hear("scene_state", JointState, self._on_scene, qos.STATES)
        self._cameras = CameraInputs(node, robot, slot.spec.cameras, joints)
        node.hear("instruction", Instruction, self._on_instruction, qos.LATCHED)
        self._imaginations = node.say("imagination", ImaginationMsg, qos.STREAM)
        self._images = {
            name: node.say(f"imagined/{name}/image", Image, qos.IMAGES)
            for name in slot.spec.cameras
            if self._settings.imagined_image_rate_hz > 0.0
        }

    def _wait_for_scene(self, timeout_s: float) -> None:
        if self._node.wait_to_hear("scene_state", JointState, qos.STATES, timeout_s=timeout_s) is None:
            raise NodeError(
                f"scene_state has sent nothing for {timeout_s:.1f} s, expected the ground truth that policy "
                f"{self._slot.spec.name!r} reads. It exists in simulation only; start sim_node or choose another policy."
            )

    def _on_scene(self, message: JointState) -> None:
        self._scene = message

    def _on_instruction(self, message: Instruction) -> None:
        self._instruction = message.text.strip()

    @property
    def instruction(self) -> str:
        """What is asked now; empty when nothing is."""
        return self._instruction

    def wait(self, timeout_s: float) -> Observation | None:
        """The next fresh observation; None when there is none yet.

        No sooner after the one before than `replan_s`, and than the policy's own horizon where it has one.
        """
        horizon_s = (self._slot.spec.horizon_steps or 0) * self._slot.spec.step_ns / NS_PER_S
        apart_s = max(self._settings.replan_s, horizon_s)
        early_s = self._started_s + apart_s - READY_BEFORE_S - time.monotonic()
        if early_s > 0.0:
            time.sleep(min(early_s, timeout_s))
            return None
        frames = self._cameras.wait(timeout_s)
        instruction = self._instruction
        if frames is None or not instruction:
            self._node.health.trouble("cameras", None if frames is not None else self._cameras.why_none())
            return None
        self._node.health.trouble("cameras", None)
        self._started_s = time.monotonic()
        scene = self._scene
        try:
            truth = scene_from(scene) if scene is not None else None
            return Observation(frames.time_ns, frames.images, instruction, truth)
        except ContractError as error:
            self._node.health.trouble("observation", str(error))
            return None

    def imagine(self, policy: Policy, observation: Observation) -> Imagination | None:
        """What the policy expects to happen; None when it refuses, or when something else is asked by now."""
        try:
            with self._node.health.working("imagining", self._limit_s):
                imagination = policy.imagine(observation)
        except DefiError as error:
            self._node.health.trouble("imagine", str(error))
            return None
        self._node.health.trouble("imagine", None)
        return imagination if imagination.instruction == self._instruction else None

    def publish(self, imagination: Imagination) -> None:
        """Says the imagination to whoever listens; without a listener nothing is serialised."""
        if self._imaginations.get_subscription_count():
            self._imaginations.publish(imagination_to(imagination))

    def show(self, policy: Policy, imagination: Imagination) -> None:
        """Decodes the last imagined frame for people, at a low rate and only while somebody looks."""
        now_s = time.monotonic()
        if not self._images or now_s - self._shown_s < 1.0 / self._settings.imagined_image_rate_hz:
            return
        watched = [name for name, publisher in self._images.items() if publisher.get_subscription_count()]
        if not watched:
            return
        self._shown_s = now_s
        frames = policy.watch(imagination)
        for name in watched:
            if name in frames and len(frames[name]):
                self._images[name].publish(image_to(frames[name][-1], imagination.time_ns, f"imagined_{name}"))

    def describe(self) -> None:
        """Brings the node's diagnostics up to date."""
        self._node.health.set(
            mode="imagining" if self._instruction else "idle: nothing is asked",
            instruction=self._instruction,
            policy=self._slot.spec.fingerprint,
        )
