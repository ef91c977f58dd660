"""The only node that commands the arm. Its tick is `input -> core -> driver`; all deciding is in `defi_ros.control`.

It needs no torch, and neither crash nor silence of any other process disturbs its rate.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from defi_models.inference import load
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import ControlState, TeleopCommand
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.caller import Caller
from defi_ros.bridge.convert import JointReader, to_ns
from defi_ros.bridge.lifecycle import DefiNode, NodeError, run
from defi_ros.bridge.pacing import (
    SPIN_PRIORITY,
    Pacer,
    keep_to_core,
    raise_priority,
    raise_process,
    settle_interpreter,
)
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.command import ArmCommand
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.motion import longest_stop_s
from defi_ros.control.preflight import check_policy_fits_robot, check_robot_fits_description
from defi_ros.drivers import make_arm_driver, make_gripper_driver
from defi_ros.drivers.robot_status import make_robot_status
from defi_ros.nodes.action_stage import wait_for_description, wait_for_joints
from defi_ros.nodes.arm_guard import ArmGuard
from defi_ros.nodes.arm_inbox import ArmInbox
from defi_ros.nodes.arm_report import ArmReport
from defi_ros.sections import NO_POLICY

REPORT_PERIOD_S = 0.02
REST_SLACK_S = 0.2  # beyond the longest way to rest: a few ticks, and a computer that is busy with ending
LONGEST_STOP_S = 1.4  # `defi up` asks harder after 1.5 s
OTHER_BRIDGE_S = 1.0  # a bridge speaks every 20 ms; finding it takes up to 0.5 s
POLICY_ROLES = ("imagination_node", "action_node", "inference_node")


class ArmBridgeNode(DefiNode):
    """Chunks, teleop commands and joint states in; the controller's own commands and `control_state` out.

    Three threads touch it: the one that spins (callbacks, reports), the tick thread (core and arm driver), and the main
    thread while it comes up and goes down. Between them lie the inbox and the last command, replaced as a whole.
    """

    NAME = "arm_bridge_node"
    SECTIONS = ("control", "driver", "gripper", "interlock", "joints", "workspace")

    def configure(self) -> None:
        """Checks policy and robot against each other, then waits for the robot; nothing is commanded."""
        robot = self._robot = self.robot_file()
        spec = robot.spec
        rate_hz = robot.control.rate_hz
        if robot.policy.path == NO_POLICY and robot.control.start_mode == Mode.POLICY.name:
            raise NodeError(
                f"{self.NAME}: got control.start_mode POLICY and policy.path {NO_POLICY!r}, expected a policy or HOLD"
            )
        if robot.policy.path != NO_POLICY:
            check_policy_fits_robot(
                load.read_spec(robot.policy.path),
                spec,
                rate_hz=rate_hz,
                replan_s=robot.policy.replan_s,
                chunk_timeout_s=robot.control.chunk_timeout_s,
            )
        self._stop_s = longest_stop_s(spec.limits)
        if self._stop_s > LONGEST_STOP_S:
            raise NodeError(
                f"{self.NAME}: got limits by which braking takes {self._stop_s:.1f} s, expected at most "
                f"{LONGEST_STOP_S:g} s, so that Ctrl-C finds the arm at rest; raise joints.limit_scale.acceleration and "
                "jerk, or lower velocity"
            )
        kinematics = Kinematics(wait_for_description(self), spec.joint_names, spec.tip_frame, spec.limits)
        says = kinematics.described_limits
        check_robot_fits_description(spec, says.lower, says.upper, says.velocity, kinematics.tip(spec.home))
        wait_for_joints(self, JointReader(spec.joint_names, robot.gripper))
        self._check_no_other_bridge()
        self._core = ArmCore(spec, robot.control, robot.gripper, kinematics)
        self._driver = make_arm_driver(self, robot.driver, spec, kinematics)
        with Caller(self, self.stopping) as call:
            self._driver.prepare(call, self.start_timeout_s)
        self._gripper = make_gripper_driver(self, robot.gripper)
        if self._gripper is not None:
            self.own(self._gripper.destroy)
        self._status = make_robot_status(self, robot.interlock)
        if self._status is not None:
            self._status.listen(self.wait_to_hear, self.start_timeout_s)
        self._report = ArmReport(spec.joint_names, robot.driver.base_frame)
        reader = JointReader(spec.joint_names, robot.gripper)
        self._inbox = ArmInbox(self._core, reader, self.health, robot.driver.base_frame, spec.tip_frame)
        self._guard = ArmGuard(self, self._core, self._inbox, self._driver, self._gripper, self._status)
        self._pacer = Pacer(rate_hz)
        self._last: ArmCommand | None = None
        self._gripper_goal: float | None = None
        self._gripper_stopped = False
        self._gripper_trouble: str | None = None
        self._saying, self._unsaid = threading.Lock(), False
        self._connect()

    def _check_no_other_bridge(self) -> None:
        # One that was killed is still known to the graph for a while, but silent.
        if not self.get_publishers_info_by_topic("control_state"):
            return
        if self.wait_to_hear("control_state", ControlState, qos.STREAM, timeout_s=OTHER_BRIDGE_S) is not None:
            raise NodeError(
                f"{self.NAME}: got control_state from another arm bridge, expected none. Stop that one first."
            )

    def _connect(self) -> None:
        inbox = self._inbox
        self._states = self.say("control_state", ControlState, qos.STREAM)
        self.hear("joint_states", JointState, inbox.on_joints, qos.STATES)
        self.hear("action_chunk", ActionChunkMsg, inbox.on_chunk, qos.STREAM)
        self.hear("teleop/command", TeleopCommand, inbox.on_teleop, qos.STREAM)
        for role in POLICY_ROLES:
            self.watch(f"{role}/alive", lambda alive, role=role: inbox.on_alive(role, alive))
            self.hear(f"{role}/trouble", String, lambda said, role=role: inbox.on_trouble(role, said), qos.LATCHED)
        self.offer("set_authority", SetAuthority, self._on_set_authority)
        self.offer("recover", Trigger, self._guard.recover)
        self.every(REPORT_PERIOD_S, self._look_and_say)

    def activate(self) -> None:
        """Starts the control loop, unless somebody else commands the arm already."""
        self._guard.begin()
        self._core.forget(self.now_ns())
        self._pacer, self._last, self._gripper_goal = Pacer(self._robot.control.rate_hz), None, None
        self._starts_policy = self._robot.control.start_mode == Mode.POLICY.name
        if self.owns_process:
            settle_interpreter()
            nodes = self._robot.nodes
            if raise_process(nodes.nice.arm_bridge_node, SPIN_PRIORITY).startswith("SCHED_FIFO"):
                self.health.set(cpu=keep_to_core(nodes.arm_bridge_core))
        self._inbox.listens = self._inbox.obeys = True
        self._loop = self.start_worker("arm_tick", self._tick_until)

    def deactivate(self) -> None:
        """Brings the arm to rest within its limits; that is the last it hears."""
        self._inbox.obeys = False
        self._inbox.put(lambda now_ns: self._core.authority.hold("the arm bridge is shutting down", now_ns))
        deadline_s = time.monotonic() + self._stop_s + REST_SLACK_S
        while not self._rests() and time.monotonic() < deadline_s:
            if self._loop.running:
                time.sleep(REPORT_PERIOD_S / 4)
            else:  # the loop has failed: this thread makes its last ticks
                self._pacer.wait(self.stopping)
                self._tick()
        self._inbox.listens = False
        self._loop.stop(REST_SLACK_S)
        if self._last is not None and self._last.positions is not None:
            self._driver.stop(self._last.positions, self.now_ns())
        self._say_state()

    def _rests(self) -> bool:
        """Whether the last command stands still and is not the policy's or a person's any more."""
        last = self._last
        return last is None or (last.mode in (Mode.HOLD, Mode.STOPPED) and not last.velocities.any())

    # The tick thread -------------------------------------------------------------------------------------------------

    def _tick_until(self, stop: threading.Event) -> None:
        self.health.set(
            priority=raise_priority(self._robot.nodes.nice.arm_bridge_node) if self.owns_process else "as is"
        )
        while self._pacer.wait(stop):
            self._tick()

    def _tick(self) -> None:
        now_ns, late_ns = self.now_ns(), self._pacer.late_ns
        self._inbox.deliver(now_ns)
        command = self._core.tick(now_ns, late_ns, self._pacer.missed, self._driver.alone(now_ns))
        if command.anew:
            self._driver.let_go(now_ns)
        if command.positions is not None:
            measured = command.measured if command.trusted else None
            self._driver.send(command.positions, command.velocities, measured, now_ns)
        elif self._last is not None and self._last.positions is not None:
            self._driver.let_go(now_ns)
        if self._starts_policy and command.measured is not None:  # refused for an arm that must be led by hand first
            self._starts_policy = False
            self._core.request(Mode.POLICY, "control.start_mode", now_ns)
        latency_ms = self._report.note(command, self.now_ns())
        self._inbox.tool_pose = command.pose
        if command.gripper_goal is not None:
            self._gripper_goal = command.gripper_goal
        before, self._last = self._last, command
        self.health.count(latency_ms)
        if before is not None and (before.mode, before.verdict) != (command.mode, command.verdict):
            self._say_state()

    # The spinning thread ---------------------------------------------------------------------------------------------

    def _on_set_authority(self, request: Any, response: Any) -> Any:
        if request.mode == Mode.POLICY and self._robot.policy.path == NO_POLICY:
            response.reason = f"POLICY refused: robot {self._robot.name!r} has no policy; people alone move it"
            return response
        response.granted, response.reason = self._inbox.ask(request)
        return response

    def _say_state(self) -> None:
        """Says how things are, in the order of ticks; either thread may call it and neither waits for the other."""
        self._unsaid = True
        while self._unsaid and self._saying.acquire(blocking=False):  # who comes meanwhile is served by the holder
            try:
                self._unsaid = False
                gone = next(iter(tuple(self._inbox.lost.values())), "")
                message = self._report.message(self._core, self._pacer.lateness, self.now_ns(), gone)
                if message is not None:
                    self._guard.said(to_ns(message.header.stamp))
                    self._states.publish(message)
            finally:
                self._saying.release()

    def _send_gripper(self) -> None:
        if self._gripper is None:
            return
        goal, self._gripper_goal = self._gripper_goal, None
        stopped = self._last is not None and self._last.mode == Mode.STOPPED
        if stopped and not self._gripper_stopped:
            self._gripper.stop()
        elif goal is not None and not stopped:
            self._gripper.command(goal)
        self._gripper_stopped = stopped
        before, self._gripper_trouble = self._gripper_trouble, self._gripper.poll()
        self.health.trouble("gripper", trouble := self._gripper_trouble)
        if trouble is not None and trouble != before:
            self._inbox.put(lambda now_ns: self._core.on_gripper_trouble(trouble, now_ns))

    def _look_and_say(self) -> None:
        if self.state == "active":
            self._guard.look()
            self._send_gripper()
        self._say_state()

    def describe(self) -> None:
        """Shows mode and jitter."""
        command = self._last if self.state == "active" else None
        if command is None:
            return
        lateness = self._pacer.lateness
        self.health.set(
            mode=command.mode.name,
            reason=command.reason,
            verdict=f"{command.verdict.name} {command.verdict_reason}".strip(),
            jitter_ms_p99=f"{lateness.percentile_ms(99):.2f}",
            jitter_ms_max=f"{lateness.max_ms:.2f}",
            limit_violations=self._core.limit_violations,
        )


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(ArmBridgeNode))


if __name__ == "__main__":
    main()
