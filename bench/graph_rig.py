"""The running graph of the simulated Franka with an arm in motion, into which faults are put one after the other."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fault import NOT_TRIED, Fault, Result, judge, not_tried, tell
from faulty_graph import Relay, with_relay
from std_msgs.msg import Bool

from defi_models.contract import DefiError
from defi_msgs.msg import ControlState
from defi_ros.bringup import ACTION, IMAGINATION, BringupOptions, Process, processes
from defi_ros.robot import load_robot
from defi_ros.up.graph import Graph
from defi_ros.up.interruption import Interruption
from defi_ros.up.report import Report
from defi_ros.up.supervisor import ProcessEndedError
from defi_ros.up.surroundings import surroundings
from defi_ros.up.terminal import PlainView

TASKS = ("open the drawer", "move the door to the left", "turn on the led")
SIM_TASKS = ("open_drawer", "move_door_left", "turn_on_led")
FRAME = "panda_link0"
MOVES_S, RESTS_S, GOES_ON_S = 12.0, 5.0, 1.5
TRIES = 3
INFERENCE = (IMAGINATION, ACTION)
TASK_OVER = "asked for by task_node"


class GraphRig:
    """The graph, its relay, and the arm in motion.

    Attributes:
        relay: Spoils what nodes say, and hears.
        told: What a fault was answered, where that is the reason to judge.
        end: Why the graph ended; empty while it runs.
    """

    def __init__(self, graph: Graph, relay: Relay) -> None:
        """Of a graph that has been started."""
        self.graph, self.relay, self.turn = graph, relay, 0
        self.task: Any = None
        self.told = self.end = ""

    def spoil(self, topic: str, how: Callable[[Any], Any]) -> Callable[[], Any]:
        """Spoils a topic until the returned function is called."""
        self.relay.spoils[topic] = how
        return lambda: self.relay.spoils.pop(topic, None)

    def signal(self, name: str, number: int, undo: int | None = None) -> Callable[[], Any] | None:
        """Sends a signal to the process group of a node."""
        pid = self.graph.supervisor.pid(name)
        assert pid is not None, f"{name} does not run"
        os.killpg(pid, number)
        return None if undo is None else lambda: os.killpg(pid, undo)

    def wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Looks after the graph meanwhile; its end is noted, not raised."""
        end_s = time.monotonic() + timeout_s
        try:
            return self.graph.wait(until, timeout_s)
        except ProcessEndedError as error:
            self.end = str(error)
        while not until() and time.monotonic() < end_s:  # what is left of the graph is still watched
            time.sleep(0.02)
        return until()

    def set_off(self, mode: str) -> None:
        """Resets the scene and makes somebody move the arm; or stops it.

        Raises:
            DefiError: it did not move.
        """
        relay = self.relay
        self.turn += 1
        if mode == "stopped":
            relay.ask(ControlState.STOPPED)
        elif mode == "person":
            relay.wish_for(FRAME, 0.12 * (-1) ** self.turn, 0.03)
        elif mode == "policy":
            number = self.turn % len(TASKS)
            self.graph.reset(1000 + self.turn, SIM_TASKS[number])
            self.task = self.graph.listener.ask_task(TASKS[number], 30.0)
        if mode in ("person", "policy") and not self.wait(lambda: relay.moving, MOVES_S):
            raise DefiError(f"the arm did not move within {MOVES_S:.0f} s: {relay.reason}")

    def put_right(self) -> None:
        """Ends the task, lets go of the arm and resets a stop."""
        if self.task is not None:
            self.task.cancel()
            self.task = None
        self.relay.let_go()
        for stop in (self.relay.stop, self.relay.device_stop):
            stop.publish(Bool(data=False))
        self.wait(lambda: False, 0.3)
        self.relay.ask(ControlState.HOLD, reset=True)
        self.wait(lambda: self.graph.listener.at_rest, 5.0)

    def run(self, fault: Fault) -> Result:
        """Tries a fault; anew when the task just then came to its end by itself, which is no trial of the fault."""
        result = None
        for _ in range(TRIES):
            try:
                self.set_off(fault.mode)
                self.wait(lambda: False, 0.3)
                if fault.mode in ("policy", "person") and not self.relay.moving:
                    raise DefiError(f"the arm had come to rest by itself: {self.relay.reason}")
                result = self._try(fault)
            except DefiError as error:
                self.put_right()
                result = not_tried(fault, "graph", str(error))
            if result.arm != NOT_TRIED and TASK_OVER not in result.reason:
                break
        assert result is not None
        return result

    def _try(self, fault: Fault) -> Result:
        """Injects, watches and puts right again."""
        relay, before, self.told = self.relay, self.relay.violations, ""
        injected_s = time.monotonic()
        undo = fault.inject(self)
        rest_s = relay.rest_s(injected_s, self.wait, GOES_ON_S if fault.goes_on else RESTS_S)
        self.wait(lambda: False, fault.told_s)
        reason = self.end or self.told or relay.reason
        cause = "; ".join(f"{node}: {text}" for node, text in relay.troubles.items() if text)
        result = judge(fault, "graph", rest_s, reason, cause, relay.violations - before)
        if undo is not None:
            undo()
        if not self.end:
            self.put_right()
        return result


def prioritised(listed: Sequence[Process], nice: int) -> list[Process]:
    """The same processes, inference at another niceness than the robot file's."""
    return [
        replace(one, nice=nice, parameters={**one.parameters, f"nodes.nice.{one.name}": nice})
        if one.name in INFERENCE
        else one
        for one in listed
    ]


def play(faults: Sequence[Fault], policy: str, nice: int | None = None) -> list[Result]:
    """Plays faults on one graph, until one of them has ended it; `nice` is inference's, None: the robot file's."""
    robot = load_robot("franka")
    options = BringupOptions("franka", sim=True, policy=policy, composed=False, seed=1000)
    results: list[Result] = []
    with Interruption() as interruption, surroundings(sim=True) as folder:
        listed = processes(robot, options)
        graph = Graph(
            with_relay(listed if nice is None else prioritised(listed, nice)),
            folder,
            PlainView(sys.stderr),
            Report("franka", policy),
            interruption,
        )
        relay = Relay()
        try:
            graph.start()
            rig = GraphRig(graph, relay)
            for fault in faults:
                results.append(rig.run(fault))
                tell(results[-1])
                if rig.end:
                    break
        finally:
            graph.stop("the benchmark has ended")
            relay.close()
    return results
