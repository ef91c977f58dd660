"""The GIDM and action decoder as a node: an imagination in, the chunk of arm targets that would cause it out."""

from __future__ import annotations

import threading

from defi_models.contract import ContractError
from defi_msgs.msg import Imagination as ImaginationMsg
from defi_ros.bridge import qos
from defi_ros.bridge.convert import imagination_from
from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.nodes.action_stage import ActionStage
from defi_ros.nodes.joint_inputs import JointInputs
from defi_ros.nodes.policy_slot import PolicySlot

WAIT_S = 0.1  # how long the worker may not look at `stop`


class ActionNode(DefiNode):
    """`imagination` and `joint_states` in, `action_chunk` out; the newest imagination wins, never a queue."""

    NAME = "action_node"
    SECTIONS = ("policy", "alignment")

    def configure(self) -> None:
        """Loads the policy, checks that it fits the robot, then waits for the robot."""
        robot = self.robot_file()
        self._slot = PolicySlot(self, robot, "act")
        self._stage = ActionStage(self, robot, JointInputs(self, robot))
        self._arrived = threading.Condition()
        self._newest: ImaginationMsg | None = None
        self.hear("imagination", ImaginationMsg, self._on_imagination, qos.STREAM)
        self.keep_alive(self.NAME)
        self.tell_troubles(self.NAME)

    def activate(self) -> None:
        """Starts the worker."""
        self._newest = None
        self.start_worker("act", self._work)

    def describe(self) -> None:
        """Shows the policy."""
        if self.state == "active":
            self.health.set(policy=self._slot.spec.fingerprint)

    def _on_imagination(self, message: ImaginationMsg) -> None:
        with self._arrived:
            self._newest = message
            self._arrived.notify()

    def _take(self) -> ImaginationMsg | None:
        with self._arrived:
            if self._newest is None:
                self._arrived.wait(WAIT_S)
            message, self._newest = self._newest, None
            return message

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._slot.serve()
            message = self._take()
            if message is None:
                continue
            try:
                imagination = imagination_from(message)
            except ContractError as error:
                self.health.trouble("act", str(error))
                continue
            chunk = self._stage.act(self._slot.policy, imagination)
            if chunk is not None and not stop.is_set():
                self._stage.publish(chunk)
                self.health.count(chunk.inference_ms)


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(ActionNode))


if __name__ == "__main__":
    main()
