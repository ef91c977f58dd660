"""The command `defi arm <what>`: says how the arm of a running graph is, stops it and brings it back; for any terminal."""

from __future__ import annotations

import argparse
import os
import threading
import time
from typing import TYPE_CHECKING

from defi_models.contract import DefiError
from defi_ros.bringup import graph_environment
from defi_ros.cli.teleop import chosen_domain
from defi_ros.up.surroundings import DOMAIN_VARIABLE

if TYPE_CHECKING:
    from rclpy.node import Node

    from defi_msgs.msg import ControlState

HEARD_S = 3.0  # a bridge speaks at 50 Hz; finding it takes up to half a second
RECOVERED_S = 60.0  # a UR that is powered on and releases its brakes takes half a minute
SOURCE, STOPPED = "defi arm", 3
# What may be asked for: who shall have the arm, as in SetAuthority, and whether STOPPED is to end.
ASKS = {"hold": (0, False), "policy": (2, False), "stop": (3, False), "reset": (0, True)}
SAYS = {
    "state": "one line: who has the arm and why, what its last command was",
    "watch": "the same at every change, until Ctrl-C",
    "hold": "takes the arm from a policy; it comes to rest",
    "policy": "gives the arm to the policy",
    "stop": "stops the arm; it stays STOPPED until a reset",
    "recover": "runs the robot's documented recovery; a reset is asked for apart",
    "reset": "ends STOPPED, unless its cause stands",
}


class SilentGraphError(DefiError):
    """No arm bridge is heard."""


class Arm:
    """Asks the arm bridge of a running graph."""

    help = "how the arm of a running graph is; stop it, recover the robot, end a stop"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its arguments."""
        lines = "\n".join(f"  {name:8} {text}" for name, text in SAYS.items())
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = f"what:\n{lines}"
        parser.add_argument("what", nargs="?", default="state", choices=tuple(SAYS), help="default: %(default)s")
        parser.add_argument("--namespace", default="", help="namespace of the graph")

    def run(self, args: argparse.Namespace) -> int:
        """Asks and prints the answer; returns 0, or 1 where it was refused.

        Raises:
            ConfigError: several simulated graphs run here and ROS_DOMAIN_ID does not say which is meant.
            SilentGraphError: no arm bridge is heard.
            CallError: it does not answer.
        """
        domain = chosen_domain()
        if domain is not None:
            os.environ[DOMAIN_VARIABLE] = str(domain)
        for name, value in graph_environment().items():
            os.environ.setdefault(name, value)
        import rclpy
        from rclpy.context import Context
        from rclpy.node import Node

        context = Context()
        rclpy.init(args=[], context=context)
        node = Node("defi_arm", context=context, namespace=args.namespace, enable_rosout=False)
        try:
            return Asker(node).do(args.what)
        finally:
            node.destroy_node()
            context.try_shutdown()


class Asker:
    """One question to one arm bridge."""

    def __init__(self, node: Node) -> None:
        """Begins to hear it."""
        from rclpy.executors import SingleThreadedExecutor

        from defi_msgs.msg import ControlState
        from defi_ros.bridge import qos

        self._node = node
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._state: ControlState | None = None
        self._heard_s = 0.0
        node.create_subscription(ControlState, "control_state", self._on_state, qos.STREAM)

    def _on_state(self, message: ControlState) -> None:
        self._state, self._heard_s = message, time.monotonic()

    def do(self, what: str) -> int:
        """See `Arm.run`."""
        self._hear()
        if what == "watch":
            return self._watch()
        if what == "state":
            print(told(self._state))
            return 0
        if what == "reset" and self._state is not None and self._state.mode != STOPPED:
            print(f"nothing to reset: {told(self._state)}")
            return 0
        granted, answer = self._recover() if what == "recover" else self._ask(*ASKS[what])
        print(answer)
        return 0 if granted else 1

    def _watch(self) -> int:
        before = ""
        while True:
            line = told(self._state) if time.monotonic() - self._heard_s < HEARD_S else "the arm bridge is silent"
            if line != before:
                print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
            before = line
            self._executor.spin_once(timeout_sec=0.1)

    def _ask(self, mode: int, reset: bool) -> tuple[bool, str]:
        from defi_msgs.srv import SetAuthority
        from defi_ros.bridge.caller import Caller

        request = SetAuthority.Request(mode=mode, reset=reset, source=SOURCE)
        with Caller(self._node, threading.Event()) as call:
            answer = call.service(SetAuthority, "set_authority", request, HEARD_S)
        return answer.granted, answer.reason

    def _recover(self) -> tuple[bool, str]:
        from std_srvs.srv import Trigger

        from defi_ros.bridge.caller import Caller

        with Caller(self._node, threading.Event()) as call:
            answer = call.service(Trigger, "recover", Trigger.Request(), RECOVERED_S)
        return answer.success, answer.message

    def _hear(self) -> None:
        deadline_s = time.monotonic() + HEARD_S
        while self._state is None:
            if time.monotonic() > deadline_s:
                domain = os.environ.get(DOMAIN_VARIABLE, "0")
                raise SilentGraphError(
                    f"got no control_state for {HEARD_S:g} s in ROS domain {domain} and namespace "
                    f"{self._node.get_namespace()!r}, expected a running arm bridge. `defi up <robot>` starts one."
                )
            self._executor.spin_once(timeout_sec=0.05)


def told(state: ControlState | None) -> str:
    """One line about the arm, without what changes at every tick."""
    assert state is not None
    mode = ("HOLD", "TELEOP", "POLICY", "STOPPED")[state.mode]
    motion = "at rest" if state.at_rest else "moving"
    violations = f"; {state.limit_violations} commands outside the limits" if state.limit_violations else ""
    return f"{mode} ({state.reason}), {motion}{violations}"
