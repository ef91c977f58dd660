"""Watches one attempt at a task: remembers the scene it began with, and says once when it is done."""

from __future__ import annotations

from dataclasses import dataclass

from defi_models.contract import TaskError
from defi_sim.state import SceneState
from defi_sim.tasks import Task, task_for


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt that succeeded, and what was seen."""

    task_id: str
    reason: str


class TaskOracle:
    """Follows the newest instruction.

    Attributes:
        unknown: Why the newest instruction cannot be judged, naming those that can; None when it can.
    """

    def __init__(self) -> None:
        self._task: Task | None = None
        self._task_id = ""
        self._start: SceneState | None = None
        self.unknown: str | None = None

    @property
    def watching(self) -> bool:
        """Whether an attempt is open, so that `check` wants to see scenes."""
        return self._task is not None

    def instruct(self, task_id: str, text: str, scene: SceneState) -> None:
        """Begins an attempt at `text` from `scene`; an empty text ends it."""
        self._task, self._task_id, self._start, self.unknown = None, task_id, scene, None
        if not text.strip():
            return
        try:
            self._task = task_for(text)
        except TaskError as error:
            self.unknown = f"this instruction is not judged: {error}"

    def restart(self, scene: SceneState) -> None:
        """Lets an open attempt begin again from `scene`, after the table was reset under it."""
        self._start = scene

    def check(self, scene: SceneState) -> Outcome | None:
        """The success of the open attempt, which it ends; None as long as there is none."""
        if self._task is None or self._start is None or not self._task.success(self._start, scene):
            return None
        outcome = Outcome(self._task_id, f"{self._task.name}: done")
        self._task = None
        return outcome
