"""A robot without a scene that speaks the interfaces of its robot file, in front of the arm bridge's own process.

For what only a robot, its controller or its gripper can do wrong. A person or a made-up policy moves it.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from fault import Fault, Result, judge, not_tried, tell
from rclpy.context import Context
from witness import Witness

from defi_models.contract import ActionChunk, DefiError
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import ControlState
from defi_ros.bridge import qos
from defi_ros.bridge.convert import chunk_to
from defi_ros.bridge.emulated_robot import EmulatedRobot
from defi_ros.bridge.lifecycle import make_executor
from defi_ros.bringup import graph_environment
from defi_ros.robot import load_robot
from defi_ros.up.processes import Child, StopTimes, stop_all
from defi_ros.up.surroundings import surroundings
from defi_sim.description import fr3_description, panda_directory

NAMESPACE = "faults"
UP_S, MOVES_S, RESTS_S, GOES_ON_S = 30.0, 8.0, 5.0, 1.5
STANDS_S, STANDS_RAD = 0.3, 0.003  # an arm that has moved by no more in that time stands
# The robot files of real arms begin with a tenth of the speed, at which little can be seen of a rest.
QUICK = {
    "joints.limit_scale.velocity": 0.5,
    "joints.limit_scale.acceleration": 1.0,
    "joints.limit_scale.jerk": 1.0,
}
CHUNK_STEP_S, CHUNK_STEPS, CHUNKS_HZ = 0.1, 10, 10.0
SWING_RAD, SWING_HZ = 0.8, 0.06


@dataclass(frozen=True)
class Site:
    """One robot as it is set up.

    Attributes:
        robot: Name of the robot file.
        changes: Values of it that differ.
        guarded: Whether the stop guard runs beside the bridge.
    """

    robot: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    guarded: bool = False


def description_of(robot: str) -> str:
    """The URDF of one of the robots used here; a UR5e gets the geometry of the UR5."""
    if robot == "ur5e":
        return (panda_directory().parent / "ur_description" / "urdf" / "ur5_robot.urdf").read_text(encoding="utf-8")
    if robot == "fr3":
        return fr3_description()
    return (panda_directory() / "urdf" / "panda.urdf").read_text(encoding="utf-8")


class RobotRig:
    """The robot, its bridge, and a witness. One fault each: some of them nobody can put right again.

    Attributes:
        robot: The emulated robot; `robot.simulation` is its mechanics.
        witness: Hears and asks.
        opening: What the made-up policy wants of the gripper, 0 closed .. 1 open.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        """Starts everything; `folder` gets the logs."""
        self._file = load_robot(site.robot)
        self.opening = 1.0
        parameters = {"robot": site.robot, **QUICK, **site.changes}
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.robot = EmulatedRobot(
            context=self._context,
            namespace=f"/{NAMESPACE}",
            parameters={**parameters, "description": description_of(site.robot)},
        )
        self._executor = make_executor(self._context)
        self._executor.add_node(self.robot)
        assert self.robot.bring_up(), self.robot.failure
        self._stopping = threading.Event()
        self._spinner = threading.Thread(target=self._spin, name="robot", daemon=True)
        self._spinner.start()
        names = ["stop_guard_node", "arm_bridge_node"] if site.guarded else ["arm_bridge_node"]
        self.children = {name: self._start(name, parameters, folder) for name in names}
        self.witness = Witness(NAMESPACE)
        self._chunks = self.witness.node.create_publisher(ActionChunkMsg, "action_chunk", qos.STREAM)
        self._plays = False
        self._began_s = 0.0
        self.witness.node.create_timer(1.0 / CHUNKS_HZ, self._say_chunk)
        self.witness.begin()

    def _start(self, name: str, parameters: Mapping[str, Any], folder: Path) -> Child:
        command = [sys.executable, "-m", f"defi_ros.nodes.{name}", "--ros-args", "-r", f"__ns:=/{NAMESPACE}"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={json.dumps(value)}"]
        return Child(name, command, {**graph_environment(), **os.environ}, folder / f"{name}.log")

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def _say_chunk(self) -> None:
        """The made-up policy: the first joint swings, as a function of time alone."""
        if not self._plays:
            return
        now_ns = self.witness.node.get_clock().now().nanoseconds
        seconds = time.monotonic() - self._began_s + CHUNK_STEP_S * np.arange(CHUNK_STEPS)
        targets = np.tile(self._file.spec.home, (CHUNK_STEPS, 1))
        targets[:, 0] += SWING_RAD * np.sin(2 * math.pi * SWING_HZ * seconds)
        gripper, step_ns = np.full(CHUNK_STEPS, self.opening), round(CHUNK_STEP_S * 1e9)
        self._chunks.publish(
            chunk_to(ActionChunk(now_ns, step_ns, "joint_positions", targets, gripper, self._file.arm))
        )

    def wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Whether a condition holds in time."""
        end_s = time.monotonic() + timeout_s
        while not until() and time.monotonic() < end_s:
            time.sleep(0.02)
        return until()

    def set_off(self, mode: str) -> None:
        """Makes somebody move the arm.

        Raises:
            DefiError: the bridge did not come up, or the arm did not move.
        """
        witness = self.witness
        if not self.wait(lambda: witness.state is not None and len(witness.state.measured) > 0, UP_S):
            raise DefiError(f"the arm bridge did not come up within {UP_S:.0f} s")
        if mode == "policy":
            answer = witness.ask(ControlState.POLICY)
            if answer is None or not answer.granted:
                raise DefiError("POLICY was refused" if answer is None else answer.reason)
            self._began_s, self._plays = time.monotonic(), True
        else:
            witness.wish_for(self._file.driver.base_frame, 0.1, 0.03)
        if not self.wait(lambda: witness.moving, MOVES_S):
            raise DefiError(f"the arm did not move within {MOVES_S:.0f} s: {witness.reason}")

    def stands(self) -> bool:
        """Whether the emulated arm itself stands still, whatever is said of it."""
        before = self.robot.simulation.positions.copy()
        self.wait(lambda: False, STANDS_S)
        return bool(np.abs(self.robot.simulation.positions - before).max() < STANDS_RAD)

    def close(self) -> None:
        """Ends everything."""
        self._plays = False
        self.witness.let_go()
        stop_all(self.children.values(), StopTimes())
        self.witness.close()
        self._stopping.set()
        self._spinner.join(2.0)
        self.robot.shut_down()
        self.robot.destroy_node()
        self._executor.shutdown()
        self._context.try_shutdown()


def try_on(rig: RobotRig, fault: Fault) -> Result:
    """Sets off, injects and watches."""
    try:
        rig.set_off(fault.mode)
        rig.wait(lambda: False, 0.4)
    except DefiError as error:
        return not_tried(fault, "robot", str(error))
    witness, before = rig.witness, rig.witness.violations
    injected_s = time.monotonic()
    fault.inject(rig)
    rest_s = witness.rest_s(injected_s, rig.wait, GOES_ON_S if fault.goes_on else RESTS_S)
    rig.wait(lambda: False, fault.told_s)
    if not fault.goes_on and not rig.stands():  # joint states may lie, or be gone
        rest_s = None
    end = rig.children["arm_bridge_node"].ended()
    cause = "; ".join(f"{node}: {text}" for node, text in witness.troubles.items() if text)
    reason = witness.reason if end is None else f"{end.name} ended: {end.reason}"
    return judge(fault, "robot", rest_s, reason, cause, witness.violations - before)


def play(cases: Sequence[tuple[Site, Fault]]) -> list[Result]:
    """Plays each fault on a robot of its own."""
    results: list[Result] = []
    for site, fault in cases:
        with surroundings(sim=True) as folder:
            rig = RobotRig(site, folder)
            try:
                results.append(try_on(rig, fault))
            finally:
                rig.close()
                del rig
                gc.collect()  # what a rig made refers to itself; its DDS threads would live on, twenty a rig
        tell(results[-1])
    return results
