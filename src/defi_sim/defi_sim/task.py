"""What a task is: a name, words for it, and two questions about the scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from defi_sim.state import SceneState


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that can be asked for.

    Attributes:
        name: Identifier, as in "open_drawer".
        group: Tasks that one figure is reported for, as in "drawer".
        instructions: Ways to ask for it; the first is the usual one.
        success: Whether it has been done between two states, (start, now).
        feasible: Whether it can be done from a state.
    """

    name: str
    group: str
    instructions: tuple[str, ...]
    success: Callable[[SceneState, SceneState], bool]
    feasible: Callable[[SceneState], bool]
