"""A running graph as one object: its processes, what is heard of it, the tasks run on it and its report."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defi_models.contract import DefiError
from defi_ros.bringup import Process
from defi_ros.up.domain import GraphHereError
from defi_ros.up.interruption import Interruption
from defi_ros.up.report import Report, TaskResult
from defi_ros.up.status import NodeStatus, TaskStatus
from defi_ros.up.supervisor import Supervisor
from defi_ros.up.terminal import View

if TYPE_CHECKING:
    from defi_ros.up.listener import GraphListener, TaskRun

LISTENER = "defi_ros.up.listener"
BRIDGE, SIMULATOR = "arm_bridge_node", "sim_node"
POLL_S = 0.02
# Processes find each other within 0.95 s on a busy machine (measured); meanwhile the slower nodes load.
LISTEN_S = 1.0
START_TIMEOUT_S = 60.0  # a cold start from a slow disk; a warm one takes seconds
SERVER_TIMEOUT_S = 5.0
SETTLE_TIMEOUT_S = 5.0
RESTART_S = 0.3  # the emulated controllers ignore commands for 0.25 s after a reset
RESET_TIMEOUT_S = 10.0
RESULT_GRACE_S = 5.0  # task_node itself ends a task in time
REST_TIMEOUT_S = 0.6  # the arm comes to rest within 0.4 s; the whole stop must be over within 3 s


class StartError(DefiError):
    """The graph did not come up."""


class GraphError(DefiError):
    """The graph did not answer."""


class Graph:
    """The graph of one robot. Every method is called from the main thread; `stop` must be called at the end."""

    def __init__(
        self, processes: Sequence[Process], run_folder: Path, view: View, report: Report, interruption: Interruption
    ) -> None:
        """Nothing is started yet.

        Args:
            processes: From `bringup.processes`.
            run_folder: Existing folder for logs.
            view: Where a person looks.
            report: What is filled in.
            interruption: Tells when a person wants the end.
        """
        self._processes = {process.name: process for process in processes}
        self._supervisor = Supervisor(processes, run_folder)
        self._view, self._report, self._interruption = view, report, interruption
        self._listener: GraphListener | None = None
        self._task: TaskRun | None = None
        self.tasks: list[TaskStatus] = []
        self.start_s = 0.0

    @property
    def listener(self) -> GraphListener:
        """What is heard of the graph."""
        if self._listener is None:
            raise GraphError("the graph has not been started; call start() first")
        return self._listener

    @property
    def supervisor(self) -> Supervisor:
        """Its processes."""
        return self._supervisor

    def start(self, instructions: Sequence[str] = (), shared_domain: int | None = None) -> None:
        """Starts every process and waits until each node is active.

        Args:
            instructions: What will be asked, for the person who looks.
            shared_domain: The ROS domain where others may be in it; the arm bridge is then started last, once no other
                one is heard. None: nobody else is in it.

        Raises:
            GraphHereError: another arm bridge speaks in that domain.
            StartError, ProcessEndedError: a node is not active in time, or refuses its configuration.
            InterruptedByPersonError: while waiting.
        """
        begun_s = time.monotonic()
        self.tasks = [TaskStatus(instruction) for instruction in instructions]
        self._supervisor.start(held_back="" if shared_domain is None else BRIDGE)
        make_listener, middleware = self._import_listener()
        self._report.ros_distro, self._report.rmw = middleware()
        namespace = next(iter(self._processes.values())).namespace
        self._listener = make_listener(list(self._processes), namespace, self._report.add_chunk, self._supervisor.pid)
        if shared_domain is not None:
            self._refuse_a_second_graph(self._listener, shared_domain)
            self._supervisor.start()
        if not self.wait(self._is_up, START_TIMEOUT_S):
            raise StartError(self._why_not_up())
        self.start_s = time.monotonic() - begun_s

    def _refuse_a_second_graph(self, listener: GraphListener, domain: int) -> None:
        """Listens for an arm bridge, which says 50 times a second how the arm is, while one's own is not started yet."""
        if self.wait(lambda: listener.control is not None, LISTEN_S):
            listener.close()
            self._listener = None  # what it heard is the other's: no figures of this run, no arm to wait for
            raise GraphHereError(domain, f"its {BRIDGE} says that the arm is in {listener.arm}")

    def _import_listener(self) -> tuple[type[GraphListener], Callable[[], tuple[str | None, str | None]]]:
        """Imports what needs rclpy while the children import theirs, in a thread, so that Ctrl-C is heard meanwhile."""
        thread = threading.Thread(target=importlib.import_module, args=(LISTENER,), name="defi-up-import")
        thread.start()
        self.wait(lambda: not thread.is_alive(), None)
        module = importlib.import_module(LISTENER)
        return module.GraphListener, module.middleware

    def _is_up(self) -> bool:
        listener = self.listener
        return (
            all(node.active for node in listener.nodes()) and listener.control is not None and listener.tasks_are_served
        )

    def _why_not_up(self) -> str:
        late = [f"{node.name} is {node.state}" for node in self.listener.nodes() if not node.active]
        if self.listener.control is None:
            late.append("no control_state was heard")
        if not self.listener.tasks_are_served:
            late.append("no action server run_task was found")
        log_path = self._supervisor.log_path("<node>")
        return f"not up after {START_TIMEOUT_S:.0f} s: {'; '.join(late)}. See {log_path}"

    def wait(self, until: Callable[[], bool], timeout_s: float | None) -> bool:
        """Looks after everything until a condition holds; False when it does not in time.

        Raises:
            ProcessEndedError: a process ended without which the graph cannot go on.
            InterruptedByPersonError: a person wants the end.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._interruption.check()
            self._look_after_processes()
            self._show()
            if until():
                return True
            if end_s is not None and time.monotonic() >= end_s:
                return False
            time.sleep(POLL_S)

    def _look_after_processes(self) -> None:
        """Starts again what ended and may be, and ends what hangs and may be started again."""
        ended, listener = self._supervisor.poll(), self._listener
        for end in ended:
            self._view.note(f"{end.name} ended: {end.reason}; starting it again")
        if listener is None:
            return
        listener.forget([end.name for end in ended])
        hanging = [name for name in listener.hanging() if self._supervisor.kill(name)]
        for name in hanging:
            self._view.note(f"{name} says nothing any more: it hangs and is killed")
        listener.forget(hanging)

    def _show(self) -> None:
        for line in self._listener.others.take_news() if self._listener else ():
            self._view.note(line)
        self._view.show(self._nodes(), self.tasks, self._arm())

    def _arm(self) -> str:
        """Who has the arm and why, as one's own arm bridge says; empty before its first control_state."""
        return self._listener.arm if self._listener and self._supervisor.pid(BRIDGE) else ""

    def _nodes(self) -> list[NodeStatus]:
        if self._listener is not None:
            return self._listener.nodes()
        return [NodeStatus(name) for name in self._processes]

    def reset(self, seed: int, task: str) -> None:
        """Puts the simulated table into a new seeded state in which `task` can be done, between two rests of the arm.

        A reset puts the arm elsewhere at once. While it moved, or before the bridge holds it at its new place, the next
        task would begin with a command far from the arm.

        Raises:
            GraphError: the arm does not come to rest, or sim_node refuses or does not answer in time.
        """
        if not self.wait(lambda: self.listener.at_rest, SETTLE_TIMEOUT_S):
            raise GraphError(
                f"the arm did not come to rest within {SETTLE_TIMEOUT_S:.0f} s, expected that before sim/reset"
            )
        if not self.wait(lambda: self.listener.resets_are_served, SERVER_TIMEOUT_S):
            raise GraphError(f"found no service sim/reset within {SERVER_TIMEOUT_S:.0f} s; sim_node offers it")
        future = self.listener.ask_reset(seed, task)
        if not self.wait(future.done, RESET_TIMEOUT_S):
            raise GraphError(f"sim/reset did not answer within {RESET_TIMEOUT_S:.0f} s")
        response = future.result()
        if response is None or not response.ok:
            raise GraphError(
                f"sim/reset with seed {seed} and task {task!r}: {response.reason if response else 'failed'}"
            )
        answered_s = time.monotonic()
        if not self.wait(lambda: self.listener.holds_since(answered_s + RESTART_S), SETTLE_TIMEOUT_S):
            raise GraphError(
                f"arm_bridge_node did not hold the arm where sim/reset put it within {SETTLE_TIMEOUT_S:.0f} s"
            )

    def run_task(self, index: int, timeout_s: float) -> TaskResult:
        """Runs `tasks[index]` to its end and reports it."""
        instruction = self.tasks[index].instruction
        start_s = time.monotonic()
        self._task = task = self.listener.ask_task(instruction, timeout_s)

        def over() -> bool:
            elapsed_s = task.feedback.elapsed_s if task.feedback else time.monotonic() - start_s
            self.tasks[index] = TaskStatus(instruction, "running", elapsed_s, self._mode())
            return task.refused or task.result() is not None

        ended = self.wait(over, timeout_s + RESULT_GRACE_S)
        outcome = self._outcome(task, instruction, ended, time.monotonic() - start_s)
        self._task = None
        self.tasks[index] = TaskStatus(
            instruction, "done" if outcome.success else "failed", outcome.duration_s, outcome.reason
        )
        self._report.tasks.append(outcome)
        self._show()
        return outcome

    def _outcome(self, task: TaskRun, instruction: str, ended: bool, elapsed_s: float) -> TaskResult:
        result = task.result()
        if result is not None:
            success, told = result
            return TaskResult(instruction, success, told.duration_s, told.reason + ("" if success else self._slow()))
        task.cancel()
        reason = "task_node refused it" if ended else f"task_node did not end it within {elapsed_s:.1f} s"
        return TaskResult(instruction, False, elapsed_s, reason)

    def _slow(self) -> str:
        """What is wrong with the simulation, to be told with the reason that a task failed for; empty when nothing is."""
        troubles = [node.trouble for node in self.listener.nodes() if node.name == SIMULATOR and node.trouble]
        return f" ({SIMULATOR}: {troubles[0]})" if troubles else ""

    def _mode(self) -> str:
        control = self.listener.control
        return control.reason if control else ""

    def stop(self, reason: str) -> None:
        """Brings the arm to rest, then ends every process; over within 3 s. A second call does nothing."""
        begun_s = time.monotonic()
        self._give_up_tasks(reason)
        if self._listener is not None:
            self._come_to_rest(self._listener)
            self._report.bridge = self._listener.figures()
        self._supervisor.stop(max(self._interruption.since_s, time.monotonic() - begun_s))
        self._report.exit_reasons = self._supervisor.reasons | {"defi up": [reason]}
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _give_up_tasks(self, reason: str) -> None:
        """Cancels the running task; it and those that were not begun are reported as failed."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for index in range(len(self._report.tasks), len(self.tasks)):
            task = self.tasks[index]
            told = reason if task.status == "running" else f"not begun: {reason}"
            self._report.tasks.append(TaskResult(task.instruction, False, task.duration_s, told))
            if task.status == "running":
                self.tasks[index] = replace(task, status="failed", reason=reason)
                self._show()

    def _come_to_rest(self, listener: GraphListener) -> None:
        """Waits, bounded, until the bridge says that the arm is at rest."""
        end_s = time.monotonic() + REST_TIMEOUT_S
        while not listener.at_rest and time.monotonic() < end_s:
            time.sleep(POLL_S)
