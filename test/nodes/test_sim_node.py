"""The simulated robot through ROS: real rclpy, real MuJoCo, seen from a client that knows only the interfaces."""

import os
import time
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from builtin_interfaces.msg import Duration  # noqa: E402
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand  # noqa: E402
from control_msgs.msg import GripperCommand as GripperCommandMessage  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray, String  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from defi_msgs.msg import Instruction, TaskOutcome  # noqa: E402
from defi_msgs.srv import ResetSim  # noqa: E402
from defi_ros.bridge import qos  # noqa: E402
from defi_ros.bridge.action_client import ActionClient  # noqa: E402
from defi_ros.bridge.convert import scene_from, to_ns  # noqa: E402
from defi_ros.bridge.lifecycle import make_executor  # noqa: E402
from defi_ros.control.kinematics import Kinematics  # noqa: E402
from defi_ros.nodes.sim_node import SimNode  # noqa: E402
from defi_ros.robot import robots_folder  # noqa: E402
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description  # noqa: E402
from defi_sim.state import SceneState  # noqa: E402

pytestmark = pytest.mark.ros
TOPICS = {
    "joint_states": (JointState, qos.STREAM),
    "scene_state": (JointState, qos.STREAM),
    "robot_description": (String, qos.LATCHED),
    "camera/static/image_raw": (Image, qos.IMAGES),
    "camera/wrist/image_raw": (Image, qos.IMAGES),
    "camera/static/camera_info": (CameraInfo, qos.IMAGES),
    "task_outcome": (TaskOutcome, qos.EVENTS),
    "/diagnostics": (DiagnosticArray, qos.EVENTS),
}


class Graph:
    """The node, a client, and what the client heard."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(os.environ.get("ROS_DOMAIN_ID", "0")))
        namespace = f"test_sim_{os.getpid()}"  # apart from whatever else runs on this machine
        parameters = {"robot": "franka", "autostart": False}
        self.sim = SimNode(context=self.context, namespace=namespace, parameters=parameters)
        self.client = Node("client", context=self.context, namespace=namespace)
        self.executor = make_executor(self.context)
        self.executor.add_node(self.sim)
        self.executor.add_node(self.client)
        self.heard = {name: [] for name in TOPICS}
        for name, (message_type, profile) in TOPICS.items():
            self.client.create_subscription(message_type, name, self.heard[name].append, profile)
        self.forward = self.client.create_publisher(
            Float64MultiArray, "forward_position_controller/commands", qos.COMMANDS
        )
        self.instruct = self.client.create_publisher(Instruction, "instruction", qos.LATCHED)
        self.resets = self.client.create_client(ResetSim, "sim/reset")
        assert self.sim.bring_up(), self.sim.failure

    def close(self):
        for _ in range(20):  # what still waits in the executor, which would else never let go of it
            self.executor.spin_once(timeout_sec=0.002)
        self.sim.shut_down()
        self.executor.shutdown()
        self.client.destroy_node()
        self.sim.destroy_node()
        self.context.try_shutdown()

    def spin_until(self, condition, what, timeout_s=15.0):
        """Spins until `condition()` is true and returns what it gave."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            got = condition()
            if got:
                return got
            self.executor.spin_once(timeout_sec=0.02)
        raise AssertionError(f"waited {timeout_s} s for {what}")

    def newest(self, topic):
        """A message that was not there yet when this was called."""
        self.heard[topic].clear()
        return self.spin_until(lambda: self.heard[topic], topic)[-1]

    def joints(self):
        return np.array(self.newest("joint_states").position[:7])

    def result(self, future, what) -> Any:
        self.spin_until(future.done, what)
        return future.result()

    def reset(self, seed, task=""):
        self.spin_until(self.resets.service_is_ready, "sim/reset")
        return self.result(self.resets.call_async(ResetSim.Request(seed=seed, task=task)), "the reset")

    def ready(self, seed=1):
        """A fresh scene whose controllers take commands; joints of the arm."""
        assert self.reset(seed).ok
        began_ns = self.sim.now_ns()
        self.spin_until(
            lambda: self.heard["joint_states"] and to_ns(self.heard["joint_states"][-1].header.stamp) - began_ns > 3e8,
            "the controllers' restart",
        )
        return self.joints()

    def send(self, action, name, goal, feedback=None):
        """The goal handle."""
        client = ActionClient(self.client, action, name)
        self.spin_until(client.server_is_ready, name)
        return self.result(client.send_goal_async(goal, feedback_callback=feedback), "the goal's answer")


@pytest.fixture(scope="module")
def graph():
    made = Graph()
    yield made
    made.close()


def trajectory(target, seconds, names=ARM_JOINTS):
    whole, part = divmod(seconds, 1.0)
    time_from_start = Duration(sec=int(whole), nanosec=int(part * 1e9))
    point = JointTrajectoryPoint(positions=target.tolist(), time_from_start=time_from_start)
    return JointTrajectory(joint_names=list(names), points=[point])


def test_both_images_of_a_capture_have_one_stamp_and_show_the_scene(graph):
    static = graph.newest("camera/static/image_raw")
    stamp = to_ns(static.header.stamp)
    wrist = graph.spin_until(
        lambda: [m for m in graph.heard["camera/wrist/image_raw"] if to_ns(m.header.stamp) == stamp], "the wrist's"
    )[0]
    for image in (static, wrist):
        assert (image.encoding, image.height, image.width, image.step) == ("rgb8", 128, 128, 384)
        assert np.array(image.data).std() > 10
    assert abs(graph.sim.now_ns() - stamp) < 5e9


def test_camera_info_is_the_pinhole_of_the_field_of_view(graph):
    info = graph.newest("camera/static/camera_info")
    assert 2 * np.degrees(np.arctan(64 / info.k[0])) == pytest.approx(40.0)
    assert (info.k[0], info.k[2]) == (info.k[4], 63.5)


def test_joint_states_hold_the_arm_and_a_finger(graph):
    message = graph.newest("joint_states")
    assert message.name == [*ARM_JOINTS, "panda_finger_joint1"]
    assert len(message.position) == len(message.velocity) == len(message.effort) == 8
    assert 0.0 <= message.position[7] <= 0.04


def test_the_robot_description_waits_for_late_joiners(graph):
    graph.spin_until(lambda: graph.heard["robot_description"], "robot_description")
    assert TIP_FRAME in graph.heard["robot_description"][0].data


def test_scene_state_is_a_scene(graph):
    SceneState.from_mapping(scene_from(graph.newest("scene_state")))


def test_a_forward_command_moves_the_arm_and_a_wrong_length_does_not(graph):
    start = graph.ready()
    target = start + np.array([0.1, 0, 0, 0, 0, 0, 0])
    graph.forward.publish(Float64MultiArray(data=target.tolist()))
    graph.spin_until(lambda: np.abs(graph.joints() - target).max() < 0.01, "the arm to arrive")
    graph.forward.publish(Float64MultiArray(data=[0.0]))
    graph.forward.publish(Float64MultiArray(data=(target + 0.001).tolist()))  # a sentinel: it came after the bad one
    graph.spin_until(lambda: np.abs(graph.joints() - target - 0.001).max() < 0.01, "the sentinel")


def test_a_trajectory_on_the_topic_is_followed(graph):
    start = graph.ready()
    publisher = graph.client.create_publisher(JointTrajectory, "joint_trajectory_controller/joint_trajectory", 1)
    graph.spin_until(publisher.get_subscription_count, "a subscriber")
    publisher.publish(trajectory(start - 0.05, 0.3))
    graph.spin_until(lambda: np.abs(graph.joints() - start + 0.05).max() < 0.01, "the arm to arrive")


def test_the_trajectory_action_succeeds_with_feedback(graph):
    start, feedback = graph.ready(), []
    goal = FollowJointTrajectory.Goal(trajectory=trajectory(start + 0.05, 0.4))
    name = "joint_trajectory_controller/follow_joint_trajectory"
    handle = graph.send(FollowJointTrajectory, name, goal, feedback.append)
    assert handle.accepted
    result = graph.result(handle.get_result_async(), "the result").result
    assert (result.error_code, result.error_string) == (FollowJointTrajectory.Result.SUCCESSFUL, "goal reached")
    np.testing.assert_allclose(graph.joints(), start + 0.05, atol=0.02)
    assert list(feedback[-1].feedback.joint_names) == list(ARM_JOINTS)


def test_the_trajectory_action_rejects_other_joints(graph):
    goal = FollowJointTrajectory.Goal(trajectory=trajectory(graph.ready(), 0.4, [f"x{i}" for i in range(7)]))
    assert not graph.send(FollowJointTrajectory, "joint_trajectory_controller/follow_joint_trajectory", goal).accepted


def test_a_cancelled_trajectory_holds(graph):
    start = graph.ready()
    goal = FollowJointTrajectory.Goal(trajectory=trajectory(start + 1.0, 10.0))
    handle = graph.send(FollowJointTrajectory, "joint_trajectory_controller/follow_joint_trajectory", goal)
    graph.result(handle.cancel_goal_async(), "the cancellation")
    response = graph.result(handle.get_result_async(), "the result")
    assert response.status == 5  # action_msgs/GoalStatus.STATUS_CANCELED
    assert np.abs(graph.joints() - start).max() < 0.5


def test_a_reset_aborts_a_goal_in_execution(graph):
    goal = FollowJointTrajectory.Goal(trajectory=trajectory(graph.ready() + 1.0, 20.0))
    handle = graph.send(FollowJointTrajectory, "joint_trajectory_controller/follow_joint_trajectory", goal)
    assert graph.reset(2).ok
    result = graph.result(handle.get_result_async(), "the result").result
    assert "restarted" in result.error_string


def test_both_gripper_actions_move_the_fingers(graph):
    graph.ready()
    for finger_m in (0.04, 0.0):
        goal = ParallelGripperCommand.Goal(command=JointState(name=["panda_finger_joint1"], position=[finger_m]))
        handle = graph.send(ParallelGripperCommand, "panda_gripper/gripper_cmd", goal)
        result = graph.result(handle.get_result_async(), "the result").result
        assert result.reached_goal
        assert result.state.position[0] == pytest.approx(finger_m, abs=0.011)
    goal = GripperCommand.Goal(command=GripperCommandMessage(position=0.04))
    handle = graph.send(GripperCommand, "panda_gripper/gripper_action", goal)
    result = graph.result(handle.get_result_async(), "the result").result
    assert result.position == pytest.approx(0.08, abs=0.021)  # results are the full width, as from a Franka hand


def test_a_gripper_goal_without_exactly_one_position_is_rejected(graph):
    goal = ParallelGripperCommand.Goal(command=JointState(position=[0.0, 0.0]))
    assert not graph.send(ParallelGripperCommand, "panda_gripper/gripper_cmd", goal).accepted


def test_target_pose_pulls_the_tool_and_a_second_publisher_silences_it(graph):
    start = graph.ready()
    kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME)
    pose = kinematics.forward(start)

    def message(x_m):
        made = PoseStamped()
        made.pose.position.x, made.pose.position.y, made.pose.position.z = pose[0] + x_m, pose[1], pose[2]
        turn = made.pose.orientation
        turn.x, turn.y, turn.z, turn.w = pose[3:].tolist()
        return made

    first = graph.client.create_publisher(PoseStamped, "target_pose", qos.COMMANDS)
    graph.spin_until(first.get_subscription_count, "a subscriber")
    first.publish(message(0.03))
    graph.spin_until(
        lambda: kinematics.forward(graph.joints())[0] == pytest.approx(pose[0] + 0.03, abs=0.005), "the tool to arrive"
    )
    second = graph.client.create_publisher(PoseStamped, "target_pose", qos.COMMANDS)
    graph.spin_until(lambda: graph.sim.count_publishers("target_pose") == 2, "the second publisher to be known")
    first.publish(message(-0.03))
    graph.client.destroy_publisher(second)
    graph.spin_until(lambda: graph.sim.count_publishers("target_pose") == 1, "the second publisher to be gone")
    assert kinematics.forward(graph.joints())[0] == pytest.approx(pose[0] + 0.03, abs=0.005)
    graph.client.destroy_publisher(first)


def test_the_same_seed_gives_the_same_scene(graph):
    scenes = [(graph.reset(7), graph.newest("scene_state"))[1] for _ in range(2)]
    np.testing.assert_allclose(scenes[0].position, scenes[1].position, atol=1e-3)


def test_a_reset_for_an_unknown_task_names_the_tasks_that_exist(graph):
    response = graph.reset(1, "fly_away")
    assert not response.ok
    assert "fly_away" in response.reason
    assert "open_drawer" in response.reason


def test_commands_right_after_a_reset_are_ignored(graph):
    graph.ready()
    graph.spin_until(graph.forward.get_subscription_count, "a subscriber")
    assert graph.reset(3).ok
    start = np.array(graph.sim._world.joint_positions())  # it is not told at once
    graph.forward.publish(Float64MultiArray(data=(start + 0.3).tolist()))
    graph.newest("scene_state")
    for _ in range(20):
        assert np.abs(graph.joints() - start).max() < 0.02


def test_the_oracle_says_once_that_a_task_is_done(graph):
    assert graph.reset(1, "open_drawer").ok
    graph.heard["task_outcome"].clear()
    graph.instruct.publish(Instruction(text="Open the drawer", task_id="attempt"))
    graph.spin_until(lambda: graph.sim._simulation.oracle.watching, "the oracle")
    opened = graph.sim._world.scene().to_mapping() | {"drawer": 0.16}

    def open_it(_now_ns):
        graph.sim._world.reset(1, SceneState.from_mapping(opened))

    graph.sim._simulation.request(open_it)
    outcome = graph.spin_until(lambda: graph.heard["task_outcome"], "the outcome")[0]
    assert (outcome.task_id, outcome.success) == ("attempt", True)
    graph.newest("scene_state")
    assert len(graph.heard["task_outcome"]) == 1


def test_an_instruction_the_oracle_does_not_know_is_said_in_the_diagnostics(graph):
    graph.instruct.publish(Instruction(text="make coffee", task_id="attempt"))

    def said():
        statuses = [status for array in graph.heard["/diagnostics"] for status in array.status]
        return [s for s in statuses if "make coffee" in s.message]

    graph.spin_until(said, "the diagnostics")
    graph.instruct.publish(Instruction())
    graph.spin_until(lambda: graph.sim._simulation.oracle.unknown is None, "the oracle to rest")


def test_diagnostics_tell_the_real_time_factor_and_render_time(graph):
    graph.heard["/diagnostics"].clear()

    def values():
        statuses = [status for array in graph.heard["/diagnostics"] for status in array.status]
        return [got for s in statuses if (got := {v.key: v.value for v in s.values}).get("render_ms")]

    got = graph.spin_until(values, "diagnostics")[-1]
    assert float(got["real_time_factor"]) > 0.3
    assert float(got["camera_rate_hz"]) > 1


def test_deactivation_aborts_goals_and_stops_the_threads_and_activation_goes_on(graph):
    goal = FollowJointTrajectory.Goal(trajectory=trajectory(graph.ready() + 1.0, 20.0))
    handle = graph.send(FollowJointTrajectory, "joint_trajectory_controller/follow_joint_trajectory", goal)
    assert graph.sim.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert "stopped" in graph.result(handle.get_result_async(), "the result").result.error_string
    assert not graph.sim.stuck
    assert not graph.send(FollowJointTrajectory, "joint_trajectory_controller/follow_joint_trajectory", goal).accepted
    assert "inactive" in graph.reset(1).reason
    assert graph.sim.trigger_activate() == TransitionCallbackReturn.SUCCESS
    graph.newest("joint_states")


def test_another_arm_cannot_be_simulated(graph, tmp_path):
    text = (robots_folder() / "franka.yaml").read_text().replace("panda_joint1", "other_joint1")
    path = tmp_path / "other.yaml"
    path.write_text(text)
    other = SimNode(context=graph.context, namespace="other", parameters={"robot": str(path), "autostart": False})
    assert not other.bring_up()
    assert "other_joint1" in str(other.failure)
    assert "cannot be simulated, only the Franka Panda can" in str(other.failure)
    other.destroy_node()
