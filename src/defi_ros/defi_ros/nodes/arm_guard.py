"""What may keep the arm bridge from commanding: the robot itself, its controller, a second publisher; and the way back."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from std_msgs.msg import Bool

from defi_models.contract import DefiError
from defi_ros.bridge import qos
from defi_ros.bridge.caller import Caller
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.control.arm import ROBOT, ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.interlock import RecoveryError
from defi_ros.drivers import ArmDriver, GripperDriver
from defi_ros.drivers.interface import DriverError, check_sole_publisher
from defi_ros.drivers.robot_status import RobotStatus
from defi_ros.nodes.arm_inbox import ArmInbox
from defi_ros.nodes.rival_bridge import RivalBridge

WALL_STOP = "emergency_stop"
STOPS = {WALL_STOP: "emergency stop", "teleop/emergency_stop": "emergency stop at the input device"}
LOOK_EVERY = 10  # looks at the robot for one at the graph, which costs a tenth of a millisecond
RECOVERY = "recovery"
RECOVERING = "a recovery was asked for; once it is over, a reset lets the arm move again"


class ArmGuard:
    """Looks a few times a second, tells the core what stands in the way, and runs the recovery in a thread of its own.

    All methods belong to the thread that spins the node, except where said.

    Args:
        node: Owns the threads.
        core: Is told of faults, inside the inbox alone.
        inbox: The way into the tick thread.
        driver: Of the arm.
        gripper: Of the gripper, or None.
        status: What the robot says of itself, or None.
    """

    def __init__(
        self,
        node: DefiNode,
        core: ArmCore,
        inbox: ArmInbox,
        driver: ArmDriver,
        gripper: GripperDriver | None,
        status: RobotStatus | None,
    ) -> None:
        self._node, self._core, self._inbox = node, core, inbox
        self._driver, self._status = driver, status
        self._rival = RivalBridge(node)
        self._heard: set[tuple[str, str]] = set()  # topic, kind of publisher
        for topic in STOPS:
            self._hear_stop(topic, qos.EVENTS)
        self._topics = driver.topics + (() if gripper is None else gripper.topics)
        self._faults: dict[str, str] = {}
        self._looks = 0
        self._recovering = False

    def begin(self) -> None:
        """Hears stops that are latched, and forgets what the robot said while nobody commanded it.

        Raises:
            DriverError: another node commands the arm.
        """
        self._check_topics()
        self._look_at_stops()
        if self._status is not None:
            self._status.fault()

    def _hear_stop(self, topic: str, profile: QoSProfile) -> None:
        source = STOPS[topic]
        self._node.hear(topic, Bool, lambda said: self._inbox.on_emergency_stop(said.data, source), profile)

    def _check_topics(self) -> None:
        """Refuses to go on beside another commander.

        Raises:
            DriverError: names it.
        """
        check_sole_publisher(self._node, self._topics, self._driver.companions)

    def look(self) -> None:
        """Tells the core what began or ended to stand in the way."""
        if self._status is not None:
            self._note(ROBOT, self._status.fault(), follows_nobody=self._status.follows_nobody())
        self._looks += 1
        if self._looks % LOOK_EVERY:
            return
        self._note("controller", self._driver.poll())
        self._note("other arm bridge", self._rival.look())
        self._look_at_stops()
        try:
            self._check_topics()
        except DriverError as error:
            self._note("command topic", str(error))
        else:
            self._note("command topic", None)

    def _look_at_stops(self) -> None:
        """Hears stops of every kind of publisher, and tells of those that cannot be relied on.

        One that is latched may have been pressed before this node was there; to ask every other for that would make it
        warn. One that publishes best effort, as many microcontrollers do, is not heard by who asks for more.
        """
        unreliable: list[str] = []
        for topic in STOPS:
            for info in self._node.get_publishers_info_by_topic(topic):
                offered = info.qos_profile
                if offered.durability == DurabilityPolicy.TRANSIENT_LOCAL:
                    self._hear_also(topic, "latched", qos.LATCHED)
                if offered.reliability == ReliabilityPolicy.BEST_EFFORT:
                    self._hear_also(topic, "best effort", qos.STATES)
                    unreliable.append(
                        f"{topic}: {info.node_name} publishes best effort, expected reliable: a stop may be lost"
                    )
        count = self._node.count_publishers(WALL_STOP)
        if count > 1:
            unreliable.append(
                f"{WALL_STOP}: got {count} publishers, expected one: each of them releases what another has pressed"
            )
        self._node.health.trouble(WALL_STOP, "; ".join(unreliable) or None)

    def _hear_also(self, topic: str, kind: str, profile: QoSProfile) -> None:
        if (topic, kind) not in self._heard:
            self._heard.add((topic, kind))
            self._hear_stop(topic, profile)

    def said(self, stamp_ns: int) -> None:
        """Notes the stamp of a `control_state` of this bridge; any thread."""
        self._rival.own.append(stamp_ns)

    def _note(self, subject: str, fault: str | None, *, follows_nobody: bool = False) -> None:
        if fault == self._faults.get(subject):
            return
        if fault is None:
            del self._faults[subject]
        else:
            self._faults[subject] = fault
        self._node.health.trouble(subject, fault)
        self._inbox.put(lambda now_ns: self._core.on_fault(subject, fault, now_ns, follows_nobody=follows_nobody))

    # The way back ----------------------------------------------------------------------------------------------------

    async def recover(self, request: Any, response: Any) -> Any:
        """The service `recover`: the arm is STOPPED, the robot brought back; a reset of STOPPED is asked for apart."""
        del request
        try:
            self._check_released()
        except RecoveryError as error:
            response.message = str(error)
            return response
        if self._core.authority.mode != Mode.STOPPED and not self._faults:
            response.success, response.message = True, "recovery: nothing to recover from, the arm is not STOPPED"
            return response
        if self._recovering or self._node.state != "active":
            response.message = "recovery: one runs already" if self._recovering else "the arm bridge is not active"
            return response
        self._recovering = True
        done: Future[tuple[bool, str]] = Future(executor=self._node.executor)
        self._inbox.put(lambda now_ns: self._core.on_fault(RECOVERY, RECOVERING, now_ns))
        self._node.start_worker(RECOVERY, lambda stop: done.set_result(self._try_recover(stop)))
        response.success, response.message = await done or (False, "recovery: it ended without a result")
        self._inbox.put(lambda now_ns: self._core.on_fault(RECOVERY, None, now_ns))
        self.look()  # so that a reset asked for on this answer finds the robot ready
        self._recovering = False
        return response

    def _check_released(self) -> None:
        """Ends a recovery during which a stop is pressed; any thread.

        Raises:
            RecoveryError: so.
        """
        if pressed := sorted(self._inbox.pressed):
            raise RecoveryError(f"recovery: got {', '.join(pressed)} pressed, expected none; release it")

    def _try_recover(self, stop: threading.Event) -> tuple[bool, str]:
        """Takes the steps; in the thread of the recovery. Returns whether they succeeded, and what to say."""
        steps: list[str] = []

        def told(step: str) -> None:
            steps.append(step)
            self._node.get_logger().info(f"recovery: {step}")
            self._check_released()

        try:
            with Caller(self._node, stop) as call:
                if self._status is not None:
                    self._status.recover(call, told)
                self._check_released()
                self._driver.prepare(call, self._node.start_timeout_s)
                self._check_released()
        except DefiError as error:
            taken = f" after {', '.join(steps)}" if steps else ""
            return False, f"{error}{taken}"
        return True, f"recovered by {', '.join(steps) or 'nothing: no step was due'}; a reset lets the arm move again"
