"""All tasks of the table, and which of them a sentence asks for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from defi_models.contract import TaskError
from defi_sim.block_tasks import BLOCK_TASKS
from defi_sim.fixture_tasks import FIXTURE_TASKS
from defi_sim.task import Task

__all__ = ["TASKS", "Task", "chosen_tasks", "task_for", "task_named"]

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (*FIXTURE_TASKS, *BLOCK_TASKS)})


def _plain(text: str) -> str:
    """Words in lower case, one space between them, no closing dot."""
    return " ".join(text.lower().split()).rstrip(" .!")


_BY_INSTRUCTION = {_plain(words): task for task in TASKS.values() for words in task.instructions}


def task_for(instruction: str) -> Task:
    """The task an instruction asks for; case, spaces and a closing dot do not matter.

    Raises:
        TaskError: the text is empty, or no task has this instruction.
    """
    words = _plain(instruction)
    if not words:
        raise TaskError(
            f"instruction: got an empty text, expected what the robot should do, as in {TASKS['open_drawer'].instructions[0]!r}"
        )
    if words in _BY_INSTRUCTION:
        return _BY_INSTRUCTION[words]
    near = difflib.get_close_matches(words, _BY_INSTRUCTION, n=3, cutoff=0.4) or sorted(
        task.instructions[0] for task in TASKS.values()
    )
    raise TaskError(f"instruction: got {instruction!r}, which no task knows; expected one like {near}")


def task_named(name: str) -> Task:
    """The task called `name`, as in "open_drawer".

    Raises:
        TaskError: there is none.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.4)
    raise TaskError(f"task: got {name!r}, expected one of {list(TASKS)}" + (f"; nearest: {near}" if near else ""))


def chosen_tasks(names: Sequence[str] | None) -> list[Task]:
    """The tasks that `names` of tasks or groups choose, in the order of `TASKS`; all without names.

    Raises:
        TaskError: a name is neither a task nor a group.
    """
    groups = {task.group for task in TASKS.values()}
    unknown = [name for name in names or () if name not in TASKS and name not in groups]
    if unknown:
        raise TaskError(f"no task or group {unknown}; groups: {sorted(groups)}; tasks: {list(TASKS)}")
    return [task for task in TASKS.values() if not names or task.name in names or task.group in names]
