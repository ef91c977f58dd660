"""What robots say of themselves, stop at, and how they are brought back: a Franka behind franka_ros2, a UR behind its driver.

Pure state machines: each event returns nothing and changes `ready`; whoever owns one moves the arm accordingly.
"""

from __future__ import annotations

from enum import IntEnum


class FrankaMode(IntEnum):
    """Numbers of franka_msgs/msg/FrankaRobotState."""

    IDLE = 1
    MOVE = 2
    REFLEX = 4
    USER_STOPPED = 5


class FrankaStatus:
    """A Franka: an error ends in REFLEX, its hardware component unconfigured and its controllers switched off.

    Attributes:
        mode: What it says.
        errors: Names of its standing errors, as in franka_msgs/msg/Errors.
        hardware: Lifecycle state of its hardware component.
        controlled: Whether its controllers are switched on.
    """

    def __init__(self) -> None:
        self.mode = FrankaMode.MOVE
        self.errors: tuple[str, ...] = ()
        self.hardware = "active"
        self.controlled = True

    @property
    def ready(self) -> bool:
        """Whether it moves as its controllers want."""
        return self.mode == FrankaMode.MOVE and self.hardware == "active" and self.controlled

    def fail(self, error: str) -> None:
        """An error, as in "cartesian_reflex"."""
        self.errors = (*self.errors, error)
        self.mode, self.hardware, self.controlled = FrankaMode.REFLEX, "unconfigured", False

    def press_user_stop(self, pressed: bool) -> None:
        """The button that lets a person move it by hand."""
        if pressed:
            self.mode, self.hardware, self.controlled = FrankaMode.USER_STOPPED, "unconfigured", False
        elif self.mode == FrankaMode.USER_STOPPED:
            self.mode = FrankaMode.IDLE

    def recover(self) -> bool:
        """Clears the error; not while the user stop is pressed."""
        if self.mode == FrankaMode.USER_STOPPED:
            return False
        self.errors, self.mode = (), FrankaMode.IDLE
        return True

    def activate_hardware(self) -> bool:
        """Sets the hardware component active; it refuses while the robot has an error."""
        if self.mode in (FrankaMode.REFLEX, FrankaMode.USER_STOPPED):
            return False
        self.hardware = "active"
        return True

    def switch_on(self) -> bool:
        """Switches the controllers on; they need active hardware."""
        if self.hardware != "active":
            return False
        self.controlled, self.mode = True, FrankaMode.MOVE
        return True


class UrMode(IntEnum):
    """Numbers of ur_dashboard_msgs/msg/RobotMode."""

    POWER_OFF = 3
    IDLE = 5
    RUNNING = 7


class UrSafety(IntEnum):
    """Numbers of ur_dashboard_msgs/msg/SafetyMode."""

    NORMAL = 1
    PROTECTIVE_STOP = 3
    ROBOT_EMERGENCY_STOP = 7


class UrStatus:
    """A UR: a protective stop pauses its program, an emergency stop cuts the power too.

    Attributes:
        mode: What its arm does.
        safety: What its safety system does.
        program_running: Whether the program that listens to ROS runs.
    """

    def __init__(self) -> None:
        self.mode, self.safety, self.program_running = UrMode.RUNNING, UrSafety.NORMAL, True

    @property
    def ready(self) -> bool:
        """Whether it moves as its controllers want."""
        return self.program_running and self.mode == UrMode.RUNNING and self.safety == UrSafety.NORMAL

    def protective_stop(self) -> None:
        """It hit something."""
        self.safety, self.program_running = UrSafety.PROTECTIVE_STOP, False

    def emergency_stop(self, pressed: bool) -> None:
        """The button on the teach pendant."""
        if pressed:
            self.mode, self.safety, self.program_running = UrMode.POWER_OFF, UrSafety.ROBOT_EMERGENCY_STOP, False
        else:
            self.safety = UrSafety.NORMAL

    def stop_program(self) -> None:
        """A person stopped the program on the pendant."""
        self.program_running = False

    def unlock_protective_stop(self) -> bool:
        """As the dashboard does."""
        if self.safety != UrSafety.PROTECTIVE_STOP:
            return False
        self.safety = UrSafety.NORMAL
        return True

    def power_on(self) -> bool:
        """As the dashboard does; not in an emergency stop."""
        if self.safety != UrSafety.NORMAL:
            return False
        if self.mode == UrMode.POWER_OFF:
            self.mode = UrMode.IDLE
        return True

    def brake_release(self) -> bool:
        """As the dashboard does."""
        if self.mode == UrMode.POWER_OFF or self.safety != UrSafety.NORMAL:
            return False
        self.mode = UrMode.RUNNING
        return True

    def start_program(self) -> bool:
        """Sends or plays the program; it runs only on a robot that is on and not stopped."""
        if self.mode != UrMode.RUNNING or self.safety != UrSafety.NORMAL:
            return False
        self.program_running = True
        return True
