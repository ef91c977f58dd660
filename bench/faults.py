"""Faults, each put into the running graph of the simulated Franka: what the arm did, the reason given, the time to rest.

    python bench/faults.py --markdown docs/faults.md --json faults.json

The graph is started once, as `defi up franka --sim --separate` starts it, with a relay between the simulator and the
nodes and between policy and bridge (bench/faulty_graph.py). Before each fault the arm is made to move, by the policy or
by a person; after it everything is put right again. Faults of time that no graph can be given are played to the arm
bridge's core alone, and say so. Exits with 1 when a fault did not end as it must.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from core_faults import core_results
from faulty_graph import Relay, changed, delayed, drop, frozen, intruder, out, shifted, with_relay
from geometry_msgs.msg import Twist, Vector3
from std_msgs.msg import Bool

from defi_models.contract import DefiError
from defi_msgs.msg import ControlState, TeleopCommand
from defi_ros.bringup import BringupOptions, processes
from defi_ros.robot import load_robot
from defi_ros.up.graph import Graph
from defi_ros.up.interruption import Interruption
from defi_ros.up.report import Report, write_json
from defi_ros.up.supervisor import ProcessEndedError
from defi_ros.up.surroundings import surroundings
from defi_ros.up.terminal import PlainView

TASKS = ("open the drawer", "move the door to the left", "turn on the led")
SIM_TASKS = ("open_drawer", "move_door_left", "turn_on_led")
MOVES_S, RESTS_S, KEEPS_S = 12.0, 4.0, 0.25
TRIES = 4
STATIC, JOINTS, CHUNKS = "camera/static/image_raw", "joint_states", "action_chunk"
NO_CHUNK = "no action chunk|no usable action chunk"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What goes wrong.
        mode: Who moves the arm before: policy, person or nobody.
        inject: Puts it in; returns what takes it out again.
        reason: Pattern that the reason in control_state (or, where the bridge is gone, of the supervisor) must match.
        goes_on: Whether the arm may go on, because the fault is refused.
    """

    name: str
    mode: str
    inject: Callable[[Rig], Callable[[], Any] | None]
    reason: str
    goes_on: bool = False


@dataclass(frozen=True)
class Result:
    """What came of a fault."""

    fault: str
    where: str
    before: str
    arm: str
    rest_s: float | None
    reason: str
    cause: str
    violations: int
    good: bool


class Rig:
    """The graph, its relay, and the arm in motion."""

    def __init__(self, graph: Graph, relay: Relay) -> None:
        self.graph, self.relay, self.turn = graph, relay, 0
        self.task: Any = None
        self.end = ""

    def spoil(self, topic: str, how: Callable[[Any], Any]) -> Callable[[], Any]:
        """Spoils a topic until the returned function is called."""
        self.relay.spoils[topic] = how
        return lambda: self.relay.spoils.pop(topic, None)

    def signal(self, name: str, number: int, undo: int | None = None) -> Callable[[], Any] | None:
        """Sends a signal to the process group of a node."""
        pid = self.graph.supervisor.pid(name)
        assert pid is not None, f"{name} does not run"
        os.killpg(pid, number)
        return None if undo is None else lambda: os.killpg(pid, undo)

    def wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Looks after the graph meanwhile; its end is noted, not raised."""
        try:
            return self.graph.wait(until, timeout_s)
        except ProcessEndedError as error:
            self.end = str(error)
        end_s = time.monotonic() + timeout_s  # what is left of the graph is still watched
        while not until() and time.monotonic() < end_s:
            time.sleep(0.02)
        return until()

    def set_off(self, mode: str) -> None:
        """Brings the arm to rest, resets the scene, and makes somebody move it."""
        relay = self.relay
        if mode == "person":
            twist = Twist(linear=Vector3(x=0.0, y=0.12 * (-1) ** self.turn, z=0.03))
            relay.wish = TeleopCommand(source="joystick", deadman=True, twist=twist, gripper=1.0)
            relay.wish.header.frame_id = "panda_link0"
            self.turn += 1
        elif mode == "policy":
            number = self.turn % len(TASKS)
            self.turn += 1
            self.graph.reset(1000 + self.turn, SIM_TASKS[number])
            self.task = self.graph.listener.ask_task(TASKS[number], 30.0)
        if mode != "nobody" and not self.wait(lambda: relay.moving, MOVES_S):
            state = relay.state
            raise DefiError(f"the arm did not move within {MOVES_S:.0f} s: {state.verdict_reason if state else ''}")

    def put_right(self) -> None:
        """Ends the task, lets go of the arm and resets a stop."""
        relay = self.relay
        if self.task is not None:
            self.task.cancel()
            self.task = None
        if relay.wish is not None:
            relay.wish.deadman = False
            time.sleep(0.1)
            relay.wish = None
        relay.stop.publish(Bool(data=False))
        time.sleep(0.3)
        relay.ask(ControlState.HOLD, reset=True)
        self.wait(lambda: self.graph.listener.at_rest, 5.0)

    def run(self, fault: Fault) -> Result:
        """Sets off, injects, watches and puts right again."""
        relay, self.end = self.relay, ""
        try:
            for _ in range(
                TRIES
            ):  # on a busy machine something else may stop the arm just then: no trial of this fault
                self.set_off(fault.mode)
                self.wait(lambda: False, 0.3)
                if fault.mode == "nobody" or relay.moving:
                    break
                self.put_right()
        except DefiError as error:  # a bad result of this fault; the next may fare better
            self.put_right()
            return Result(fault.name, "graph", fault.mode, "was not moving", None, str(error), "", 0, False)
        before = relay.state
        injected_s = time.monotonic()
        undo = fault.inject(self)
        rest_s, reason = self._watch(injected_s, fault)
        state = relay.state
        violations = int(state.limit_violations - before.limit_violations) if state and before else 0
        self.wait(lambda: False, 1.1)  # a second of diagnostics names the cause
        cause = "; ".join(f"{node}: {text}" for node, text in relay.troubles.items() if text)
        if undo is not None:
            undo()
        if not self.end:
            self.put_right()
        matches = re.search(fault.reason, reason if not fault.goes_on else f"{reason} {cause}") is not None
        good = matches and violations == 0 and (rest_s is not None or fault.goes_on)
        arm = "came to rest" if rest_s is not None else "went on"
        if fault.mode == "nobody" and rest_s is not None:
            arm = "stayed at rest"
        return Result(fault.name, "graph", fault.mode, arm, rest_s, reason, cause, violations, good)

    def _watch(self, since_s: float, fault: Fault) -> tuple[float | None, str]:
        """When the arm came to rest for good, counted from the fault [s], and why."""
        relay, rested_s, reason = self.relay, [0.0], [""]

        def rests() -> bool:
            state, now_s = relay.state, time.monotonic()
            silent = bool(relay.states) and now_s - relay.states[-1][0] > 0.2
            still = (
                relay.arm_stands if silent else bool(state and state.at_rest and state.verdict != ControlState.PASSED)
            )
            if state is not None and state.at_rest and state.mode in (ControlState.HOLD, ControlState.STOPPED):
                still = True
            if not still:
                rested_s[0] = 0.0
            elif not rested_s[0]:
                rested_s[0] = now_s
            if state is not None and not silent:
                reason[0] = f"{state.verdict_reason or state.reason}"
            return bool(rested_s[0]) and now_s - rested_s[0] > KEEPS_S

        if self.wait(rests, 1.5 if fault.goes_on else RESTS_S):
            return max(rested_s[0] - since_s, 0.0), self.end or reason[0]
        return None, self.end or reason[0]


def stop_by_service(rig: Rig) -> None:
    """The emergency stop by set_authority."""
    rig.relay.ask(ControlState.STOPPED)


def press(rig: Rig) -> Callable[[], Any]:
    """The emergency stop by its topic."""
    rig.relay.stop.publish(Bool(data=True))
    return lambda: rig.relay.stop.publish(Bool(data=False))


def starve(rig: Rig) -> Callable[[], Any]:
    """More busy processes than there are cores."""
    del rig
    code = "while True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2 * (os.cpu_count() or 1))]
    return lambda: [process.kill() or process.wait() for process in busy] and None


def let_go(rig: Rig, *, silent: bool) -> None:
    """The input device falls silent, or says that the deadman is released."""
    if silent:
        rig.relay.wish = None
    elif rig.relay.wish is not None:
        rig.relay.wish.deadman = False


def twisted(x: float) -> Callable[[Rig], None]:
    """The input device asks for something no arm can do."""

    def inject(rig: Rig) -> None:
        if rig.relay.wish is not None:
            rig.relay.wish.twist.linear.x = x

    return inject


def on(topic: str, how: Callable[[Any], Any]) -> Callable[[Rig], Callable[[], Any]]:
    """Spoils a topic."""
    return lambda rig: rig.spoil(topic, how)


def late(rig: Rig) -> Callable[[], Any]:
    """Inference takes 2 s longer."""
    return rig.spoil(CHUNKS, delayed(rig.relay, CHUNKS, 2.0))


def nan_at(index: int) -> Callable[[Any], Any]:
    """One position is no number."""

    def spoil(message: Any) -> Any:
        values = list(message.position)
        values[index] = float("nan")
        return changed(position=values)(message)

    return spoil


def off_by(rad: float) -> Callable[[Any], Any]:
    """The arm is elsewhere than commanded: it was pushed, or does not follow."""
    return changed(position=lambda message: [message.position[0], message.position[1] + rad, *message.position[2:]])


def black(message: Any) -> Any:
    """Nothing is seen."""
    return changed(data=bytes(len(message.data)))(message)


FAULTS: Sequence[Fault] = (
    Fault("camera gone", "policy", on(STATIC, drop), NO_CHUNK),
    Fault(
        "camera frozen: the same image and stamp",
        "policy",
        lambda rig: rig.spoil(STATIC, frozen(stamps=False)),
        NO_CHUNK,
    ),
    Fault(
        "camera frozen: the same image, new stamps",
        "policy",
        lambda rig: rig.spoil(STATIC, frozen(stamps=True)),
        NO_CHUNK,
    ),
    Fault("camera black", "policy", on(STATIC, black), NO_CHUNK),
    Fault(
        "camera of the wrong size",
        "policy",
        on(STATIC, changed(height=64, data=lambda m: bytes(m.data)[: 64 * m.step])),
        NO_CHUNK,
    ),
    Fault("camera with a broken encoding", "policy", on(STATIC, changed(encoding="nonsense")), NO_CHUNK),
    Fault("camera time jumps 5 s ahead", "policy", on(STATIC, shifted(5.0)), NO_CHUNK),
    Fault("camera time jumps 5 s back", "policy", on(STATIC, shifted(-5.0)), NO_CHUNK),
    Fault("cameras 0.2 s apart", "policy", on(STATIC, shifted(-0.2)), NO_CHUNK),
    Fault("joint states gone", "policy", on(JOINTS, drop), "no joint state for"),
    Fault("NaN in joint states", "policy", on(JOINTS, nan_at(2)), "no joint state for"),
    Fault("joint states 1 s old", "policy", on(JOINTS, shifted(-1.0)), "no joint state for"),
    Fault("joint states from 5 s ahead", "policy", on(JOINTS, shifted(5.0)), "no joint state for"),
    Fault(
        "a joint is missing",
        "policy",
        on(JOINTS, changed(name=lambda m: ["other", *list(m.name)[1:]])),
        "no joint state for",
    ),
    Fault("the arm does not follow: 0.5 rad away", "policy", on(JOINTS, off_by(0.5)), "rad from its command"),
    Fault(
        "NaN in chunks", "policy", on(CHUNKS, changed(targets=lambda m: [float("nan")] * len(m.targets))), "not finite"
    ),
    Fault("chunks for another robot", "policy", on(CHUNKS, changed(arm="ur5e")), "chunk is for arm 'ur5e'"),
    Fault("chunks of the wrong size", "policy", on(CHUNKS, changed(steps=3)), "expected 21"),
    Fault("chunks from 5 s ahead", "policy", on(CHUNKS, shifted(5.0)), "in the future"),
    Fault("chunks 5 s old", "policy", on(CHUNKS, shifted(-5.0)), NO_CHUNK),
    Fault("chunks gone", "policy", on(CHUNKS, drop), NO_CHUNK),
    Fault("inference 2 s late", "policy", late, NO_CHUNK),
    Fault(
        "imagination_node killed (SIGKILL)",
        "policy",
        lambda rig: rig.signal("imagination_node", signal.SIGKILL),
        "imagination_node is gone",
    ),
    Fault(
        "action_node killed (SIGKILL)",
        "policy",
        lambda rig: rig.signal("action_node", signal.SIGKILL),
        "action_node is gone",
    ),
    Fault(
        "imagination_node hangs (SIGSTOP)",
        "policy",
        lambda rig: rig.signal("imagination_node", signal.SIGSTOP, signal.SIGCONT),
        "imagination_node is gone",
    ),
    Fault(
        "action_node hangs (SIGSTOP)",
        "policy",
        lambda rig: rig.signal("action_node", signal.SIGSTOP, signal.SIGCONT),
        "action_node is gone",
    ),
    Fault("a second publisher on the command topic", "policy", lambda rig: intruder(rig.relay), "another publisher"),
    Fault("CPU starved by twice as many busy processes as cores", "policy", starve, "", goes_on=True),
    Fault("emergency stop by topic, policy moving", "policy", press, "emergency stop is pressed"),
    Fault("emergency stop by topic, person moving", "person", press, "emergency stop is pressed"),
    Fault("emergency stop by topic, nobody moving", "nobody", press, "emergency stop is pressed"),
    Fault("emergency stop by service, policy moving", "policy", stop_by_service, "stop asked for by bench"),
    Fault(
        "input device gone while it moves the arm",
        "person",
        lambda rig: let_go(rig, silent=True),
        "no input from joystick",
    ),
    Fault("deadman released at speed", "person", lambda rig: let_go(rig, silent=False), "released the deadman"),
    Fault("input device says NaN", "person", twisted(float("nan")), "no input from joystick"),
    Fault("input device asks for 50 m/s", "person", twisted(50.0), "slowed down", goes_on=True),
    Fault(
        "arm bridge ended (SIGTERM)",
        "person",
        lambda rig: rig.signal("arm_bridge_node", signal.SIGTERM),
        "arm_bridge_node ended|shutting down",
    ),
    Fault(
        "arm bridge killed (SIGKILL)",
        "policy",
        lambda rig: rig.signal("arm_bridge_node", signal.SIGKILL),
        "arm_bridge_node ended",
    ),
)


def play(faults: Sequence[Fault], policy: str) -> list[Result]:
    """Plays faults on one graph, until one of them has ended it."""
    robot = load_robot("franka")
    options = BringupOptions("franka", sim=True, policy=policy, composed=False, seed=1000)
    results: list[Result] = []
    with Interruption() as interruption, surroundings(sim=True) as folder:
        report = Report("franka", policy)
        graph = Graph(with_relay(processes(robot, options)), folder, PlainView(sys.stderr), report, interruption)
        relay = Relay()
        try:
            graph.start()
            rig = Rig(graph, relay)
            for fault in faults:
                results.append(rig.run(fault))
                tell(results[-1])
                if rig.end:
                    break
        finally:
            graph.stop("the benchmark has ended")
            relay.close()
    return results


def tell(result: Result) -> None:
    """One line a fault."""
    word = "good" if result.good else "BAD "
    rest = "" if result.rest_s is None else f" after {result.rest_s:.2f} s"
    out(f"{word} {result.fault}: {result.arm}{rest}: {result.reason} [{result.cause}]")


def table(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    lines = [
        "| fault | where | moved by | the arm | at rest after | reason given | good |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        rest = "-" if one.rest_s is None else f"{one.rest_s:.2f} s"
        reason = re.sub(r"[;.] [Ss]ee /\S+", "", one.reason or one.cause).replace("|", "/").replace("\n", " ")
        lines.append(
            f"| {one.fault} | {one.where} | {one.before} | {one.arm} | {rest} | {reason} | {'yes' if one.good else '**no**'} |"
        )
    return "\n".join(lines)


def page(results: Sequence[Result], load: float) -> str:
    """docs/faults.md; `load` is the load average meanwhile."""
    untried = [one for one in results if one.arm == "was not moving"]
    good = sum(one.good for one in results)
    rests = [one.rest_s for one in results if one.rest_s is not None and one.before != "nobody"]
    return (
        "# Faults, and what the arm did\n\n"
        "Made by `python bench/faults.py --markdown docs/faults.md`; do not edit. Faults marked *graph* were put into the\n"
        "running graph of the simulated Franka, those marked *core* into the arm bridge's core alone.\n\n"
        f"Load average during the run: {load:.1f} on {os.cpu_count()} cores. On more than one a core, inference is late and its\n"
        "processes are taken for dead by themselves, so an arm may rest for another reason than the fault: rows whose reason\n"
        "is not that of the fault count as not good, whatever the arm did, and have to be tried again on a quiet machine.\n\n"
        f"Of {len(results)} faults {good} ended as they must: at rest with the reason of the fault, or refused by name while the arm\n"
        f"goes on, and no command outside a limit; {len(results) - good - len(untried)} did not, and {len(untried)} could not be tried, because the arm did not\n"
        "move before. Of CPU starvation only the limits are judged. Time to rest is counted from the fault:\n"
        f"median {float(np.median(rests)):.2f} s, longest {max(rests):.2f} s.\n\n"
        f"{table(results)}\n"
    )


def main() -> int:
    """Returns 0 when every fault ended as it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="scripted", help="moves the arm (default: %(default)s)")
    parser.add_argument("--seeing", default="nano", help="moves it where a camera fails (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only faults whose name matches")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    chosen = [fault for fault in FAULTS if re.search(arguments.only, fault.name)]
    results = core_results(arguments.only, Result)
    for one in results:
        tell(one)
    seeing = [fault for fault in chosen if fault.name.startswith("camera")]
    for policy, left in ((arguments.policy, [one for one in chosen if one not in seeing]), (arguments.seeing, seeing)):
        while left:  # a fault that ends the graph is followed by a fresh one
            played = play(left, policy)
            results += played
            left = left[len(played) :]
    out(table(results))
    if arguments.markdown:
        arguments.markdown.write_text(page(results, os.getloadavg()[0]), encoding="utf-8")
    if arguments.json:
        write_json({"faults": [asdict(one) for one in results]}, arguments.json)
    return 0 if all(one.good for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
