"""One node, one process: signals, exit codes, and the order in which everything ends; knows nothing of what it does."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

if TYPE_CHECKING:
    from defi_ros.bridge.lifecycle import DefiNode

SPIN_SLICE_S = 0.05  # how long a signal may go unnoticed
SWITCH_INTERVAL_S = 0.0005  # a worker hands the interpreter over this soon; Python's own 5 ms would add up to that
END_WITHIN_S = 3  # of a signal; more than `defi up` leaves a node, and it is what ends one whose parent was killed
LAST_WORDS = 10  # callbacks that may still run after deactivation: answers to those who wait for one
EXIT_CONFIGURE_FAILED = 2
EXIT_FAILED = 1


def make_executor(context: Context) -> Any:
    """The events executor where rclpy has it (a fraction of the CPU), else the single-threaded one."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor  # not in every distribution
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def run(node_class: Callable[..., DefiNode], args: Sequence[str] | None = None) -> int:
    """Runs one node until SIGINT, SIGTERM or its failure; returns the process' exit code.

    0 after a signal, 1 when it failed at work, 2 when it could not be configured or activated; then its one clear
    message is the last line on stderr. SIGALRM ends it where it hangs after a signal. Call it from the main thread.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    context = Context()
    arguments = list(args) if args is not None else sys.argv
    rclpy.init(args=arguments, context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = node_class(context=context)
    node.owns_process = True
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: _end(node))
    executor = make_executor(context)
    executor.add_node(node)
    code = _live(node, executor)
    failure = node.failure
    stuck = _die(node, executor)
    context.try_shutdown()
    if code and failure:
        sys.stderr.write(f"{failure}\n")
    if stuck:  # foreign code still runs in a thread: an orderly interpreter exit would wait for it or crash on it
        _leave(code)
    gc.unfreeze()  # so that what the node held is let go of in order, before the interpreter ends
    return code


def _end(node: DefiNode) -> None:
    """Handles a signal. A node that is not configured yet moves nothing and need not finish loading.

    The kernel ends a node that does not end by itself, wherever it hangs: in foreign code, in the middleware.
    """
    node.stopping.set()
    signal.alarm(END_WITHIN_S)
    if node.state == "configuring":
        _leave(0)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _live(node: DefiNode, executor: Any) -> int:
    """Brings the node up and spins it until its end; returns the exit code."""
    try:
        if node.get_parameter("autostart").value and not node.bring_up() and not node.stopping.is_set():
            return EXIT_CONFIGURE_FAILED
        while not node.stopping.is_set() and node.context.ok():
            executor.spin_once(timeout_sec=SPIN_SLICE_S)
    except ExternalShutdownException:
        return 0
    except Exception as error:  # whatever a callback raised: the safe action comes first, then the message
        node.get_logger().error(traceback.format_exc())
        node.failure = f"{node.get_name()} failed: {type(error).__name__}: {error}"
        return EXIT_FAILED
    return EXIT_FAILED if node.failure else 0


def _die(node: DefiNode, executor: Any) -> bool:
    """Ends the node, the safe action last on the wire; returns whether one of its threads would not end."""
    try:
        if node.is_active:
            node.trigger_deactivate()
            for _ in range(LAST_WORDS):
                executor.spin_once(timeout_sec=0.0)
        node.shut_down()
        return node.stuck
    finally:
        node.destroy_node()
