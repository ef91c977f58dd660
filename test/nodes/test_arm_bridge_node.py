"""arm_bridge_node on a played robot whose joints follow the commands it hears."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import threading
import time
import types
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import Twist, Vector3
from rclpy.node import Node
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger

from defi_models.contract import ActionChunk, PolicySpec
from defi_models.inference import load
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import ControlState, TeleopCommand
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.convert import chunk_to, to_ns
from defi_ros.control.kinematics import Kinematics
from defi_ros.nodes.arm_bridge_node import ArmBridgeNode
from defi_ros.nodes.arm_inbox import ArmInbox
from defi_ros.robot import load_robot

pytestmark = pytest.mark.ros

SPEC = PolicySpec(
    name="fake",
    fingerprint="fake",
    arm="franka_panda",
    cameras=("static", "wrist"),
    image_size=(64, 64),
    space="joint_positions",
    chunk_steps=10,
    step_ns=100_000_000,
    feature_shape=(2, 3),
)


@pytest.fixture(autouse=True)
def fake_policy(monkeypatch):
    monkeypatch.setattr(load, "read_spec", lambda path: SPEC)


class Arm:
    """A running arm bridge, what it said, and a robot that does at once what it is told."""

    def __init__(self, graph, robot, **parameters):
        self.graph, self.robot = graph, robot
        self.states = graph.listen("control_state", ControlState, qos.STREAM)
        self.commands: list[np.ndarray] = []
        self.command_times: list[float] = []
        graph.peer.create_subscription(
            Float64MultiArray, "forward_position_controller/commands", self._on_command, 1000
        )
        self.node = graph.start(ArmBridgeNode, **{"gripper.kind": "none", **parameters})
        self.chunks = graph.speaker("action_chunk", ActionChunkMsg, qos.STREAM)
        self._authority = graph.peer.create_client(SetAuthority, "set_authority")
        graph.until(lambda: self.states and self.commands and self._authority.service_is_ready())
        graph.until(self.chunks.get_subscription_count)

    def _on_command(self, message):
        self.commands.append(np.array(message.data))
        self.command_times.append(time.monotonic())
        self.robot.positions[:7] = message.data

    @property
    def state(self):
        return self.states[-1]

    def ask(self, mode, *, reset=False):
        """The answer to set_authority."""
        future = self._authority.call_async(SetAuthority.Request(mode=mode, source="test", reset=reset))
        return self.graph.until(future.done) and future.result()

    def send_chunk(self, step_rad=0.05, arm="franka_panda", age_s=0.0):
        """A chunk that moves joint 7 at 10 * step_rad [rad/s] from where it is."""
        start_ns = self.graph.peer.get_clock().now().nanoseconds - round(age_s * 1e9)
        targets = np.tile(self.commands[-1], (10, 1))
        targets[:, 6] += step_rad * np.arange(10)
        chunk = ActionChunk(start_ns, 100_000_000, "joint_positions", targets, np.ones(10), arm)
        self.chunks.publish(chunk_to(chunk))
        return start_ns

    def move(self):
        """Under the policy, replanned every 0.2 s, until the arm has moved and still moves."""
        assert self.ask(ControlState.POLICY).granted
        self.graph.until(lambda: self.state.mode == ControlState.POLICY)
        before, sent = self.commands[-1][6], -1.0

        def moves():
            nonlocal sent
            if time.monotonic() - sent > 0.2:
                sent = time.monotonic()
                self.send_chunk()
            return self.commands[-1][6] > before + 0.05 and not self.state.at_rest

        self.graph.until(moves)


@pytest.fixture
def arm(graph, robot, panda_urdf):
    robot.start(panda_urdf)
    return Arm(graph, robot)


def test_it_starts_in_hold_and_keeps_the_arm_where_it_is(graph, arm):
    graph.until(lambda: len(arm.commands) > 20)
    np.testing.assert_allclose(arm.commands[-1], arm.commands[0])
    assert arm.state.mode == ControlState.HOLD and arm.state.at_rest
    assert list(arm.state.joint_names) == list(load_robot("franka").joints.names)
    assert arm.state.limit_violations == 0


def test_a_chunk_moves_the_arm_only_under_the_policy_s_authority(graph, arm):
    arm.send_chunk()
    seen = len(arm.states)
    graph.until(lambda: len(arm.states) > seen + 10)
    assert arm.state.at_rest and arm.state.chunk_stamp.sec == 0
    before = arm.commands[-1][6]
    arm.move()
    assert arm.commands[-1][6] > before + 0.05
    assert arm.state.limit_violations == 0


def test_camera_to_command_latency_counts_from_the_observation_of_each_chunk(graph, arm):
    arm.move()
    count, stamp_ns = arm.state.camera_to_command_n, arm.send_chunk()
    graph.until(lambda: to_ns(arm.state.chunk_stamp) == stamp_ns and arm.state.camera_to_command_n > count)
    assert 0.0 < arm.state.camera_to_command_p50_ms <= arm.state.camera_to_command_p99_ms < 1000.0


def test_a_silent_policy_brings_the_arm_to_rest_with_the_reason(graph, arm):
    arm.move()
    graph.until(lambda: arm.state.at_rest and "no action chunk" in arm.state.verdict_reason)
    assert arm.state.verdict == ControlState.HELD
    assert arm.state.limit_violations == 0


KEEPER = """
import sys, time, rclpy
from rclpy.context import Context
from defi_ros.bridge.lifecycle import DefiNode
context = Context()
rclpy.init(args=[], context=context)
class Keeper(DefiNode):
    NAME = "action_node"
node = Keeper(context=context, namespace=sys.argv[1])
node.keep_alive(node.NAME)
time.sleep(60)
"""


@pytest.fixture
def policy_process(graph):
    """Starts a process that is seen as action_node to be alive."""
    started: list[subprocess.Popen] = []

    def start():
        started.append(subprocess.Popen([sys.executable, "-c", KEEPER, graph.namespace]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_killed_policy_process_brings_the_arm_to_rest_by_name_and_a_new_one_continues(graph, arm, policy_process):
    alive: list[bool] = []
    arm.node.watch("action_node/alive", alive.append)
    process = policy_process()
    graph.until(lambda: alive == [True])
    arm.move()
    process.kill()
    killed = time.monotonic()
    graph.until(lambda: arm.state.at_rest)
    assert time.monotonic() - killed < 2.0  # 0.3 s when nothing else runs
    gone = "action_node is gone: its process has ended or hangs"
    graph.until(lambda: arm.state.verdict_reason == gone, what=gone)  # a busy machine is told after the arm has rested
    arm.send_chunk(age_s=0.8)
    arm.send_chunk(age_s=0.8)
    seen = len(arm.states)
    graph.until(lambda: len(arm.states) > seen + 10)
    assert arm.state.at_rest
    assert "action_node is gone" in graph.diagnostics(arm.node)["message"]
    policy_process()
    graph.until(lambda: not arm.node._inbox.lost)
    arm.move()
    assert not arm.state.at_rest and arm.state.limit_violations == 0


def test_a_policy_process_taken_for_dead_proves_that_it_lives_by_a_chunk_from_a_newer_observation(graph, arm):
    arm.move()
    arm.node._inbox.on_alive("action_node", False)
    graph.until(lambda: "action_node is gone" in arm.state.verdict_reason)
    arm.send_chunk()
    graph.until(lambda: not arm.state.at_rest and "gone" not in arm.state.verdict_reason)


def test_a_chunk_for_another_arm_is_refused_with_the_reason(graph, arm):
    arm.move()
    arm.send_chunk(arm="ur5e")
    arm.send_chunk(arm="ur5e")
    graph.until(lambda: "expected 'franka_panda'" in graph.diagnostics(arm.node)["message"])


def test_a_malformed_chunk_is_refused_with_the_reason(graph, arm):
    arm.chunks.publish(ActionChunkMsg(step_ns=1, space="ee_pose", steps=2, dims=7))
    graph.until(lambda: "expected 14 for steps 2 and dims 7" in graph.diagnostics(arm.node)["message"])


def test_an_emergency_stop_latches_until_it_is_reset(graph, arm):
    stop = graph.speaker("emergency_stop", Bool)
    graph.until(stop.get_subscription_count)
    arm.move()
    stop.publish(Bool(data=True))
    graph.until(lambda: arm.state.mode == ControlState.STOPPED and arm.state.at_rest)
    assert not arm.ask(ControlState.POLICY).granted
    stop.publish(Bool(data=False))
    graph.until(lambda: not arm.node._core.authority._causes)
    answer = arm.ask(ControlState.HOLD)
    assert not answer.granted and "STOPPED" in answer.reason
    assert arm.ask(ControlState.HOLD, reset=True).granted


def test_two_stops_stand_each_for_itself_and_the_service_stops_too(graph, arm):
    wall, device = graph.speaker("emergency_stop", Bool), graph.speaker("teleop/emergency_stop", Bool)
    graph.until(lambda: wall.get_subscription_count() and device.get_subscription_count())
    wall.publish(Bool(data=True))
    graph.until(lambda: arm.state.mode == ControlState.STOPPED)
    assert arm.state.reason == "emergency stop is pressed"
    device.publish(Bool(data=True))
    device.publish(Bool(data=False))
    answer = arm.ask(ControlState.HOLD, reset=True)
    assert not answer.granted
    assert answer.reason == "reset refused, because this still stands: emergency stop is pressed"
    wall.publish(Bool(data=False))
    graph.until(lambda: not arm.node._core.authority._causes)
    assert arm.ask(ControlState.HOLD, reset=True).granted
    assert arm.ask(ControlState.STOPPED).granted
    graph.until(lambda: arm.state.mode == ControlState.STOPPED)
    assert arm.state.reason == "stop asked for by test" and arm.state.source == "test"


def test_a_stop_that_was_latched_before_the_bridge_came_is_heard(graph, robot, panda_urdf):
    stop = graph.speaker("emergency_stop", Bool, qos.LATCHED)
    stop.publish(Bool(data=True))
    robot.start(panda_urdf)
    arm = Arm(graph, robot)
    graph.until(lambda: arm.state.mode == ControlState.STOPPED)
    assert arm.state.reason == "emergency stop is pressed"
    recovery = graph.peer.create_client(Trigger, "recover").call_async(Trigger.Request())
    answer = graph.until(recovery.done) and recovery.result()
    assert not answer.success and answer.message.startswith("recovery: got emergency stop pressed, expected none")


def test_a_stop_that_publishes_best_effort_is_heard_and_told(graph, arm):
    stop = graph.speaker("emergency_stop", Bool, qos.STATES)

    def pressed():
        stop.publish(Bool(data=True))
        return arm.state.mode == ControlState.STOPPED

    graph.until(pressed)
    assert "peer publishes best effort, expected reliable" in graph.diagnostics(arm.node)["message"]


def test_of_several_publishers_of_one_stop_the_node_warns(graph, arm):
    _stops = [graph.speaker("emergency_stop", Bool) for _ in range(2)]
    graph.until(lambda: "emergency_stop: got 2 publishers, expected one" in graph.diagnostics(arm.node)["message"])


def test_another_bridge_of_the_same_name_stops_both(graph, arm):
    """DDS knows publishers by their nodes' names, and both have the same."""
    assert arm.ask(ControlState.HOLD).granted
    rival = Node("arm_bridge_node", context=graph.context, namespace=graph.namespace, enable_rosout=False)
    speaker = rival.create_publisher(ControlState, "control_state", qos.STREAM)
    timer = rival.create_timer(0.05, lambda: speaker.publish(ControlState(reason="rival")))
    graph.executor.add_node(rival)
    try:
        graph.until(lambda: arm.state.reason != "rival" and arm.state.mode == ControlState.STOPPED)
        assert "another arm bridge" in arm.state.reason
        timer.cancel()
        graph.until(lambda: not arm.node._core.authority._causes)
        assert arm.ask(ControlState.HOLD, reset=True).granted
    finally:
        graph.executor.remove_node(rival)
        rival.destroy_node()


def test_a_policy_may_have_the_arm_from_the_start(graph, robot, panda_urdf):
    """The tick thread once handed its own request back to itself, for ever, at real-time priority."""
    robot.start(panda_urdf)
    arm = Arm(graph, robot, **{"control.start_mode": "POLICY"})
    graph.until(lambda: arm.state.mode == ControlState.POLICY)
    assert arm.state.source == "control.start_mode"
    graph.until(lambda: arm.state.ticks > 20)


def test_without_a_policy_none_has_the_arm_from_the_start(graph, robot, panda_urdf):
    robot.start(panda_urdf)
    node = graph.add(ArmBridgeNode, **{"control.start_mode": "POLICY", "policy.path": "none"})
    assert not node.bring_up()
    assert "got control.start_mode POLICY and policy.path 'none', expected a policy or HOLD" in node.failure


def test_an_arm_that_would_brake_for_too_long_is_refused_before_it_is_waited_for(graph):
    slow = {"joints.limit_scale.acceleration": 0.1, "joints.limit_scale.jerk": 0.1, "start_timeout_s": 60.0}
    node = graph.add(ArmBridgeNode, **slow)
    begin_s = time.monotonic()
    assert not node.bring_up() and time.monotonic() - begin_s < 30.0
    assert re.search(r"got limits by which braking takes \d\.\d s, expected at most 1\.4 s", node.failure)


def test_what_was_answered_not_to_be_answered_is_not_granted_later(graph, arm):
    """The loop was busy for a third of a second; then the policy had an arm that it was told it had not."""
    inbox = arm.node._inbox
    deliver, inbox.deliver = inbox.deliver, lambda now_ns: None
    answer = arm.ask(ControlState.POLICY)
    assert not answer.granted and "did not answer" in answer.reason
    stop = arm.ask(ControlState.STOPPED)
    assert not stop.granted
    inbox.deliver = deliver
    graph.until(lambda: arm.state.mode == ControlState.STOPPED)
    assert arm.ask(ControlState.HOLD, reset=True).granted


def test_what_comes_before_the_loop_runs_is_not_kept(graph, robot, panda_urdf):
    robot.start(panda_urdf)
    node = graph.add(ArmBridgeNode)
    assert node.trigger_configure() and graph.until(lambda: node.state == "inactive")
    for _ in range(20):
        node._inbox.on_teleop(TeleopCommand(source="me", deadman=True))
    assert not node._inbox._waiting
    node._inbox.on_emergency_stop(True, "emergency stop")
    assert len(node._inbox._waiting) == 1


def test_a_recovery_from_nothing_leaves_the_arm_as_it_is(graph, arm):
    client = graph.peer.create_client(Trigger, "recover")
    graph.until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    answer = graph.until(future.done) and future.result()
    assert answer.success and answer.message == "recovery: nothing to recover from, the arm is not STOPPED"
    assert arm.state.mode == ControlState.HOLD


def ask_in_a_terminal(graph, what):
    """Exit code and what `defi arm <what>` printed."""
    command = [sys.executable, "-m", "defi_models.cli", "arm", what, "--namespace", graph.namespace]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    graph.until(lambda: process.poll() is not None, 30.0)
    return process.returncode, process.communicate()[0].strip()


def test_in_any_terminal_the_arm_is_looked_at_stopped_and_brought_back(graph, arm):
    assert ask_in_a_terminal(graph, "state") == (0, "HOLD (start), at rest")
    assert ask_in_a_terminal(graph, "stop") == (0, "STOPPED granted to defi arm")
    assert ask_in_a_terminal(graph, "state") == (0, "STOPPED (stop asked for by defi arm), at rest")
    code, said = ask_in_a_terminal(graph, "policy")
    assert code == 1 and "POLICY refused: STOPPED" in said
    assert ask_in_a_terminal(graph, "recover")[0] == 0
    assert ask_in_a_terminal(graph, "reset") == (0, "HOLD granted to defi arm")


def test_where_no_bridge_is_heard_the_terminal_says_where_it_listened(graph):
    code, said = ask_in_a_terminal(graph, "state")
    assert code == 2 and "got no control_state for 3 s in ROS domain" in said and graph.namespace in said


class PlayedGripper:
    """Notes what it is told."""

    topics: tuple[str, ...] = ()

    def __init__(self):
        self.told: list[object] = []

    def command(self, opening):
        self.told.append(opening)

    def stop(self):
        self.told.append("stop")

    def poll(self):
        return None


def test_an_emergency_stop_stops_the_gripper_too(graph, arm):
    gripper = arm.node._gripper = PlayedGripper()
    arm.move()
    assert arm.ask(ControlState.STOPPED).granted
    graph.until(lambda: "stop" in gripper.told)
    arm.node._gripper_goal = 0.0
    for _ in range(20):
        graph.executor.spin_once(timeout_sec=0.02)
    assert gripper.told[gripper.told.index("stop") :] == ["stop"]


def test_control_states_come_in_the_order_of_ticks_whoever_says_them(graph, arm):
    talking = threading.Event()

    def talk():
        while not talking.is_set():
            arm.node._say_state()

    talkers = [threading.Thread(target=talk) for _ in range(2)]
    for talker in talkers:
        talker.start()
    graph.until(lambda: len(arm.states) > 200)
    talking.set()
    for talker in talkers:
        talker.join()
    ticks = [state.ticks for state in arm.states]
    assert ticks == sorted(ticks)


def test_a_person_at_the_device_takes_over_and_the_arm_rests_when_the_stream_stops(graph, arm, panda_urdf):
    teleop = graph.speaker("teleop/command", TeleopCommand, qos.STREAM)
    graph.until(teleop.get_subscription_count)
    command = TeleopCommand(source="joystick", deadman=True, gripper=1.0)
    command.header.frame_id = load_robot("franka").tip_frame
    command.twist = Twist(linear=Vector3(z=0.05))
    # The tool of the resting Panda points down, so along its own z the arm goes down.
    kinematics = Kinematics(panda_urdf, arm.state.joint_names, command.header.frame_id)

    def height_m():
        return kinematics.forward(arm.commands[-1])[2]

    before_m, sent = height_m(), -1.0

    def goes_down():
        nonlocal sent
        if time.monotonic() - sent > 0.05:
            sent = time.monotonic()
            teleop.publish(command)
        return height_m() < before_m - 0.005

    graph.until(goes_down)
    assert arm.state.mode == ControlState.TELEOP and arm.state.source == "joystick"
    graph.until(lambda: arm.state.mode == ControlState.HOLD and arm.state.at_rest)


def test_while_nothing_is_commanded_a_twist_in_the_tool_s_frame_is_none_and_its_deadman_counts():
    """The deadman was not passed on: after a short pause its device had lost the arm, for a reason that was none."""
    wishes: list[Any] = []
    core: Any = types.SimpleNamespace(on_teleop=lambda wish, now_ns: wishes.append(wish))
    health: Any = types.SimpleNamespace(trouble=lambda kind, why: None)
    reader: Any = None
    inbox = ArmInbox(core, reader, health, "base", "tool")
    inbox.listens = inbox.obeys = True
    command = TeleopCommand(source="joystick", deadman=True)
    command.header.frame_id, command.twist = "tool", Twist(linear=Vector3(z=0.05))
    for pose in (None, np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])):
        inbox.tool_pose = pose
        inbox.on_teleop(command)
        inbox.deliver(0)
    assert [wish.deadman for wish in wishes] == [True, True]
    np.testing.assert_allclose([wish.twist[2] for wish in wishes], [0.0, -0.05])


def test_a_twist_in_an_unknown_frame_is_refused_with_those_that_exist(graph, arm):
    teleop = graph.speaker("teleop/command", TeleopCommand, qos.STREAM)
    graph.until(teleop.get_subscription_count)
    command = TeleopCommand(source="joystick", deadman=True)
    command.header.frame_id = "map"
    teleop.publish(command)
    graph.until(lambda: "got a twist in frame 'map'" in graph.diagnostics(arm.node)["message"])
    assert arm.state.mode == ControlState.HOLD


def test_shutting_down_in_motion_brings_the_arm_to_rest_before_the_last_command(graph, arm):
    arm.move()
    assert not arm.state.at_rest
    started = time.monotonic()
    arm.node.shut_down()
    assert time.monotonic() - started < 1.0
    count = len(arm.commands)
    graph.until(lambda: len(arm.commands) > count)
    seen = -1
    while seen != len(arm.commands):
        seen = len(arm.commands)
        for _ in range(20):
            graph.executor.spin_once(timeout_sec=0.005)
    steps = np.diff(np.array(arm.commands[-4:]), axis=0)
    assert np.abs(steps[-1]).max() == 0.0 and np.abs(steps).max() < 1e-3
    limits = load_robot("franka").spec.limits
    assert np.abs(np.diff(np.array(arm.commands), axis=0)).max() <= limits.velocity.max() / 200.0 * 1.001 * 3


def test_the_loop_s_failure_still_brings_the_arm_to_rest(graph, arm):
    arm.move()
    real, left = arm.node._report.note, [0]

    def fail_once(command, sent_ns):
        left[0] += 1
        if left[0] == 1:
            raise RuntimeError("broken")
        return real(command, sent_ns)

    arm.node._report.note = fail_once
    graph.until(lambda: arm.node.failure)
    assert "its thread 'arm_tick' failed: RuntimeError: broken" in arm.node.failure
    arm.node.shut_down()
    assert arm.node._last.at_rest


def test_it_ticks_at_its_rate_and_says_how_well(graph, arm):
    graph.until(lambda: arm.state.ticks > 300)
    assert 50.0 < arm.state.tick_rate_hz < 210.0  # 200 Hz when nothing else runs
    assert arm.state.jitter_p50_ms <= arm.state.jitter_p99_ms <= arm.state.jitter_max_ms


def test_another_commander_is_named_and_the_bridge_does_not_activate(graph, robot, panda_urdf):
    robot.start(panda_urdf)
    other = graph.speaker("forward_position_controller/commands", Float64MultiArray, qos.COMMANDS)
    node = graph.add(ArmBridgeNode)
    assert not node.bring_up()
    assert "got another publisher on" in node.failure and "/peer; expected to be the only one" in node.failure
    del other


def test_a_second_arm_bridge_is_refused(graph, arm):
    second = graph.add(ArmBridgeNode)
    coming_up = threading.Thread(target=second.bring_up)
    coming_up.start()
    graph.until(lambda: not coming_up.is_alive())
    assert "got control_state from another arm bridge" in second.failure


def test_a_missing_joint_is_named(graph, robot, panda_urdf):
    robot.joint_names[3] = "panda_jointx"
    robot.start(panda_urdf)
    node = graph.add(ArmBridgeNode)
    assert not node.bring_up()
    assert "got no joint 'panda_joint4'" in node.failure


def test_a_missing_robot_description_is_said_in_time(graph, robot):
    robot.start(None)
    node = graph.add(ArmBridgeNode, start_timeout_s=0.3)
    assert not node.bring_up()
    assert "got no robot_description for 0.3 s" in node.failure


def test_missing_joint_states_are_said_in_time(graph, robot, panda_urdf):
    robot.silent.add("joint_states")
    robot.start(panda_urdf)
    node = graph.add(ArmBridgeNode, start_timeout_s=0.5)
    assert not node.bring_up()
    assert "got no joint_states of the arm for 0.5 s" in node.failure


def test_a_policy_for_another_arm_is_refused_before_anything_is_waited_for(graph, monkeypatch):
    monkeypatch.setattr(load, "read_spec", lambda path: dataclasses.replace(SPEC, arm="ur5e"))
    node = graph.add(ArmBridgeNode)
    assert not node.bring_up()
    assert "got a policy for 'ur5e', expected 'franka_panda'" in node.failure


def test_the_arm_bridge_runs_without_torch():
    code = "import sys, defi_ros.nodes.arm_bridge_node; sys.exit('torch' in sys.modules or 'mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_arm_that_rests_for_lack_of_chunks_says_what_the_policy_s_nodes_say_of_themselves(graph, arm):
    arm.move()
    trouble = graph.speaker("imagination_node/trouble", String, qos.LATCHED)
    trouble.publish(String(data="camera 'static': is black"))
    graph.until(lambda: "s: imagination_node: camera 'static': is black" in arm.state.verdict_reason)
    assert arm.state.at_rest or arm.state.verdict == ControlState.HELD
    trouble.publish(String(data=""))
    graph.until(lambda: "neither says why" in arm.state.verdict_reason)
