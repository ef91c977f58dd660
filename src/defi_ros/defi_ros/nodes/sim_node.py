"""The simulated robot and cameras on the graph: says what a real robot says, hears what real controllers hear.

Two threads work here: one steps the physics next to the monotonic clock, one draws images from copies of the state.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from itertools import cycle

from rclpy.task import Future
from rosgraph_msgs.msg import Clock

from defi_models.contract import NS_PER_S, DefiError
from defi_msgs.msg import Instruction, TaskOutcome
from defi_msgs.srv import ResetSim
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_stamp
from defi_ros.bridge.emulated_controllers import EmulatedControllers, endpoint_names, make_controllers
from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.bridge.pacing import favour_thread
from defi_ros.bridge.simulated_sensors import JOINTS, SimulatedSensors
from defi_ros.control.kinematics import Kinematics
from defi_ros.robot import RobotFile
from defi_sim.controllers import ArmController, EmulatedArm, GripperController, GripperOptions
from defi_sim.description import ARM_JOINTS, TIP_FRAME, check_simulated, robot_description
from defi_sim.oracle import TaskOracle
from defi_sim.pacing import Pacer, every
from defi_sim.simulation import SLICE_S, Readings, Simulation
from defi_sim.world import World

# Of a reset: longer than joint states may be silent, and until who holds the arm has seen where it is.
UNSEEN_S, FOLLOWED_S = 0.05, 0.1
SWITCH_INTERVAL_S = 0.0005  # Python's default of 5 ms would let one thread delay another by a whole slice
SLOW_BELOW = 0.9  # real-time factor that is reported as a trouble


class SimNode(DefiNode):
    """Runs the table in real time. With `sim.real_time` false it runs as fast as it can and publishes /clock.

    Parameters besides the robot file's: `seed` of the first scene; `controller`, the only one that may own the arm
    (auto: the one that got a command last); `allow_stalling`, see `GripperOptions`.
    """

    NAME = "sim_node"
    SECTIONS = ("sim", "driver", "gripper")

    def __init__(self, **options) -> None:
        """See `DefiNode`."""
        super().__init__(**options)
        self.declare_parameter("seed", 0)
        self.declare_parameter("controller", "auto")
        self.declare_parameter("allow_stalling", True)

    def configure(self) -> None:
        """Builds the scene, tries the renderer, and opens topics, actions and services."""
        robot = self.robot_file()
        check_simulated(robot.name, robot.joints.names)
        self._settings, self._nice = robot.sim, robot.nodes.nice
        # An arm that stands elsewhere at once would be taken for one whose encoders fail; so it is not seen for a while.
        self._speaks_from_ns, self._unseen_s = 0, robot.control.state_timeout_s + UNSEEN_S
        self._cameras = tuple(robot.cameras)
        controllers = make_controllers(ARM_JOINTS, Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME))
        self._simulation = self._build(robot, controllers)
        self._try_renderer()
        self._endpoints = EmulatedControllers(self, self._simulation, controllers, JOINTS, endpoint_names(robot))
        self._sensors = SimulatedSensors(self, self._cameras)
        self._outcomes = self.say("task_outcome", TaskOutcome, qos.EVENTS)
        self._time_topic = None if robot.sim.real_time else self.say("/clock", Clock, qos.COMMANDS)
        self.hear("instruction", Instruction, self._hear_instruction, qos.LATCHED)
        self.offer("sim/reset", ResetSim, self._reset)

    def _build(self, robot: RobotFile, controllers: Mapping[str, ArmController]) -> Simulation:
        size = (robot.sim.image_px, robot.sim.image_px)
        self._world = World(self._cameras, size, seed=int(self.get_parameter("seed").value), split=robot.sim.scenes)
        owner = str(self.get_parameter("controller").value)
        pause_s = max(robot.sim.reset_pause_s, self._unseen_s + FOLLOWED_S)
        arm = EmulatedArm(controllers, None if owner == "auto" else owner, pause_s)
        gripper = GripperController(GripperOptions(allow_stalling=bool(self.get_parameter("allow_stalling").value)))
        return Simulation(self._world, arm, gripper, TaskOracle())

    def _try_renderer(self) -> None:
        """Draws one image of each camera, so that a machine that cannot is told so now."""
        with self._world.camera_rig() as rig:
            rig.capture()
            for name in self._cameras:
                rig.render(name)

    def activate(self) -> None:
        """Starts physics and rendering."""
        self._sensors.tell_description()
        self._time_ns = self.now_ns()
        self._fast_steps = cycle((2, 3))  # of 2 ms: a slice on average
        self._pacer = Pacer(World.TIMESTEP_S, time.monotonic())
        self.start_worker("physics", self._run_physics)
        self.start_worker("rendering", self._run_rendering)

    def deactivate(self) -> None:
        """Ends all goals; the world stands still from here on."""
        self._endpoints.abandon()

    def cleanup(self) -> None:
        """Closes the world."""
        self._world.close()

    def describe(self) -> None:
        """Real-time factor, camera rate and what the controllers refuse."""
        if self.state != "active":
            return
        factor, render_ms = self._pacer.real_time_factor, self.health.latency_ms()
        self.health.set(
            real_time_factor=f"{factor:.3f}",
            camera_rate_hz=f"{self.health.rate_hz():.1f}",
            render_ms="" if render_ms is None else f"{render_ms:.1f}",
            controller=self._simulation.arm.owner or "none",
        )
        slow = self._settings.real_time and factor < SLOW_BELOW
        text = f"too slow for real time: got a real-time factor of {factor:.2f}, expected 1; free some CPU"
        self.health.trouble("real time", text if slow else None)

    # Physics thread --------------------------------------------------------------------------------------------------

    def _run_physics(self, stop: threading.Event) -> None:
        states = every(SLICE_S, self._settings.joint_state_rate_hz)
        scenes = every(SLICE_S, self._settings.scene_rate_hz)
        due_s = time.monotonic()
        while not stop.is_set():
            steps = self._steps_due()
            if steps:
                readings = self._simulation.advance(self._time_ns, steps)
                self._tell(readings, joint_state=states(), scene=scenes())
            due_s = max(due_s + SLICE_S, time.monotonic() - SLICE_S)
            if self._settings.real_time:
                time.sleep(max(due_s - time.monotonic(), 0.0))

    def _steps_due(self) -> int:
        """Steps of the next slice; moves the time that goes into its stamps."""
        if self._settings.real_time:
            self._time_ns = self.now_ns()
            return self._pacer.due(time.monotonic())
        steps = next(self._fast_steps)
        self._time_ns += round(steps * World.TIMESTEP_S * NS_PER_S)
        self._pacer.count(time.monotonic(), steps)
        return steps

    def _tell(self, readings: Readings, *, joint_state: bool, scene: bool) -> None:
        stamp = to_stamp(self._time_ns)
        if self._time_topic is not None:
            self._time_topic.publish(Clock(clock=stamp))
        if joint_state and self._time_ns >= self._speaks_from_ns:
            self._sensors.tell_joints(readings, self._time_ns)
        if scene:
            self._sensors.tell_scene(self._world.scene(), self._time_ns)
        for refusal in self._endpoints.settle(readings, self._time_ns):
            self.get_logger().warning(f"command refused: {refusal.reason}", throttle_duration_sec=1.0)
        if readings.outcome is not None:
            outcome = TaskOutcome(task_id=readings.outcome.task_id, success=True, reason=readings.outcome.reason)
            outcome.header.stamp = stamp
            self._outcomes.publish(outcome)

    # Rendering thread ------------------------------------------------------------------------------------------------

    def _run_rendering(self, stop: threading.Event) -> None:
        if self.owns_process:
            favour_thread(self._nice.camera_node)  # images come late enough as it is: drawing two takes 6 ms of CPU
        period_ns = round(NS_PER_S / self._settings.camera_rate_hz)
        due_ns = self._clock_ns()
        with self._world.camera_rig() as rig:
            while not stop.is_set():
                wait_ns = due_ns - self._clock_ns()
                if wait_ns > 0:
                    time.sleep(wait_ns / NS_PER_S if self._settings.real_time else SLICE_S / 10)
                    continue
                due_ns = max(due_ns + period_ns, due_ns - wait_ns - period_ns)
                began_s = time.monotonic()
                rig.capture()
                self._sensors.show(rig, self._clock_ns())
                self.health.count((time.monotonic() - began_s) * 1e3)

    def _clock_ns(self) -> int:
        return self.now_ns() if self._settings.real_time else self._time_ns

    # Executor thread -------------------------------------------------------------------------------------------------

    def _hear_instruction(self, message: Instruction) -> None:
        def begin(_now_ns: int) -> None:
            self._simulation.instruct(message.task_id, message.text)
            self.health.trouble("instruction", self._simulation.oracle.unknown)

        self._simulation.request(begin)

    async def _reset(self, request: ResetSim.Request, response: ResetSim.Response) -> ResetSim.Response:
        """Lets the physics thread reset between two slices and waits for it without holding the executor."""
        if self.state != "active":
            response.reason = f"sim_node is {self.state}, expected active"
            return response
        done: Future = Future(executor=self.executor)

        def reset(now_ns: int) -> None:
            try:
                self._simulation.reset(now_ns, request.seed, request.task)
                self._speaks_from_ns = now_ns + round(self._unseen_s * NS_PER_S)
                done.set_result("")
            except DefiError as error:
                done.set_result(str(error))

        self._simulation.request(reset)
        response.reason = await done
        response.ok = not response.reason
        return response


def main() -> None:
    """Runs the node."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    raise SystemExit(run(SimNode))


if __name__ == "__main__":
    main()
