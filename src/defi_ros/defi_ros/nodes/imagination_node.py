"""The GFDM as a node: looks through the cameras, imagines what the instruction would bring about, and says it."""

from __future__ import annotations

import threading

from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.nodes.imagination_stage import ImaginationStage
from defi_ros.nodes.joint_inputs import JointInputs
from defi_ros.nodes.policy_slot import PolicySlot

WAIT_S = 0.1  # how long the worker may not look at `stop`


class ImaginationNode(DefiNode):
    """Cameras and `instruction` in, `imagination` and `imagined/<name>/image` out; one inference at a time."""

    NAME = "imagination_node"
    SECTIONS = ("policy", "cameras", "alignment")

    def configure(self) -> None:
        """Loads the policy, checks that it fits the robot, then waits for the cameras it looks through."""
        robot = self.robot_file()
        self._slot = PolicySlot(self, robot, "imagine")
        self._stage = ImaginationStage(self, robot, self._slot, JointInputs(self, robot))
        self.keep_alive(self.NAME)
        self.tell_troubles(self.NAME)

    def activate(self) -> None:
        """Starts the worker."""
        self.start_worker("imagine", self._work)

    def describe(self) -> None:
        """Shows what is asked."""
        if self.state == "active":
            self._stage.describe()

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._slot.serve()
            observation = self._stage.wait(WAIT_S)
            if observation is None:
                continue
            policy = self._slot.policy
            imagination = self._stage.imagine(policy, observation)
            if imagination is not None and not stop.is_set():
                self._stage.publish(imagination)
                self.health.count(imagination.inference_ms)
                self._stage.show(policy, imagination)


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(ImaginationNode))


if __name__ == "__main__":
    main()
