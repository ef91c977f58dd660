"""What reaches the arm bridge between two ticks: callbacks leave it here, the tick thread hands it to the core."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from defi_models.contract import ContractError, FloatArray
from defi_msgs.msg import ActionChunk as ActionChunkMsg
from defi_msgs.msg import TeleopCommand
from defi_msgs.srv import SetAuthority
from defi_ros.bridge.convert import JointReader, chunk_from, to_ns
from defi_ros.bridge.health import Health
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.teleop import TeleopInput

ANSWER_TIMEOUT_S = 0.25  # fifty ticks; a tick thread that takes longer is as good as dead


class ArmInbox:
    """Checked input, in the order it came. `on_*` belong to the spinning thread, `deliver` to the tick thread.

    Args:
        core: What decides; only ever touched inside `deliver`.
        reader: Reads joint states.
        health: Where refused input is told.
        base_frame: Frame that teleop twists may be given in.
        tip_frame: The other one: the tool's.

    Attributes:
        obeys: Whether anybody may have the arm; not while it is brought to its last rest.
        listens: Whether somebody takes out what comes: without, only stops and what processes say of themselves are kept.
        lost: Part of the policy whose process vanished -> what to say of it; only the tick thread changes it.
        pressed: Emergency stops that are; only the spinning thread changes it.
        tool_pose: Pose of the tool centre point commanded last, shape (7,); the tick thread keeps it up to date.
    """

    def __init__(self, core: ArmCore, reader: JointReader, health: Health, base_frame: str, tip_frame: str) -> None:
        self._core = core
        self._reader = reader
        self._health = health
        self._base_frame, self._tip_frame = base_frame, tip_frame
        self._waiting: deque[Callable[[int], None]] = deque()
        self._refused_in_a_row = 0
        self._lost_ns = 0
        self._asking = threading.Lock()
        self.listens = self.obeys = False
        self.lost: dict[str, str] = {}
        self.pressed: set[str] = set()
        self.tool_pose: FloatArray | None = None

    def deliver(self, now_ns: int) -> None:
        """Hands everything that came since the last tick to the core."""
        for _ in range(len(self._waiting)):  # what comes meanwhile waits for the next tick
            self._waiting.popleft()(now_ns)

    def put(self, act: Callable[[int], None]) -> None:
        """Lets the tick thread call `act(now_ns)` before its next tick."""
        self._waiting.append(act)

    def on_joints(self, message: JointState) -> None:
        """Where the arm is."""
        if not self.listens:
            return
        try:
            reading = self._reader.read(message)
        except ContractError as error:
            self._health.trouble("joint_states", str(error))
            return
        if reading is not None:
            self.put(
                lambda now_ns: self._health.trouble(
                    "joint_states",
                    self._core.on_state(reading.time_ns, reading.positions, now_ns, gripper=reading.opening),
                )
            )

    def on_chunk(self, message: ActionChunkMsg) -> None:
        """What the policy wants."""
        if not self.listens:
            return
        try:
            chunk = chunk_from(message)
        except ContractError as error:
            reason = str(error)
            self._health.trouble("action_chunk", reason)
            self.put(lambda now_ns: self._core.on_refused_chunk(reason, now_ns))
            return

        def accept(now_ns: int) -> None:
            if self._core.authority.mode != Mode.POLICY:
                return
            self._lost_ns = min(self._lost_ns, now_ns)  # a clock that was set back
            if chunk.start_ns > self._lost_ns:  # it came through every process of the policy after the loss
                self.lost.clear()
            lost = next(iter(self.lost.values()), None)
            refused = lost or self._core.on_chunk(chunk, now_ns)
            self._refused_in_a_row = 0 if refused is None else self._refused_in_a_row + 1
            # One is in flight at every handover; the second in a row is a trouble.
            self._health.trouble("action_chunk", refused if self._refused_in_a_row > 1 else None)

        self.put(accept)

    def on_teleop(self, message: TeleopCommand) -> None:
        """What a person wants."""
        if not self.obeys:
            return
        linear, angular = message.twist.linear, message.twist.angular
        twist = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
        frame, stamp_ns = message.header.frame_id, to_ns(message.header.stamp)

        def follow(now_ns: int) -> None:
            try:
                if frame not in ("", self._base_frame, self._tip_frame):
                    raise ContractError(
                        f"teleop: got a twist in frame {frame!r}, expected {self._base_frame!r} or {self._tip_frame!r}"
                    )
                turned = self._in_base(twist) if frame == self._tip_frame else twist
                wish = TeleopInput(message.source, message.deadman, turned, message.gripper, stamp_ns)
            except ContractError as error:
                self._health.trouble("teleop", str(error))
                return
            self._health.trouble("teleop", self._core.on_teleop(wish, now_ns))

        self.put(follow)

    def _in_base(self, twist: FloatArray) -> FloatArray:
        if self.tool_pose is None:  # nothing is commanded: the deadman alone counts
            return np.zeros(6)
        x, y, z, w = self.tool_pose[3:]
        axis = np.array([x, y, z])
        rows = twist.reshape(2, 3)
        across = 2.0 * np.cross(axis, rows)
        return (rows + w * across + np.cross(axis, across)).ravel()

    def on_emergency_stop(self, pressed: bool, source: str) -> None:
        """Somebody pressed or released a stop; each source stands for itself."""
        if not self.listens and pressed == (source in self.pressed):
            return
        (self.pressed.add if pressed else self.pressed.discard)(source)
        self.put(lambda now_ns: self._core.on_emergency_stop(pressed, now_ns, source))

    def on_trouble(self, role: str, message: String) -> None:
        """A process of the policy says what keeps it from its work; empty: nothing does."""
        self.put(lambda now_ns: self._core.on_policy_trouble(role, message.data))

    def on_alive(self, role: str, alive: bool) -> None:
        """A process of the policy appeared or vanished; a vanished one takes its chunks with it."""

        def note(now_ns: int) -> None:
            if alive:
                self.lost.pop(role, None)
                if role == "inference_node":
                    self.lost.clear()
                return
            self._core.on_policy_trouble(role, "")  # what it said died with it
            self._lost_ns = now_ns
            self.lost[role] = f"{role} is gone: its process has ended or hangs"
            if self._core.authority.mode == Mode.POLICY:  # asked for anew, what came before counts no more
                self._core.request(Mode.POLICY, self._core.authority.source, now_ns)

        self.put(note)

    def ask(self, request: SetAuthority.Request) -> tuple[bool, str]:
        """Asks for the authority and waits for the next tick's answer: (granted, why).

        What could set the arm in motion is not granted any more once it was answered that there is no answer.
        """
        if request.mode not in tuple(Mode):
            return False, f"got mode {request.mode}, expected 0 HOLD, 1 TELEOP, 2 POLICY or 3 STOPPED"
        if not (self.obeys or (self.listens and request.mode == Mode.STOPPED)):
            return False, "the arm bridge is not active"
        answered, given_up = threading.Event(), threading.Event()
        answer: list[str | None] = [None]
        mode, source = Mode(request.mode), request.source or "unknown"
        rests = mode == Mode.STOPPED or (mode == Mode.HOLD and not request.reset)

        def decide(now_ns: int) -> None:
            with self._asking:
                if given_up.is_set() and not rests:
                    return
                answer[0] = self._core.request(mode, source, now_ns, reset=request.reset)
                if answer[0] is None and mode == Mode.POLICY:
                    self.lost.clear()
                answered.set()

        self.put(decide)
        answered.wait(ANSWER_TIMEOUT_S)
        with self._asking:
            if not answered.is_set():
                given_up.set()
                return False, f"the control loop did not answer within {ANSWER_TIMEOUT_S} s"
        return answer[0] is None, answer[0] or f"{mode.name} granted to {source}"
