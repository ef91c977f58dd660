"""The ROS face of what emulated robots say of themselves: their state topics, and the services that bring them back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controller_manager_msgs.srv import SetHardwareComponentState, SwitchController
from franka_msgs.action import ErrorRecovery
from franka_msgs.msg import FrankaRobotState
from rclpy.action.server import ActionServer
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from ur_dashboard_msgs.msg import RobotMode, SafetyMode

from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_stamp
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.sections import Interlock
from defi_sim.controllers import FrankaStatus, UrStatus

FRANKA_PERIOD_S = 0.005  # the real one speaks every millisecond


class EmulatedFranka:
    """A Franka behind franka_ros2: state topic, error recovery, controller manager. `changed` is told after each event."""

    def __init__(self, node: DefiNode, names: Interlock, changed: Callable[[str | None, bool], None]) -> None:
        """Opens topic, action and services.

        Args:
            node: Owns them.
            names: Their names, as the robot file gives them.
            changed: Called with why the robot stands still, or None, and whether its controllers are switched off.
        """
        self.status = FrankaStatus()
        self.calls: list[str] = []
        self.silent = False
        self._node, self._changed = node, changed
        self._states = node.say(names.state_topic, FrankaRobotState, qos.STREAM)
        node.every(FRANKA_PERIOD_S, self._tell)
        recovery = f"{names.recovery_prefix}action_server/error_recovery"
        server = ActionServer(node, ErrorRecovery, recovery, self._recover)
        node.own(server.destroy)
        node.offer("controller_manager/set_hardware_component_state", SetHardwareComponentState, self._set_hardware)
        node.offer("controller_manager/switch_controller", SwitchController, self._switch)

    def event(self, happen: Callable[[FrankaStatus], Any]) -> Any:
        """Lets something happen to the robot, as in `event(lambda franka: franka.fail("cartesian_reflex"))`."""
        answer = happen(self.status)
        why = None if self.status.ready else f"the robot is in {self.status.mode.name}"
        self._changed(why, not self.status.controlled)
        return answer

    def _tell(self) -> None:
        if self.silent:
            return
        message = FrankaRobotState(robot_mode=int(self.status.mode))
        message.header.stamp = to_stamp(self._node.now_ns())
        for error in self.status.errors:
            setattr(message.current_errors, error, True)
        self._states.publish(message)

    def _recover(self, handle: Any) -> ErrorRecovery.Result:
        self.calls.append("error_recovery")
        if self.event(lambda franka: franka.recover()):
            handle.succeed()
        else:
            handle.abort()
        return ErrorRecovery.Result()

    def _set_hardware(self, request: Any, response: Any) -> Any:
        self.calls.append(f"{request.name} {request.target_state.label}")
        response.ok = self.event(lambda franka: franka.activate_hardware())
        return response

    def _switch(self, request: Any, response: Any) -> Any:
        self.calls.append(f"on: {', '.join(request.activate_controllers)}")
        response.ok = self.event(lambda franka: franka.switch_on())
        response.message = "" if response.ok else "the hardware is not active"
        return response


class EmulatedUr:
    """A UR behind its driver: three latched topics, the dashboard's services. `changed` is told after each event."""

    def __init__(self, node: DefiNode, names: Interlock, changed: Callable[[str | None, bool], None]) -> None:
        """Opens topics and services; arguments as `EmulatedFranka`."""
        self.status = UrStatus()
        self.calls: list[str] = []
        self._changed = changed
        prefix = names.status_prefix
        self._program = node.say(f"{prefix}robot_program_running", Bool, qos.LATCHED)
        self._mode = node.say(f"{prefix}robot_mode", RobotMode, qos.LATCHED)
        self._safety = node.say(f"{prefix}safety_mode", SafetyMode, qos.LATCHED)
        dashboard = f"{names.recovery_prefix}dashboard_client/"
        answers: dict[str, Callable[[UrStatus], bool]] = {
            f"{dashboard}unlock_protective_stop": lambda ur: ur.unlock_protective_stop(),
            f"{dashboard}power_on": lambda ur: ur.power_on(),
            f"{dashboard}brake_release": lambda ur: ur.brake_release(),
            f"{dashboard}play": lambda ur: ur.start_program(),
            f"{prefix}resend_robot_program": lambda ur: ur.start_program(),
        }
        for name, act in answers.items():
            node.offer(name, Trigger, lambda _, response, name=name, act=act: self._answer(name, act, response))

    def event(self, happen: Callable[[UrStatus], Any]) -> Any:
        """Lets something happen to the robot, as in `event(UrStatus.protective_stop)`."""
        answer = happen(self.status)
        status = self.status
        self._changed(None if status.ready else f"{status.mode.name}, {status.safety.name}", False)
        self.tell()
        return answer

    def tell(self) -> None:
        """Says the state; the real driver does so at changes only."""
        self._program.publish(Bool(data=self.status.program_running))
        self._mode.publish(RobotMode(mode=int(self.status.mode)))
        self._safety.publish(SafetyMode(mode=int(self.status.safety)))

    def _answer(self, name: str, act: Callable[[UrStatus], bool], response: Any) -> Any:
        self.calls.append(name.rpartition("/")[2])
        response.success = bool(self.event(act))
        response.message = (
            "" if response.success else f"not possible in {self.status.mode.name}, {self.status.safety.name}"
        )
        return response
