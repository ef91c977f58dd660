"""Handovers on the running graph: from a button on `joy`, through teleop_node, to the tick of the bridge that follows it."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from sensor_msgs.msg import Joy
from witness import Witness

from defi_msgs.msg import ControlState
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_ns
from defi_ros.bridge.pacing import DEVICE_PRIORITY, raise_priority
from defi_ros.bringup import BringupOptions, Process, graph_environment, processes
from defi_ros.robot import load_robot
from defi_ros.up.graph import Graph
from defi_ros.up.interruption import Interruption
from defi_ros.up.report import Report
from defi_ros.up.surroundings import surroundings
from defi_ros.up.terminal import PlainView

DEADMAN, BUTTONS, AXES = 9, 15, 6  # config/teleop/joy.yaml
TASK, INSTRUCTION = "move_door_left", "move the door to the left"
MOVES_S, TAKES_S, RESTS_S = 15.0, 2.0, 5.0


def measure(handovers: int, seed: int) -> dict[str, Any]:
    """Times from the button to the first tick of TELEOP, by the stamp of the control_state that says so."""
    teleop = Process(
        "teleop_node",
        "defi_ros.nodes.teleop_node",
        {"robot": "franka", "teleop.device": "joy"},
        graph_environment(),
        nice=load_robot("franka").nodes.nice.teleop_node,
    )
    options = BringupOptions("franka", sim=True, policy="scripted", composed=True, seed=seed)
    with Interruption() as interruption, surroundings(sim=True) as folder:
        parts = [*processes(load_robot("franka"), options), teleop]
        graph = Graph(parts, folder, PlainView(sys.stderr), Report("franka", "scripted"), interruption)
        witness = Witness()
        joy = witness.node.create_publisher(Joy, "joy", qos.STREAM)
        witness.begin()
        try:
            graph.start()
            # A joystick has a processor of its own: it does not wait for the graph's. Only now: children would inherit it.
            raise_priority(0, DEVICE_PRIORITY)
            times_ms = [_hand_over(graph, witness, joy, seed + number) for number in range(handovers)]
            state = witness.state
        finally:
            graph.stop("the benchmark has ended")
            witness.close()
    return {
        "handovers": len(times_ms),
        "within_20_ms": sum(time_ms <= 20.0 for time_ms in times_ms),
        "limits_violated": int(state.limit_violations) if state else -1,
        "button_to_command_ms": {
            "p50": float(np.median(times_ms)),
            "p99": float(np.percentile(times_ms, 99)),
            "max": max(times_ms),
        },
    }


def _hand_over(graph: Graph, witness: Witness, joy: Any, seed: int) -> float:
    """Lets the policy move the arm, presses the deadman, and returns how long it took [ms]; infinite when it did not."""
    graph.reset(seed, TASK)
    task = graph.listener.ask_task(INSTRUCTION, 30.0)
    graph.wait(lambda: witness.moving, MOVES_S)
    pressed = Joy(axes=[0.0] * AXES, buttons=[int(number == DEADMAN) for number in range(BUTTONS)])
    pressed_ns = time.time_ns()  # the graph runs on the system's clock
    joy.publish(pressed)
    graph.wait(lambda: _taken_ns(witness, pressed_ns) is not None, TAKES_S)
    taken_ns = _taken_ns(witness, pressed_ns)
    joy.publish(Joy(axes=[0.0] * AXES, buttons=[0] * BUTTONS))
    task.cancel()
    graph.wait(lambda: graph.listener.at_rest, RESTS_S)
    return float("inf") if taken_ns is None else (taken_ns - pressed_ns) / 1e6


def _taken_ns(witness: Witness, pressed_ns: int) -> int | None:
    stamps = [to_ns(state.header.stamp) for _, state in list(witness.states) if state.mode == ControlState.TELEOP]
    return next((stamp_ns for stamp_ns in stamps if stamp_ns >= pressed_ns), None)
