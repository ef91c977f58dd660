"""Both halves of a policy in one process: the features are handed over by reference and never serialised."""

from __future__ import annotations

import threading

from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.nodes.action_stage import ActionStage
from defi_ros.nodes.imagination_stage import ImaginationStage
from defi_ros.nodes.joint_inputs import JointInputs
from defi_ros.nodes.policy_slot import PolicySlot

WAIT_S = 0.1  # how long the worker may not look at `stop`


class InferenceNode(DefiNode):
    """What imagination_node and action_node do, in one worker; the graph looks the same."""

    NAME = "inference_node"
    SECTIONS = ("policy", "cameras", "alignment")
    PRIORITY_OF = "imagination_node"

    def configure(self) -> None:
        """Loads the policy, checks that it fits the robot, then waits for the robot and the cameras."""
        robot = self.robot_file()
        self._slot = PolicySlot(self, robot, "both")
        joints = JointInputs(self, robot)
        self._action = ActionStage(self, robot, joints)
        self._imagination = ImaginationStage(self, robot, self._slot, joints)
        self.keep_alive(self.NAME)
        self.tell_troubles(self.NAME)

    def activate(self) -> None:
        """Starts the worker."""
        self.start_worker("infer", self._work)

    def describe(self) -> None:
        """Shows what is asked."""
        if self.state == "active":
            self._imagination.describe()

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._slot.serve()
            observation = self._imagination.wait(WAIT_S)
            if observation is None:
                continue
            policy = self._slot.policy
            imagination = self._imagination.imagine(policy, observation)
            if imagination is None or stop.is_set():
                continue
            chunk = self._action.act(policy, imagination)
            if chunk is not None and not stop.is_set():
                self._action.publish(chunk)
                self.health.count(imagination.inference_ms + chunk.inference_ms)
            self._imagination.publish(imagination)
            self._imagination.show(policy, imagination)


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(InferenceNode))


if __name__ == "__main__":
    main()
