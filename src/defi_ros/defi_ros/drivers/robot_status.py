"""Hears what a robot says of itself, and calls what brings it back in the documented order; decides in `control`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from defi_ros.bridge import qos
from defi_ros.bridge.caller import Caller, CallError
from defi_ros.control.interlock import (
    RecoveryError,
    check_franka_recovers,
    franka_fault,
    ur_fault,
    ur_recovery,
)
from defi_ros.drivers.interface import DriverError, Speaker
from defi_ros.sections import Interlock

# A Franka says its state every millisecond; reading each costs a tenth of a core. Where mode or errors change it is read
# at once.
READ_PERIOD_S = 0.02
EVERY_CHANGE = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # one deep, a stop may be overwritten
SETTLE_S = 0.1  # between two looks whether a step has had its effect
Told = Callable[[str], None]
Wait = Callable[..., Any]  # `OwningNode.wait_to_hear`


class RobotStatus(Protocol):
    """The robot's own word on whether it moves. `fault` belongs to the spinning thread, `recover` may wait."""

    def fault(self) -> str | None:
        """Why the robot does not move as commanded, or None.

        Also one that came and went since the last call is told, once: what was queued before it must not go on.
        """
        ...

    def follows_nobody(self) -> bool:
        """Whether the robot itself has said that it stands still; a silent one may still follow."""
        ...

    def listen(self, wait: Wait, timeout_s: float) -> None:
        """Waits for the robot's first word.

        Raises:
            DriverError: it says nothing for `timeout_s` [s].
        """
        ...

    def recover(self, call: Caller, told: Told) -> None:
        """Brings the robot back, step by step; `told` hears each step before it is taken.

        Raises:
            RecoveryError: a person must act first, a step failed, or the robot is not ready after the last one.
        """
        ...


class PassingFault:
    """Keeps a fault that was seen between two looks; `note` and `take` belong to the spinning thread."""

    def __init__(self) -> None:
        self._seen: str | None = None

    def note(self, fault: str | None) -> None:
        """Keeps the first fault since the last look; None changes nothing."""
        if self._seen is None:
            self._seen = fault

    def take(self, standing: str | None) -> str | None:
        """What to tell now: the fault that is standing, else the one that was seen and is over."""
        seen, self._seen = self._seen, None
        return seen if standing is None else standing

    def forget(self) -> None:
        """What was seen until now is dealt with; any thread."""
        self._seen = None


class FrankaStatus:
    """franka_msgs/FrankaRobotState; recovery: error_recovery, hardware component active, controllers on."""

    def __init__(self, node: Speaker, settings: Interlock) -> None:
        """Listens."""
        from franka_msgs.msg import FrankaRobotState

        self._type = FrankaRobotState
        self._mode_at: int | None = None  # in a message's bytes; from there to the end it is mode and errors
        self._end: Any = None
        self._passing = PassingFault()
        self._settings = settings
        self._heard_s: float | None = None
        self._mode = 0
        self._errors: list[str] = []
        self._topic = settings.state_topic
        node.hear(settings.state_topic, FrankaRobotState, self._on_bytes, qos.STATES, raw=True)

    def _on_bytes(self, data: Any) -> None:
        now_s = time.monotonic()
        end = data[self._mode_at :]
        if self._heard_s is not None and now_s - self._heard_s < READ_PERIOD_S and end == self._end:
            return
        self._end = end
        self._read(deserialize_message(data, self._type))

    def _read(self, message: Any) -> None:
        if self._mode_at is None:
            self._mode_at = franka_mode_at(message)
        errors = message.current_errors
        self._mode = message.robot_mode
        self._errors = [name for name in errors.get_fields_and_field_types() if getattr(errors, name)]
        self._heard_s = time.monotonic()
        self._passing.note(franka_fault(self._mode, self._errors))

    def listen(self, wait: Wait, timeout_s: float) -> None:
        """See `RobotStatus.listen`."""
        self._read(first_word(wait, self._topic, self._type, qos.STATES, timeout_s))
        self._passing.forget()  # nothing was commanded before

    def fault(self) -> str | None:
        """See `RobotStatus.fault`."""
        return self._passing.take(self._standing_fault())

    def _standing_fault(self) -> str | None:
        if self._is_silent():
            return (
                f"robot: got no {self._topic} for {self._settings.silence_s:g} s, "
                "expected franka_robot_state_broadcaster to say it"
            )
        return franka_fault(self._mode, self._errors)

    def follows_nobody(self) -> bool:
        """See `RobotStatus.follows_nobody`."""
        return not self._is_silent() and franka_fault(self._mode, self._errors) is not None

    def _is_silent(self) -> bool:
        return self._heard_s is None or time.monotonic() - self._heard_s > self._settings.silence_s

    def recover(self, call: Caller, told: Told) -> None:
        """See `RobotStatus.recover`."""
        from controller_manager_msgs.srv import SetHardwareComponentState, SwitchController
        from franka_msgs.action import ErrorRecovery
        from lifecycle_msgs.msg import State

        settings, wait_s = self._settings, self._settings.step_timeout_s
        check_franka_recovers(self._mode)
        try:
            name = f"{settings.recovery_prefix}action_server/error_recovery"
            told(name)
            call.action(ErrorRecovery, name, ErrorRecovery.Goal(), wait_s)
            told(f"{settings.hardware} active")
            active = State(id=State.PRIMARY_STATE_ACTIVE, label="active")
            hardware = SetHardwareComponentState.Request(name=settings.hardware, target_state=active)
            answer = call.service(
                SetHardwareComponentState, "controller_manager/set_hardware_component_state", hardware, wait_s
            )
            if not answer.ok:
                raise CallError(f"{settings.hardware}: got state {answer.state.label!r}, expected active")
            if settings.controllers:
                told(f"{', '.join(settings.controllers)} on")
                switch = SwitchController.Request(activate_controllers=list(settings.controllers))
                switch.strictness = SwitchController.Request.STRICT
                switch.timeout.sec = int(wait_s)
                answer = call.service(SwitchController, "controller_manager/switch_controller", switch, wait_s)
                if not answer.ok:
                    raise CallError(f"{', '.join(settings.controllers)}: not switched on: {answer.message}")
        except CallError as error:
            raise RecoveryError(f"recovery: {error}") from error
        wait_until_ready(self._standing_fault, wait_s)
        self._passing.forget()


class UrStatus:
    """Three latched topics of the UR driver; recovery: the dashboard's services that the state asks for."""

    def __init__(self, node: Speaker, settings: Interlock) -> None:
        """Listens."""
        from ur_dashboard_msgs.msg import RobotMode, SafetyMode

        self._settings = settings
        self._program: bool | None = None
        self._mode: int | None = None
        self._safety: int | None = None
        self._passing = PassingFault()
        self._topics: tuple[tuple[str, Any, Callable[[Any], None]], ...] = (
            (f"{settings.status_prefix}robot_program_running", Bool, self._on_program),
            (f"{settings.status_prefix}robot_mode", RobotMode, self._on_mode),
            (f"{settings.status_prefix}safety_mode", SafetyMode, self._on_safety),
        )
        for topic, message_type, note in self._topics:
            node.hear(topic, message_type, note, EVERY_CHANGE)

    def _on_program(self, message: Any) -> None:
        self._program = bool(message.data)
        self._note()

    def _on_mode(self, message: Any) -> None:
        self._mode = int(message.mode)
        self._note()

    def _on_safety(self, message: Any) -> None:
        self._safety = int(message.mode)
        self._note()

    def _note(self) -> None:
        if self._has_spoken():
            self._passing.note(self._standing_fault())

    def _has_spoken(self) -> bool:
        return None not in (self._program, self._mode, self._safety)

    def listen(self, wait: Wait, timeout_s: float) -> None:
        """See `RobotStatus.listen`."""
        for topic, message_type, note in self._topics:
            note(first_word(wait, topic, message_type, qos.LATCHED, timeout_s))
        self._passing.forget()  # nothing was commanded before

    def fault(self) -> str | None:
        """See `RobotStatus.fault`."""
        return self._passing.take(self._standing_fault())

    def _standing_fault(self) -> str | None:
        return ur_fault(self._program, self._mode, self._safety)

    def follows_nobody(self) -> bool:
        """See `RobotStatus.follows_nobody`."""
        return self._has_spoken() and self._standing_fault() is not None

    def recover(self, call: Caller, told: Told) -> None:
        """See `RobotStatus.recover`."""
        settings = self._settings
        for step in ur_recovery(self._program, self._mode, self._safety, settings.program):
            resend = step == "resend_robot_program"
            name = f"{settings.status_prefix if resend else settings.recovery_prefix + 'dashboard_client/'}{step}"
            told(name)
            try:
                answer = call.service(Trigger, name, Trigger.Request(), settings.step_timeout_s)
            except CallError as error:
                raise RecoveryError(f"recovery: {error}") from error
            if not answer.success:
                raise RecoveryError(f"recovery: {name}: refused: {answer.message or 'no reason given'}")
        wait_until_ready(self._standing_fault, settings.step_timeout_s)
        self._passing.forget()


def make_robot_status(node: Speaker, settings: Interlock) -> RobotStatus | None:
    """What hears the robot that `interlock.kind` names; None for one that says nothing of itself."""
    if settings.kind == "franka":
        return FrankaStatus(node, settings)
    if settings.kind == "ur":
        return UrStatus(node, settings)
    return None


def franka_mode_at(message: Any) -> int:
    """Where in the bytes of a FrankaRobotState, with the names this one has, its mode stands."""
    mode, changed = message.robot_mode, message.robot_mode ^ 255
    before = serialize_message(message)
    message.robot_mode = changed
    after, message.robot_mode = serialize_message(message), mode
    pairs = enumerate(zip(before, after, strict=True))  # what fills gaps between fields may differ too
    return next((at for at, pair in pairs if pair == (mode, changed)), len(before))


def first_word(wait: Wait, topic: str, message_type: type, profile: Any, timeout_s: float) -> Any:
    """The first message on a topic.

    Raises:
        DriverError: there was none for `timeout_s` [s].
    """
    message = wait(topic, message_type, profile, timeout_s=timeout_s)
    if message is None:
        raise DriverError(
            f"interlock: got no {topic} for {timeout_s:g} s, expected the robot's driver to say it. "
            "Start the driver, or correct section `interlock` of the robot file."
        )
    return message


def wait_until_ready(fault: Callable[[], str | None], timeout_s: float) -> None:
    """Waits until there is no fault.

    Raises:
        RecoveryError: it still stands after `timeout_s` [s].
    """
    deadline_s = time.monotonic() + timeout_s
    while (why := fault()) is not None:
        if time.monotonic() > deadline_s:
            raise RecoveryError(f"recovery: every step was taken, but after {timeout_s:g} s still {why}")
        time.sleep(SETTLE_S)
