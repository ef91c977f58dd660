"""What is seen and asked of an arm during a fault: one node that hears the bridge and the joints, and plays the person."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, Vector3
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from defi_msgs.msg import ControlState, TeleopCommand
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_ns
from defi_ros.bridge.lifecycle import make_executor

STILL_RAD_S = 0.02  # what noise and a controller's last lag make
MOVING_RAD_S = 0.05  # commanded; less is a creep
SPEED_OVER_S = 0.03
SILENT_S = 0.2  # the bridge speaks every 20 ms
KEEPS_S = 0.25  # at rest for so long is at rest for good
WISH_PERIOD_S = 0.02


class Witness:
    """Owns one node and the thread that spins it; what it heard is read by the main thread.

    Attributes:
        node: To make publishers and subscriptions on.
        states: (time, control_state), times on the monotonic clock [s].
        troubles: Node -> what it says on /diagnostics.
        wish: What the person says 50 times a second; None: nothing.
    """

    def __init__(self, namespace: str = "", *, hears_joints: bool = True) -> None:
        """Hears the arm itself on joint_states, unless told by `on_joints`."""
        self.states: deque[tuple[float, ControlState]] = deque(maxlen=5000)
        self.troubles: dict[str, str] = {}
        self.wish: TeleopCommand | None = None
        self._moved_s = 0.0
        self._before: tuple[float, Any] | None = None
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.node = Node("faults", context=self._context, namespace=namespace or None)
        if hears_joints:
            self.node.create_subscription(JointState, "joint_states", self.on_joints, qos.STREAM)
        self.node.create_subscription(ControlState, "control_state", self._on_state, qos.STREAM)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENTS)
        self.stop = self.node.create_publisher(Bool, "emergency_stop", qos.EVENTS)
        self.device_stop = self.node.create_publisher(Bool, "teleop/emergency_stop", qos.EVENTS)
        self._teleop = self.node.create_publisher(TeleopCommand, "teleop/command", qos.STREAM)
        self._authority = self.node.create_client(SetAuthority, "set_authority")
        self.node.create_timer(WISH_PERIOD_S, self._say_wish)
        self._executor = make_executor(self._context)
        self._executor.add_node(self.node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="witness", daemon=True)

    def begin(self) -> None:
        """Starts to hear."""
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def on_joints(self, message: JointState) -> None:
        """Notes when the arm itself moved last."""
        now_s = to_ns(message.header.stamp) / 1e9
        if self._before is not None and now_s - self._before[0] < SPEED_OVER_S:
            return
        joints = {name: at for name, at in zip(message.name, message.position, strict=True) if "finger" not in name}
        positions = np.array([joints[name] for name in sorted(joints)])
        before, self._before = self._before, (now_s, positions)
        if before is not None and np.abs(positions - before[1]).max() > STILL_RAD_S * (now_s - before[0]):
            self._moved_s = time.monotonic()

    def _on_state(self, message: ControlState) -> None:
        self.states.append((time.monotonic(), message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.troubles[status.name] = "" if status.level == status.OK else status.message

    def _say_wish(self) -> None:
        if self.wish is not None:
            self.wish.header.stamp = self.node.get_clock().now().to_msg()
            self._teleop.publish(self.wish)

    def wish_for(self, frame: str, y_m_s: float, z_m_s: float) -> None:
        """The person holds the deadman and moves the tool."""
        twist = Twist(linear=Vector3(x=0.0, y=y_m_s, z=z_m_s))
        wish = TeleopCommand(source="joystick", deadman=True, twist=twist, gripper=1.0)
        wish.header.frame_id = frame
        self.wish = wish

    def let_go(self) -> None:
        """The person releases the deadman, and is silent after that."""
        if self.wish is not None:
            self.wish.deadman = False
            time.sleep(5 * WISH_PERIOD_S)
            self.wish = None

    def ask(self, mode: int, *, reset: bool = False, timeout_s: float = 3.0) -> SetAuthority.Response | None:
        """Asks the bridge for a mode; None when it does not answer."""
        if not self._authority.wait_for_service(timeout_s):
            return None
        future = self._authority.call_async(SetAuthority.Request(mode=mode, source="bench", reset=reset))
        end_s = time.monotonic() + timeout_s
        while not future.done() and time.monotonic() < end_s:
            time.sleep(0.01)
        return future.result() if future.done() else None

    @property
    def state(self) -> ControlState | None:
        """The newest control_state."""
        return self.states[-1][1] if self.states else None

    @property
    def reason(self) -> str:
        """The newest reason: of the last command, else of the mode."""
        return "" if self.state is None else f"{self.state.verdict_reason or self.state.reason}"

    @property
    def violations(self) -> int:
        """Commands outside a limit so far."""
        return 0 if self.state is None else int(self.state.limit_violations)

    @property
    def moving(self) -> bool:
        """Whether the bridge commands a motion that is more than a creep."""
        velocity = [] if self.state is None else self.state.commanded_velocity
        return len(velocity) > 0 and np.abs(velocity).max() > MOVING_RAD_S

    def rest_s(
        self, since_s: float, wait: Callable[[Callable[[], bool], float], bool], timeout_s: float
    ) -> float | None:
        """How long after `since_s` (monotonic) the arm came to rest for good [s]; None: it did not within `timeout_s`.

        At rest is an arm whose bridge commands no motion, or is silent, and whose joints stand still.
        """
        commanded_s = [0.0]

        def rests() -> bool:
            state, now_s = self.state, time.monotonic()
            silent = not self.states or now_s - self.states[-1][0] > SILENT_S
            still = silent or (state is not None and state.at_rest and self._is_no_pause(state))
            if not still:
                commanded_s[0] = 0.0
            elif not commanded_s[0]:
                commanded_s[0] = now_s
            return bool(commanded_s[0]) and now_s - max(commanded_s[0], self._moved_s) > KEEPS_S

        if not wait(rests, timeout_s):
            return None
        return max(commanded_s[0] - since_s, self._moved_s - since_s, 0.0)

    def _is_no_pause(self, state: ControlState) -> bool:
        """Whether the arm rests because it must: a policy or a person may stand still in between, too."""
        return state.mode in (ControlState.HOLD, ControlState.STOPPED) or state.verdict != ControlState.PASSED

    def close(self) -> None:
        """Ends its thread and node."""
        self._stopping.set()
        self._executor.wake()
        self._thread.join(2.0)
        self.node.destroy_node()
        self._executor.shutdown()
        self._context.try_shutdown()
