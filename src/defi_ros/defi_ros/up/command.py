"""The command `defi up <robot>`: from arguments to an exit code. The order of things is here, the things elsewhere."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from defi_models.contract import DefiError
from defi_models.inference.graphs import why_not_exported
from defi_models.inference.load import SCRIPTED, resolve
from defi_ros.sections import NO_POLICY
from defi_ros.up.graph import Graph
from defi_ros.up.interruption import InterruptedByPersonError, Interruption
from defi_ros.up.report import Report, check_writable, write_json
from defi_ros.up.request import Request, add_arguments, checked
from defi_ros.up.surroundings import surroundings
from defi_ros.up.terminal import PlainView, View, open_view

EXIT_DONE = 0
EXIT_TASK_FAILED = 1
EXIT_NOT_STARTED = 2
EXIT_STOPPED = 130  # 128 + SIGINT, as shells say


class Up:
    """Brings a robot to life under the whole graph, runs tasks on it and stops it."""

    help = "bring a robot, or a simulated one, to life under the whole graph"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its arguments."""
        add_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Runs it to its end and writes the report, whatever the end.

        Returns:
            0: every task succeeded. 1: one did not, or the graph broke down. 2: refused, or it did not start.
            130: stopped by a person.

        Raises:
            ConfigError: the report cannot be written where it shall be.
        """
        if args.json is not None:
            check_writable(args.json)
        report = Report(robot=Path(args.robot).stem)
        try:
            request = checked(args)
            _write_graphs(request)
            report.robot, report.policy = request.robot.name, request.policy and request.policy.name
            with Interruption() as interruption, surroundings(sim=request.options.sim) as run_folder:
                return _run(request, run_folder, report, interruption)
        except DefiError as error:
            report.exit_reasons.setdefault("defi up", [str(error)])
            sys.stderr.write(f"defi up: {error}\n")
            return EXIT_NOT_STARTED
        finally:
            if args.json is not None:
                write_json(report.to_mapping(), args.json)


def _write_graphs(request: Request) -> None:
    """Exports a policy that onnxruntime shall run and that was not exported yet: once, before anything is started."""
    settings, path = request.robot.policy, request.options.policy or request.robot.policy.path
    if settings.backend != "onnx" or path in (SCRIPTED, NO_POLICY):
        return
    checkpoint = resolve(path)
    if (reason := why_not_exported(checkpoint)) is None:
        return
    sys.stderr.write(f"defi up: writing the graphs of {path} for onnxruntime, about half a minute, because {reason}\n")
    from defi_models.export import export  # torch takes seconds, and is needed here only

    export(checkpoint)


def _run(request: Request, run_folder: Path, report: Report, interruption: Interruption) -> int:
    """Starts the graph, runs what was asked and stops it; returns the exit code."""
    view = PlainView(sys.stdout) if request.headless else open_view(sys.stdout)
    graph = Graph(request.processes, run_folder, view, report, interruption)
    started, reason = False, "failed"
    policy = f"policy {request.policy.name}" if request.policy else "no policy"
    view.note(
        f"{request.robot.name} with {policy}: starting {len(request.processes)} processes, "
        f"ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID', '0')}, logs in {run_folder}"
    )
    try:
        graph.start(request.instructions)
        started = True
        succeeded = _run_tasks(graph, request, view)
        reason = "every task has ended"
        return EXIT_DONE if succeeded else EXIT_TASK_FAILED
    except InterruptedByPersonError as stopped:
        reason = str(stopped)
        return EXIT_STOPPED
    except DefiError as error:
        reason = str(error)
        if not started:
            raise
        sys.stderr.write(f"defi up: {error}\n")
        return EXIT_TASK_FAILED
    finally:
        graph.stop(reason)
        view.close()


def _run_tasks(graph: Graph, request: Request, view: View) -> bool:
    """Runs each task, in simulation in a scene of its own in which it can be done; whether all succeeded."""
    view.note(f"up in {graph.start_s:.1f} s")
    if not request.instructions:
        view.note("no --task was given: waiting for goals of run_task; Ctrl-C stops")
        graph.wait(lambda: False, None)
    succeeded = True
    for index in range(len(request.instructions)):
        if request.sim_tasks:
            graph.reset(request.options.seed + index, request.sim_tasks[index])
        succeeded &= graph.run_task(index, request.timeout_s).success
    return succeeded
