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
from defi_ros.up.domain import only_graph
from defi_ros.up.graph import Graph
from defi_ros.up.interruption import InterruptedByPersonError, Interruption
from defi_ros.up.report import Report, check_writable, write_json
from defi_ros.up.request import Request, add_arguments, checked
from defi_ros.up.surroundings import DOMAIN_VARIABLE, check_domain, surroundings
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
        """
        report, report_path = Report(robot=Path(args.robot).stem), None
        try:
            if args.json is not None:
                check_writable(args.json)
                report_path = args.json
            request = checked(args)
            _write_graphs(request)
            report.robot, report.policy = request.robot.name, request.policy and request.policy.name
            given = check_domain(os.environ.get(DOMAIN_VARIABLE, "")) is not None
            with Interruption() as interruption, surroundings(sim=request.options.sim) as run_folder:
                domain = check_domain(os.environ.get(DOMAIN_VARIABLE, "")) or 0
                shared_domain = domain if given or not request.options.sim else None
                with only_graph(domain):
                    return _run(request, run_folder, report, interruption, shared_domain)
        except DefiError as error:
            report.exit_reasons.setdefault("defi up", [str(error)])
            sys.stderr.write(f"defi up: {error}\n")
            return EXIT_NOT_STARTED
        finally:
            if report_path is not None:
                write_json(report.to_mapping(), report_path)


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


def _run(
    request: Request, run_folder: Path, report: Report, interruption: Interruption, shared_domain: int | None
) -> int:
    """Starts the graph, runs what was asked and stops it; returns the exit code."""
    view = PlainView(sys.stdout) if request.headless else open_view(sys.stdout)
    graph = Graph(request.processes, run_folder, view, report, interruption)
    started, reason = False, "failed"
    policy = f"policy {request.policy.name}" if request.policy else "no policy"
    view.note(
        f"{request.robot.name} with {policy}: starting {len(request.processes)} processes, "
        f"{DOMAIN_VARIABLE}={os.environ.get(DOMAIN_VARIABLE, '0')}, logs in {run_folder}"
    )
    try:
        graph.start(request.instructions, shared_domain)
        started = True
        succeeded = _run_tasks(graph, request, view)
        reason = "every task has ended"
        return EXIT_DONE if succeeded else EXIT_TASK_FAILED
    except InterruptedByPersonError as stopped:
        reason = str(stopped)
        view.note(f"{reason}: bringing the arm to rest, then ending every process")
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
    done = 0
    for index in range(len(request.instructions)):
        if request.sim_tasks:
            graph.reset(request.options.seed + index, request.sim_tasks[index])
        done += graph.run_task(index, request.timeout_s).success
    if request.instructions:
        view.note(_summary(done, request))
    return done == len(request.instructions)


def _summary(done: int, request: Request) -> str:
    """How many tasks were done, and where a person reads whether that is as it should be."""
    count = f"{done} of {len(request.instructions)} tasks done"
    if done == len(request.instructions) or not request.options.sim:
        return count
    return f"{count}, so the exit code is {EXIT_TASK_FAILED}; how often a policy succeeds: README.md, Measured"
