"""ros2_control's forward_command_controller on velocity: every tick, the velocities of all joints, as plain numbers.

The controller keeps the last velocity for ever: when the bridge dies in motion, the arm would go on. So it commands
nothing unless a process of its own, stop_guard_node, lives, which sends zero when the bridge falls silent.
"""

from __future__ import annotations

import array
import time

import numpy as np
from std_msgs.msg import Float64MultiArray

from defi_models.contract import FloatArray, JointLimits
from defi_ros.bridge import qos
from defi_ros.bridge.caller import Caller, CallError
from defi_ros.bridge.convert import float_array
from defi_ros.control.command import Alone
from defi_ros.drivers.catching_up import CatchingUp
from defi_ros.drivers.interface import STOP_GUARD, DriverError, Speaker, TopicDriver

DEFAULT_TOPIC = "forward_velocity_controller/commands"
GUARD_ALIVE = f"{STOP_GUARD}/alive"
# On a starved computer a living process misses its lease of 0.15 s now and then; the bridge itself lives meanwhile.
GONE_S = 0.5
GUARD_SLACK_S = 0.05  # so much before its time the guard may be taken for one that has sent zeros already
# See `CatchingUp` [rad].
REST_TOLERANCE_RAD, MOST_MADE_UP_FOR_RAD = 1e-3, 0.15


class ForwardVelocityDriver(TopicDriver):
    """Publishes std_msgs/Float64MultiArray [rad/s]: the set point's velocity, and a share of the way to the set point."""

    companions = (STOP_GUARD,)

    def __init__(
        self, node: Speaker, limits: JointLimits, correction_hz: float, guard_timeout_s: float, topic: str = ""
    ) -> None:
        """Makes the publisher and watches the guard.

        Args:
            node: Owns both.
            limits: Its velocities bound what is sent, its accelerations how fast the correction changes.
            correction_hz: How fast a distance between measured joints and set point is made up for [1/s].
            guard_timeout_s: Silence after which the guard sends zeros [s].
            topic: Command topic, relative to the node's namespace.
        """
        self._publisher = node.say(topic or DEFAULT_TOPIC, Float64MultiArray, qos.COMMANDS)
        super().__init__(self._publisher)
        self._message = Float64MultiArray(data=array.array("d"))
        self._fastest, self._guard_timeout_s = limits.velocity, guard_timeout_s
        self._catching_up = CatchingUp(
            correction_hz,
            most=MOST_MADE_UP_FOR_RAD,
            tolerance=REST_TOLERANCE_RAD,
            acceleration=limits.acceleration,
        )
        self._node = node
        self._guarded = False
        self._seen_s = -GONE_S
        node.watch(GUARD_ALIVE, self._on_guard)

    def _on_guard(self, alive: bool) -> None:
        self._guarded = alive

    def prepare(self, call: Caller, timeout_s: float) -> None:
        """Waits for the guard.

        Raises:
            DriverError: there is none.
        """
        try:
            call.wait_alive(STOP_GUARD, timeout_s)
        except CallError as error:
            raise DriverError(
                f"forward_velocity: {error}, expected that process, without which a dead bridge would leave the arm "
                f"moving. Start it: `ros2 run defi_ros {STOP_GUARD}`, or use `defi up`."
            ) from error
        self._guarded = True
        self._seen_s = time.monotonic()

    def poll(self) -> str | None:
        """Whether the guard lives: one that was killed loses its liveliness, one that ended leaves the graph."""
        now_s = time.monotonic()
        if self._guarded and self._node.get_publishers_info_by_topic(GUARD_ALIVE):
            self._seen_s = now_s
        if now_s - self._seen_s < GONE_S:
            return None
        return f"forward_velocity: {STOP_GUARD} is gone; nothing would stop a runaway arm"

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`."""
        away = None if measured is None else positions - measured
        correction = self._catching_up.step(away, moving=bool(velocities.any()), time_ns=time_ns)
        self._say(np.clip(velocities + correction, -self._fastest, self._fastest))

    def alone(self, time_ns: int) -> Alone:
        """See `ArmDriver.alone`: it goes on until the guard stops it."""
        evenly_s = self._guard_timeout_s - GUARD_SLACK_S
        return Alone.GOES_ON if self._catching_up.is_recent(time_ns, evenly_s) else Alone.STOPS

    def let_go(self, time_ns: int) -> None:
        """See `ArmDriver.let_go`; exactly zero, which stays in force."""
        del time_ns
        self._say(0.0 * self._fastest)

    def stop(self, positions: FloatArray, time_ns: int) -> None:
        """See `ArmDriver.stop`."""
        del positions
        self.let_go(time_ns)

    def _say(self, velocities: FloatArray) -> None:
        self._message.data = float_array(velocities)
        self._publisher.publish(self._message)
