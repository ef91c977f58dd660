"""CALVIN's play data as episodes: one for each sentence that annotates a stretch of it (defi-model 4.4, 7.1).

<folder>/episode_0000000.npz ...             one step each: rgb_static, rgb_gripper, robot_obs, actions
<folder>/ep_start_end_ids.npy                first and last step of each recording
<folder>/lang_annotations/auto_lang_ann.npy  sentences, tasks and the steps they span; may be absent
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from defi_models.datasets.episodes import Clip, Episode, rows_at
from defi_models.datasets.reading import reading

STEP_NS = 33_333_333  # 30 Hz
OPEN_M = 0.08  # width of the open gripper
WIDTHS = {"robot_obs": 15, "actions": 7}
CAMERAS = {"rgb_static": "static", "rgb_gripper": "wrist"}
SPANS, ANNOTATIONS = "ep_start_end_ids.npy", "auto_lang_ann.npy"
_HARMLESS = {  # all that the pickle of an array of numbers, strings, lists and dictionaries names
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def is_calvin(folder: Path) -> bool:
    """Whether `folder` is a split of CALVIN."""
    return (folder / SPANS).is_file()


class CalvinSource:
    """One split of CALVIN, such as `task_ABC_D/training`."""

    kind = "CALVIN"
    why_no_actions = ""

    def __init__(self, folder: Path, renamed: Mapping[str, str]) -> None:
        self.folder = folder
        self._cameras = {key: renamed.get(name, name) for key, name in CAMERAS.items()}
        self._spans = _annotated(folder) or _recorded(folder / SPANS)

    def names(self) -> list[str]:
        """First and last step of each stretch."""
        return list(self._spans)

    def files(self) -> Iterable[Path]:
        """See `Source.files`."""
        return (*self.folder.glob("episode_*.npz"), self.folder / SPANS, *self.folder.glob(f"*/{ANNOTATIONS}"))

    def read(self, name: str, step_ns: int | None = None, *, actions: bool = True) -> Clip:
        """See `Source.read`."""
        with reading(f"{self.folder}, {name}", "a stretch of CALVIN"):
            return self._read(*self._spans[name], step_ns or STEP_NS, actions)

    def _read(
        self, start: int, end: int, task: str, instructions: tuple[str, ...], step_ns: int, actions: bool
    ) -> Clip:
        rows = rows_at(end - start + 1, STEP_NS, step_ns)
        steps = [self._step(start + int(row), actions) for row in rows]
        images = {name: np.stack([step[key] for step in steps]) for key, name in self._cameras.items()}
        clip = Clip(task=task, instructions=instructions, step_ns=step_ns, images=images)
        if not actions:
            return clip
        state = np.stack([step["robot_obs"] for step in steps]).astype(float)
        action = np.stack([step["actions"] for step in steps]).astype(float)
        return Episode(
            **vars(clip),
            success=True,
            joint_positions=state[:, 7:14],
            ee_pose=_poses(state),
            gripper=(state[:, 6] / OPEN_M).clip(0, 1),
            target_pose=_poses(action),
            target_gripper=(action[:, 6] + 1) / 2,
        )

    def _step(self, number: int, actions: bool) -> dict[str, npt.NDArray[Any]]:
        path = self.folder / f"episode_{number:07d}.npz"
        with reading(path, "a step of CALVIN"), np.load(path, allow_pickle=False) as data:
            found = {key: data[key] for key in (*(WIDTHS if actions else ()), *CAMERAS)}
            for key, width in WIDTHS.items():
                if key in found and found[key].shape != (width,):
                    raise ValueError(f"got {key} of shape {found[key].shape}, expected ({width},)")
            return found


def _poses(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Poses (T, 7) of rows that begin with a position and Euler angles about fixed x, y, z."""
    return np.concatenate([values[:, :3], Rotation.from_euler("xyz", values[:, 3:6]).as_quat()], axis=1)


def _recorded(path: Path) -> dict[str, tuple[int, int, str, tuple[str, ...]]]:
    """First step, last step, and neither task nor sentences, of whole recordings.

    Raises:
        DatasetError: the file that lists them is damaged.
    """
    with reading(path, "first and last steps of CALVIN's recordings"):
        return {f"{start}..{end}": (int(start), int(end), "", ()) for start, end in np.load(path, allow_pickle=False)}


class _Harmless(pickle.Unpickler):
    """CALVIN's annotations are a pickle; this one makes arrays, strings, lists and dictionaries, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which annotations do not need")
        return super().find_class(module, name)


def _annotated(folder: Path) -> dict[str, tuple[int, int, str, tuple[str, ...]]]:
    """First step, last step, task and sentences by name; empty without annotations.

    Raises:
        DatasetError: they are damaged.
    """
    found = sorted(folder.glob(f"*/{ANNOTATIONS}"), key=lambda path: path.parent.name != "lang_annotations")
    if not found:
        return {}
    with reading(found[0], "CALVIN's annotations", pickle.UnpicklingError):
        with found[0].open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            read(file)
            said = _Harmless(file).load().item()
        return {
            f"{start}..{end} {number}": (int(start), int(end), str(task), (str(sentence),))
            for number, ((start, end), sentence, task) in enumerate(
                zip(said["info"]["indx"], said["language"]["ann"], said["language"]["task"], strict=True)
            )
        }
