"""arm_bridge_node on every shipped robot and on every controller, each played by its emulator over ROS 2."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy")

from control_msgs.msg import JointTrajectoryControllerState
from control_msgs.srv import QueryTrajectoryState
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from defi_models.contract import ActionChunk
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import ControlState
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.convert import chunk_to
from defi_ros.bridge.emulated_robot import EmulatedRobot
from defi_ros.nodes import arm_bridge_node
from defi_ros.nodes.arm_bridge_node import ArmBridgeNode
from defi_ros.robot import load_robot
from defi_sim.controllers import CommandRefusedError, ServoCode, UrMode, UrStatus

pytestmark = pytest.mark.ros

QUICK = {  # a tenth of the speed is for people; one chunk carries a whole motion
    "joints.limit_scale.velocity": 0.5,
    "joints.limit_scale.acceleration": 1.0,
    "joints.limit_scale.jerk": 1.0,
    "control.chunk_timeout_s": 10.0,
    "workspace.velocity_m_s": 1.0,
}


class Cell:
    """A robot, its arm bridge, and a person who asks for things."""

    def __init__(self, graph, description, robot, monkeypatch, **parameters):
        # A policy is asked for by its chunks alone here; there is none for most arms.
        monkeypatch.setattr(arm_bridge_node, "NO_POLICY", "")
        monkeypatch.setattr(arm_bridge_node, "check_policy_fits_robot", lambda *_, **__: None)
        monkeypatch.setattr(arm_bridge_node.load, "read_spec", lambda path: None)
        self.graph = graph
        self.file = load_robot(robot)
        self.spec = self.file.spec
        parameters = {"robot": robot, **QUICK, **parameters}
        self.guard = None
        if parameters.get("driver.kind") == "forward_velocity":
            command = [sys.executable, "-m", "defi_ros.nodes.stop_guard_node", "--ros-args", "-p", f"robot:={robot}"]
            self.guard = subprocess.Popen([*command, "-r", f"__ns:={graph.namespace}"])
        self.robot = graph.start(EmulatedRobot, description=description, **parameters)
        self.states = graph.listen("control_state", ControlState, qos.STREAM)
        self.chunks = graph.speaker("action_chunk", ActionChunkMsg, qos.STREAM)
        self.bridge = self.come_up(**parameters)
        self.clients = {
            "authority": graph.peer.create_client(SetAuthority, "set_authority"),
            "recover": graph.peer.create_client(Trigger, "recover"),
        }
        graph.until(lambda: all(client.service_is_ready() for client in self.clients.values()))
        graph.until(lambda: self.states and np.isfinite(self.state.commanded).all(), what="the arm is commanded")

    def come_up(self, **parameters):
        node = self.graph.add(ArmBridgeNode, **parameters)
        coming_up = threading.Thread(target=node.bring_up)
        coming_up.start()
        self.graph.until(lambda: not coming_up.is_alive(), what="the bridge comes up")
        assert node.is_active, node.failure
        return node

    @property
    def state(self):
        return self.states[-1]

    @property
    def joints(self):
        """Where the robot is [rad]."""
        return self.robot.simulation.positions

    def call(self, client, request):
        future = self.clients[client].call_async(request)
        return self.graph.until(future.done, what=client) and future.result()

    def ask(self, mode, *, reset=False):
        return self.call("authority", SetAuthority.Request(mode=mode, source="test", reset=reset))

    def chunk(self, goal, step_s=0.1, opening=1.0):
        """A chunk that goes from here to `goal` [rad] within a second and stays, with the gripper at `opening`."""
        shares = np.clip(np.arange(20) * step_s, 0.0, 1.0)[:, None]
        begin = np.array(self.state.commanded)
        now_ns = self.graph.peer.get_clock().now().nanoseconds
        targets = begin + shares * (goal - begin)
        grip = np.full(20, opening)
        chunk = ActionChunk(now_ns, round(step_s * 1e9), "joint_positions", targets, grip, self.spec.arm)
        self.chunks.publish(chunk_to(chunk))

    def begin(self, goal):
        """Under the policy, until the robot moves towards `goal` [rad]."""
        assert self.ask(ControlState.POLICY).granted
        self.graph.until(lambda: self.state.mode == ControlState.POLICY)
        before = self.joints.copy()
        self.chunk(goal)
        self.graph.until(lambda: np.abs(self.joints - before).max() > 0.02, what="the robot moves")

    def arrive(self, goal, within_rad=0.005):
        self.graph.until(lambda: np.abs(self.joints - goal).max() < within_rad, what=f"at {goal}, not {self.joints}")


@pytest.fixture
def cell(graph, description_of, monkeypatch):
    made: list[Cell] = []

    def make(robot, **parameters):
        made.append(Cell(graph, description_of(robot), robot, monkeypatch, **parameters))
        return made[-1]

    yield make
    for cell in made:
        if cell.guard is not None:
            cell.guard.kill()
            cell.guard.wait()


def nudged(spec):
    """A little away from home, within every limit [rad]."""
    return spec.home + 0.08 * np.where(spec.home + 0.08 < spec.limits.upper, 1.0, -1.0)


@pytest.mark.parametrize("robot", ["ur5e", "xarm7", "so101", "fr3", "panda"])
def test_every_robot_is_moved_through_the_interface_its_file_names(cell, robot):
    made = cell(robot)
    goal = nudged(made.spec)
    made.begin(goal)
    made.arrive(goal)
    assert made.state.limit_violations == 0 and made.state.mode == ControlState.POLICY, made.bridge._core.monitor.last
    assert list(made.state.joint_names) == list(made.spec.joint_names)


@pytest.mark.parametrize("robot", ["ur5e", "xarm7", "so101", "fr3"])
def test_every_gripper_closes_and_opens_by_one_command_each(cell, robot):
    made = cell(robot)
    gripper = made.robot.simulation
    assert made.ask(ControlState.POLICY).granted
    made.graph.until(lambda: made.state.mode == ControlState.POLICY)
    for opening in (0.0, 1.0):
        made.chunk(made.spec.home, opening=opening)
        made.graph.until(lambda opening=opening: abs(gripper.opening - opening) < 0.1, what=f"opening {opening}")
        made.graph.until(lambda opening=opening: made.state.gripper_commanded == opening)
    assert not made.graph.diagnostics(made.bridge)["message"].count("gripper")


def test_a_gripper_that_refuses_its_goal_takes_the_arm_from_the_policy(cell, monkeypatch):
    made = cell("ur5e")

    def refuse(position_m, now_ns):
        raise CommandRefusedError("switched off")

    monkeypatch.setattr(made.robot.simulation, "check_gripper", refuse)
    made.begin(nudged(made.spec))
    made.chunk(made.spec.home, opening=0.0)
    made.graph.until(lambda: made.state.mode == ControlState.HOLD and made.state.at_rest)
    assert "rejected the goal, expected it to be accepted" in made.state.reason
    assert "rejected the goal" in made.graph.diagnostics(made.bridge)["message"]


def test_a_trajectory_controller_tells_its_state_and_where_it_will_be(cell):
    made = cell("xarm7")
    states = made.graph.listen("xarm7_traj_controller/controller_state", JointTrajectoryControllerState, qos.STREAM)
    query = made.graph.peer.create_client(QueryTrajectoryState, "xarm7_traj_controller/query_state")
    made.begin(nudged(made.spec))
    made.graph.until(lambda: states and query.service_is_ready())
    assert list(states[-1].joint_names) == list(made.spec.joint_names)
    error = np.array(states[-1].reference.positions) - np.array(states[-1].feedback.positions)
    np.testing.assert_allclose(states[-1].error.positions, error, atol=1e-9)
    future = query.call_async(QueryTrajectoryState.Request())
    answer = made.graph.until(future.done) and future.result()
    assert not answer.success and "no trajectory runs at 0 ns" in answer.message


@pytest.mark.parametrize(
    "changes",
    [
        {"driver.kind": "forward_position"},
        {"driver.kind": "forward_velocity"},
        {"driver.kind": "joint_trajectory", "driver.sending": "batches", "control.lookahead_s": 0.1},
        {"driver.kind": "cartesian_pose"},
        {"driver.kind": "servo_pose"},
        {"driver.kind": "servo_twist"},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_every_controller_brings_the_arm_to_where_the_chunk_ends(cell, changes):
    made = cell("panda", **{"interlock.kind": "none", "driver.topic": "", **changes})
    goal = nudged(made.spec)
    made.begin(goal)
    kinematics = made.robot.controllers["servo"]._solver
    by_pose = changes["driver.kind"] in ("cartesian_pose", "servo_pose", "servo_twist")
    if not by_pose:
        made.arrive(goal, 0.01)
    else:  # seven joints: the tool arrives, the elbow may be elsewhere
        wanted = kinematics.forward(goal)[:3]
        made.graph.until(lambda: np.linalg.norm(kinematics.forward(made.joints)[:3] - wanted) < 0.01, what="tool")
    made.graph.until(lambda: made.state.at_rest)
    assert made.state.limit_violations == 0, made.bridge._core.monitor.last


# What the robot itself says ------------------------------------------------------------------------------------------


def test_a_protective_stop_of_a_ur_stops_the_queue_and_the_documented_order_brings_it_back(cell):
    made = cell("ur5e")
    made.begin(nudged(made.spec))
    ur = made.robot.ur
    ur.event(UrStatus.protective_stop)
    made.graph.until(lambda: made.state.mode == ControlState.STOPPED)
    assert "got safety mode PROTECTIVE_STOP, expected NORMAL or REDUCED" in made.state.reason
    made.graph.until(lambda: made.state.at_rest)
    refused = made.ask(ControlState.HOLD, reset=True)
    assert not refused.granted and "PROTECTIVE_STOP" in refused.reason
    stopped_at = made.joints.copy()
    answer = made.call("recover", Trigger.Request())
    assert answer.success, answer.message
    assert ur.calls == ["unlock_protective_stop", "resend_robot_program"]
    assert made.state.mode == ControlState.STOPPED
    assert made.ask(ControlState.HOLD, reset=True).granted
    seen = len(made.states)
    made.graph.until(lambda: len(made.states) > seen + 20)
    np.testing.assert_allclose(made.joints, stopped_at, atol=0.003)
    made.begin(made.spec.home)
    made.arrive(made.spec.home)
    assert made.state.limit_violations == 0, made.bridge._core.monitor.last


def test_a_ur_moved_by_hand_while_it_is_stopped_does_not_jump_back_when_it_goes_on(cell):
    made = cell("ur5e")
    made.robot.ur.event(UrStatus.protective_stop)
    made.graph.until(lambda: made.state.mode == ControlState.STOPPED)
    by_hand = made.spec.home + 0.3
    made.robot.simulation.request(lambda now_ns: move_by_hand(made.robot.simulation, by_hand))
    made.graph.until(lambda: np.abs(np.array(made.state.commanded) - by_hand).max() < 0.003)
    assert made.call("recover", Trigger.Request()).success
    assert made.ask(ControlState.HOLD, reset=True).granted
    np.testing.assert_allclose(made.joints, by_hand, atol=0.003)


def move_by_hand(simulation, positions):
    simulation.positions = positions.copy()
    simulation.arm._halted_at = positions.copy()


def test_a_ur_behind_its_emergency_stop_is_not_recovered_and_says_what_to_do(cell):
    made = cell("ur5e")
    made.robot.ur.event(lambda ur: ur.emergency_stop(True))
    made.graph.until(lambda: "ROBOT_EMERGENCY_STOP" in made.state.reason)
    answer = made.call("recover", Trigger.Request())
    assert not answer.success and "release the emergency stop on the teach pendant" in answer.message
    made.robot.ur.event(lambda ur: ur.emergency_stop(False))
    answer = made.call("recover", Trigger.Request())
    assert answer.success, answer.message
    assert made.robot.ur.calls == ["power_on", "brake_release", "resend_robot_program"]


def test_a_stop_that_is_pressed_during_a_recovery_ends_it(cell, monkeypatch):
    """The brakes were once released, and the program started, after the stop was pressed."""
    made = cell("ur5e")
    made.robot.ur.event(UrStatus.stop_program)
    made.robot.ur.event(lambda ur: setattr(ur, "mode", UrMode.POWER_OFF))
    made.graph.until(lambda: made.bridge._status._mode == UrMode.POWER_OFF)
    made.graph.until(lambda: made.state.mode == ControlState.STOPPED)
    power_on = UrStatus.power_on

    def pressed_meanwhile(ur):
        made.bridge._inbox.on_emergency_stop(True, "emergency stop")
        return power_on(ur)

    monkeypatch.setattr(UrStatus, "power_on", pressed_meanwhile)
    answer = made.call("recover", Trigger.Request())
    assert not answer.success and "got emergency stop pressed, expected none" in answer.message
    assert made.robot.ur.calls == ["power_on"]


def test_a_step_that_is_refused_is_told_with_the_steps_before_it(cell, monkeypatch):
    made = cell("ur5e")
    made.robot.ur.event(UrStatus.stop_program)
    made.graph.until(lambda: "got no running program" in made.state.reason)
    monkeypatch.setattr(UrStatus, "start_program", lambda ur: False)
    made.robot.ur.event(lambda ur: setattr(ur, "mode", UrMode.IDLE))
    made.graph.until(lambda: made.bridge._status._mode == UrMode.IDLE)
    answer = made.call("recover", Trigger.Request())
    assert not answer.success and "not possible in RUNNING, NORMAL" in answer.message
    assert "after dashboard_client/power_on, dashboard_client/brake_release," in answer.message


def test_a_reflex_of_a_franka_switches_everything_off_and_the_documented_order_brings_it_back(cell):
    made = cell("fr3")
    made.begin(nudged(made.spec))
    franka = made.robot.franka
    franka.event(lambda status: status.fail("cartesian_reflex"))
    made.graph.until(lambda: made.state.mode == ControlState.STOPPED)
    assert "got REFLEX with cartesian_reflex, expected MOVE without errors" in made.state.reason
    assert not made.ask(ControlState.HOLD, reset=True).granted
    answer = made.call("recover", Trigger.Request())
    assert answer.success, answer.message
    assert franka.calls == ["error_recovery", "FrankaHardwareInterface active", "on: fr3_arm_controller"]
    assert made.ask(ControlState.HOLD, reset=True).granted
    made.begin(made.spec.home)
    made.arrive(made.spec.home)
    assert made.state.limit_violations == 0, made.bridge._core.monitor.last


def test_a_franka_with_its_user_stop_pressed_waits_for_the_person(cell):
    made = cell("fr3")
    made.robot.franka.event(lambda status: status.press_user_stop(True))
    made.graph.until(lambda: "got USER_STOPPED" in made.state.reason)
    answer = made.call("recover", Trigger.Request())
    assert not answer.success and "its user stop is pressed; release it" in answer.message
    made.robot.franka.event(lambda status: status.press_user_stop(False))
    made.graph.until(lambda: made.bridge._status._mode == 1)
    assert made.call("recover", Trigger.Request()).success


def test_a_franka_that_falls_silent_stops_the_arm(cell):
    made = cell("fr3")
    made.robot.franka.silent = True
    made.graph.until(lambda: "got no franka_robot_state_broadcaster/robot_state for 0.5 s" in made.state.reason)
    made.robot.franka.silent = False
    made.graph.until(lambda: made.ask(ControlState.HOLD, reset=True).granted)


def test_a_robot_that_says_nothing_of_itself_is_refused_with_the_topic(graph, description_of):
    graph.start(EmulatedRobot, robot="ur5e", description=description_of("ur5e"), **{"interlock.kind": "none"})
    node = graph.add(ArmBridgeNode, robot="ur5e", start_timeout_s=1.0)
    coming_up = threading.Thread(target=node.bring_up)
    coming_up.start()
    graph.until(lambda: not coming_up.is_alive())
    assert "interlock: got no io_and_status_controller/robot_program_running for 1 s" in node.failure


# Others on the wire --------------------------------------------------------------------------------------------------


def test_a_second_publisher_stops_the_arm_by_name_until_it_is_gone(cell):
    made = cell("so101")
    made.begin(nudged(made.spec))
    other = made.graph.peer.create_publisher(Float64MultiArray, "forward_position_controller/commands", 1)
    made.graph.until(lambda: made.state.mode == ControlState.STOPPED and made.state.at_rest)
    assert "got another publisher on" in made.state.reason and "/peer; expected to be the only one" in made.state.reason
    refused = made.ask(ControlState.POLICY, reset=True)
    assert not refused.granted and "/peer" in refused.reason
    made.graph.peer.destroy_publisher(other)
    made.graph.until(lambda: made.ask(ControlState.HOLD, reset=True).granted)


def test_a_second_publisher_on_the_gripper_s_topic_is_found_too(cell):
    made = cell("so101")
    made.graph.peer.create_publisher(Float64MultiArray, "gripper_position_controller/commands", 1)
    made.graph.until(lambda: "gripper_position_controller/commands" in made.state.reason)


def test_a_crisp_like_controller_ignores_everybody_while_two_publish(cell):
    made = cell("panda", **{"interlock.kind": "none", "driver.kind": "cartesian_pose", "driver.topic": ""})
    made.graph.peer.create_publisher(PoseStamped, "target_pose", 1)
    made.graph.until(lambda: made.robot.controllers["cartesian_pose"].ignored > 0)
    made.graph.until(lambda: made.state.mode == ControlState.STOPPED and "target_pose" in made.state.reason)


def test_a_velocity_controller_without_its_guard_stops_the_arm(cell):
    made = cell("panda", **{"interlock.kind": "none", "driver.kind": "forward_velocity", "driver.topic": ""})
    made.guard.kill()
    made.graph.until(lambda: "stop_guard_node is gone" in made.state.reason)
    assert made.state.mode == ControlState.STOPPED


def test_a_halt_of_servo_stops_the_arm_with_its_reason(cell):
    made = cell("panda", **{"interlock.kind": "none", "driver.kind": "servo_pose", "driver.topic": ""})
    made.graph.until(lambda: made.robot.controllers["servo"].command_type == 2)
    made.robot.controllers["servo"].code = ServoCode.HALT_FOR_SINGULARITY
    made.graph.until(lambda: "servo_node halted before a singularity" in made.state.reason)
