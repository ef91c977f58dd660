import io

from rich.console import Console

from defi_ros.up.status import NodeStatus, TaskStatus, node_status
from defi_ros.up.terminal import LiveView, PatientConsole, PlainView, node_table, open_view, task_table

ACTIVE = NodeStatus("sim_node", "active", 30.0, 5.04, "real time")


class ClosedStream(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def shown(renderable) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_node_has_one_line_with_rate_latency_and_mode():
    (line,) = [line for line in shown(node_table([ACTIVE])).splitlines() if "sim_node" in line]
    assert "30.0 Hz" in line and "5.0 ms" in line and "real time" in line


def test_trouble_is_shown_in_place_of_the_mode():
    assert "no images" in shown(node_table([NodeStatus("a", "active", mode="POLICY", trouble="no images")]))


def test_a_task_has_one_line_with_status_time_and_reason():
    line = shown(task_table([TaskStatus("open the drawer", "failed", 30.0, "timeout")])).splitlines()[1]
    assert all(word in line for word in ("open the drawer", "failed", "30.0 s", "timeout"))


def test_plain_lines_come_at_changes_only():
    stream = io.StringIO()
    view = PlainView(stream)
    for rate_hz in (29.0, 30.0, 31.0):
        view.show([NodeStatus("sim_node", "active", rate_hz)], [TaskStatus("open the drawer", "running")])
    view.show([NodeStatus("sim_node", "silent")], [TaskStatus("open the drawer", "done", 4.2, "opened")])
    assert stream.getvalue().splitlines() == [
        "sim_node: active",
        "task 'open the drawer': running",
        "sim_node: silent",
        "task 'open the drawer': done after 4.2 s: opened",
    ]


def test_a_reader_that_is_gone_does_not_end_the_run():
    view = PlainView(ClosedStream())
    view.note("one")
    view.show([ACTIVE], [])
    view.close()


def test_a_terminal_that_is_gone_does_not_end_the_run():
    console = PatientConsole(file=io.StringIO(), force_terminal=True, width=80)
    view = LiveView(console)
    view.show([ACTIVE], [])
    console.file = ClosedStream()
    view.note("one")
    view._drawn_s = 0.0
    view.show([ACTIVE], [])
    view.close()


def test_a_file_gets_plain_lines():
    assert isinstance(open_view(io.StringIO()), PlainView)


def test_a_status_comes_from_the_diagnostics():
    values = {"state": "active", "rate_hz": "4.9", "latency_ms_p50": "", "mode": "POLICY", "error": ""}
    assert node_status("action_node", values) == NodeStatus("action_node", "active", 4.9, None, "POLICY", "")
    assert node_status("action_node", {"rate_hz": "none"}).state == "silent"
