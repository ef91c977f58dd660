"""The faults that are put into the running graph: cameras, joints, chunks, processes, machine, stops and input devices."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fault import Fault
from faulty_graph import changed, delayed, drop, frozen, intruder, shifted
from graph_rig import GraphRig
from std_msgs.msg import Bool

from defi_msgs.msg import ControlState

STATIC, JOINTS, CHUNKS = "camera/static/image_raw", "joint_states", "action_chunk"
NO_CHUNK = "(no (usable )?action chunk for|waiting for the first action chunk) .*"
STATIC_IS = NO_CHUNK + "imagination_node: .*camera 'static':? "
Undo = Callable[[], Any]


def on(topic: str, how: Callable[[Any], Any]) -> Callable[[GraphRig], Undo]:
    """Spoils a topic."""
    return lambda rig: rig.spoil(topic, how)


def afresh(topic: str, make: Callable[[], Callable[[Any], Any]]) -> Callable[[GraphRig], Undo]:
    """Spoils a topic by something that remembers, made when it is put in."""
    return lambda rig: rig.spoil(topic, make())


def sent(name: str, number: int, undo: int | None = None) -> Callable[[GraphRig], Undo | None]:
    """A signal to a node's process."""
    return lambda rig: rig.signal(name, number, undo)


def press(rig: GraphRig, *, device: bool = False) -> Undo:
    """The emergency stop by its topic, or by that of the input device."""
    stop = rig.relay.device_stop if device else rig.relay.stop
    stop.publish(Bool(data=True))
    return lambda: stop.publish(Bool(data=False))


def press_when_stopped(rig: GraphRig) -> Undo:
    """The emergency stop while another stop is in force: the first reason stands, and no reset is granted."""
    undo = press(rig)
    time.sleep(0.2)
    answer = rig.relay.ask(ControlState.HOLD, reset=True)
    rig.told = "" if answer is None or answer.granted else answer.reason
    return undo


def stop_by_service(rig: GraphRig) -> None:
    """The emergency stop by set_authority."""
    rig.relay.ask(ControlState.STOPPED)


def starve(rig: GraphRig) -> Undo:
    """More busy processes than there are cores."""
    del rig
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    return lambda: [process.kill() or process.wait() for process in busy] and None


def fill_disk(rig: GraphRig) -> Undo:
    """No process can write to any file any more, as on a full disk: logs, reports, ROS's own logs."""
    names = ("imagination_node", "action_node", "sim_node", "arm_bridge_node", "task_node")
    pids = [pid for name in names if (pid := rig.graph.supervisor.pid(name)) is not None]
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)) for pid in pids]
    rig.spoil(CHUNKS, once(changed(arm="ur5e")))  # something to log
    return lambda: [resource.prlimit(pid, resource.RLIMIT_FSIZE, old) for pid, old in zip(pids, before, strict=True)]


def fill_disk_and_press(rig: GraphRig) -> Undo:
    """The emergency stop while nothing can be written."""
    undos = [fill_disk(rig), press(rig)]
    return lambda: [undo() for undo in undos] and None


def once(how: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Spoils the first message only."""
    left = [how]
    return lambda message: left.pop()(message) if left else message


def let_go(rig: GraphRig, *, silent: bool) -> None:
    """The input device falls silent, or says that the deadman is released."""
    if silent:
        rig.relay.wish = None
    elif rig.relay.wish is not None:
        rig.relay.wish.deadman = False


def twisted(rig: GraphRig, *, z: float) -> None:
    """The input device asks for something no arm can do."""
    if rig.relay.wish is not None:
        rig.relay.wish.twist.linear.z = z


def late(rig: GraphRig) -> Undo:
    """Inference takes 2 s longer."""
    return rig.spoil(CHUNKS, delayed(rig.relay, CHUNKS, 2.0))


def nan_at(index: int) -> Callable[[Any], Any]:
    """One position is no number."""
    return changed(position=lambda m: [float("nan") if at == index else one for at, one in enumerate(m.position)])


def off_by(rad: float) -> Callable[[Any], Any]:
    """An encoder says something else from one moment to the next."""
    return changed(position=lambda m: [m.position[0], m.position[1] + rad, *m.position[2:]])


def black(message: Any) -> Any:
    """Nothing is seen."""
    return changed(data=bytes(len(message.data)))(message)


LOW = changed(height=64, data=lambda m: bytes(m.data)[: 64 * m.step])
NO_NUMBERS = changed(targets=lambda m: [float("nan")] * len(m.targets))
OTHER_JOINT = changed(name=lambda m: ["other", *list(m.name)[1:]])

CAMERAS: Sequence[Fault] = (
    Fault("camera gone", "policy", on(STATIC, drop), STATIC_IS + "(newest image is|has sent nothing)"),
    Fault(
        "camera frozen: the same image and stamp",
        "policy",
        afresh(STATIC, partial(frozen, stamps=False)),
        STATIC_IS + "(got the same stamp again|is frozen)",
    ),
    Fault(
        "camera frozen: the same image, new stamps",
        "policy",
        afresh(STATIC, partial(frozen, stamps=True)),
        STATIC_IS + "is frozen",
    ),
    Fault("camera black", "policy", on(STATIC, black), STATIC_IS + "is black"),
    Fault("camera of the wrong size", "policy", on(STATIC, LOW), STATIC_IS + "got frames of 128x64 px"),
    Fault(
        "camera with a broken encoding",
        "policy",
        on(STATIC, changed(encoding="nonsense")),
        STATIC_IS + "image: got encoding 'nonsense'",
    ),
    Fault("camera time jumps 5 s ahead", "policy", on(STATIC, shifted(5.0)), STATIC_IS + "stamp is .* s in the future"),
    Fault("camera time jumps 5 s back", "policy", on(STATIC, shifted(-5.0)), STATIC_IS + "newest image is .* s old"),
    Fault(
        "cameras 0.2 s apart", "policy", on(STATIC, shifted(-0.2)), STATIC_IS + "its images come .* s behind those of"
    ),
)

OTHERS: Sequence[Fault] = (
    Fault("joint states gone", "policy", on(JOINTS, drop), "no joint state for"),
    Fault("NaN in joint states", "policy", on(JOINTS, nan_at(2)), "no joint state for"),
    Fault("joint states 1 s old", "policy", on(JOINTS, shifted(-1.0)), "no joint state for"),
    Fault("joint states from 5 s ahead", "policy", on(JOINTS, shifted(5.0)), "no joint state for"),
    Fault("a joint is missing", "policy", on(JOINTS, OTHER_JOINT), "no joint state for"),
    Fault("a joint state jumps by 0.5 rad, policy moving", "policy", on(JOINTS, off_by(0.5)), "panda_joint2 jumped by"),
    Fault("a joint state jumps by 0.5 rad, person moving", "person", on(JOINTS, off_by(0.5)), "panda_joint2 jumped by"),
    Fault("NaN in chunks", "policy", on(CHUNKS, NO_NUMBERS), NO_CHUNK + "not finite"),
    Fault("chunks for another robot", "policy", on(CHUNKS, changed(arm="ur5e")), NO_CHUNK + "chunk is for arm 'ur5e'"),
    Fault("chunks of the wrong size", "policy", on(CHUNKS, changed(steps=3)), NO_CHUNK + "expected 21"),
    Fault("chunks from 5 s ahead", "policy", on(CHUNKS, shifted(5.0)), NO_CHUNK + "in the future"),
    Fault("chunks 5 s old", "policy", on(CHUNKS, shifted(-5.0)), NO_CHUNK + "observation is .* s old, limit 1 s"),
    Fault("chunks gone", "policy", on(CHUNKS, drop), NO_CHUNK + "silent, and neither says why"),
    Fault("inference 2 s late", "policy", late, NO_CHUNK + "observation is 2.* s old, limit 1 s", told_s=2.5),
    Fault(
        "imagination_node killed (SIGKILL)",
        "policy",
        sent("imagination_node", signal.SIGKILL),
        "imagination_node is gone",
        told_s=0.2,
    ),
    Fault(
        "action_node killed (SIGKILL)", "policy", sent("action_node", signal.SIGKILL), "action_node is gone", told_s=0.2
    ),
    Fault(
        "imagination_node hangs (SIGSTOP)",
        "policy",
        sent("imagination_node", signal.SIGSTOP, signal.SIGCONT),
        "imagination_node is gone",
    ),
    Fault(
        "action_node hangs (SIGSTOP)",
        "policy",
        sent("action_node", signal.SIGSTOP, signal.SIGCONT),
        "action_node is gone",
    ),
    Fault("a second publisher on the command topic", "policy", lambda rig: intruder(rig.relay), "another publisher on"),
    Fault("CPU starved by twice as many busy processes as cores", "policy", starve, "", goes_on=True),
    Fault("disk full: no process can write a file", "policy", fill_disk, "", goes_on=True),
    Fault("emergency stop while the disk is full", "policy", fill_disk_and_press, "emergency stop is pressed"),
    Fault("emergency stop by topic, policy moving", "policy", press, "emergency stop is pressed"),
    Fault("emergency stop by topic, person moving", "person", press, "emergency stop is pressed"),
    Fault("emergency stop by topic, nobody moving", "nobody", press, "emergency stop is pressed"),
    Fault(
        "emergency stop by topic, stopped already: a reset is refused",
        "stopped",
        press_when_stopped,
        "reset refused, because this still stands: emergency stop is pressed",
    ),
    Fault("emergency stop by service, policy moving", "policy", stop_by_service, "stop asked for by bench"),
    Fault("emergency stop by service, person moving", "person", stop_by_service, "stop asked for by bench"),
    Fault("emergency stop by service, nobody moving", "nobody", stop_by_service, "stop asked for by bench"),
    Fault(
        "emergency stop at the input device, person moving",
        "person",
        partial(press, device=True),
        "emergency stop at the input device is pressed",
    ),
    Fault(
        "emergency stop at the input device, policy moving",
        "policy",
        partial(press, device=True),
        "emergency stop at the input device is pressed",
    ),
    Fault("input device gone while it moves the arm", "person", partial(let_go, silent=True), "no input from joystick"),
    Fault("deadman released at speed", "person", partial(let_go, silent=False), "released the deadman"),
    Fault("input device says NaN", "person", partial(twisted, z=float("nan")), "no input from joystick"),
    Fault("input device asks for 50 m/s", "person", partial(twisted, z=50.0), "slowed down", goes_on=True),
    Fault("arm bridge ended (SIGTERM)", "person", sent("arm_bridge_node", signal.SIGTERM), "arm_bridge_node ended"),
    Fault("arm bridge killed (SIGKILL)", "policy", sent("arm_bridge_node", signal.SIGKILL), "arm_bridge_node ended"),
)
