"""LeRobot datasets of version 3: tables in parquet, videos in mp4, several episodes a file.

<folder>/meta/info.json                        rate, features, templates of the paths below
<folder>/meta/tasks.parquet                    sentences and their number
<folder>/meta/episodes/chunk-000/file-000.parquet  one row an episode: files, rows, and times in the videos
<folder>/data/chunk-000/file-000.parquet       one row a sample
<folder>/videos/<feature>/chunk-000/file-000.mp4

An episode has actions when `observation.state` and `action` name the same of these; else it is action-free:

- an end-effector pose and a gripper: x y z, then qx qy qz qw, or rx ry rz (a rotation vector), or roll pitch yaw, then
  gripper (0 closed .. 1 open);
- joints and a gripper, as in `shoulder_pan.pos` .. `gripper.pos`, in the order of the robot file. LeRobot does not write
  down their units; a file of one's own beside `info.json` does:

<folder>/meta/units.json                       {"joints": "degrees", "gripper": [0, 100]}   # or "radians"; closed, open
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.spatial.transform import Rotation

from defi_models.contract import NS_PER_S
from defi_models.datasets.episodes import GRIPPER_SLACK, Clip, Episode, rows_at
from defi_models.datasets.reading import DatasetError, read_json, reading

VERSION = "v3"
STATE, ACTION = "observation.state", "action"
ROTATIONS = {
    ("qx", "qy", "qz", "qw"): Rotation.from_quat,
    ("rx", "ry", "rz"): Rotation.from_rotvec,
    ("roll", "pitch", "yaw"): lambda angles: Rotation.from_euler("xyz", angles),
}
UNITS = {"radians": 1.0, "degrees": np.pi / 180.0}
UNITS_FILE = "meta/units.json"
MOST_RAD = 13.0  # two turns: joints beyond that are in degrees


def is_lerobot(folder: Path) -> bool:
    """Whether `folder` is a LeRobot dataset."""
    return (folder / "meta" / "info.json").is_file()


class LerobotSource:
    """One dataset.

    Raises:
        DatasetError: it is of another version, or its tables are damaged.
    """

    kind = "LeRobot v3"

    def __init__(self, folder: Path, renamed: Mapping[str, str]) -> None:
        self.folder = folder
        described = folder / "meta" / "info.json"
        self._info = read_json(described)
        version = str(self._info.get("codebase_version"))
        if not version.startswith(VERSION):
            raise DatasetError(
                f"{folder}: got LeRobot {version}, expected {VERSION}.x; convert it with lerobot's own tool"
            )
        files = sorted((folder / "meta" / "episodes").rglob("*.parquet"))
        self._episodes: dict[str, Mapping[str, Any]] = {}
        for file in files:
            with reading(file, "LeRobot's list of episodes"):
                self._episodes |= {f"episode {row['episode_index']}": row for row in _table(file).to_pylist()}
        self._tasks = _tasks(folder / "meta" / "tasks.parquet")
        self._units = _units(folder / UNITS_FILE)
        self._cameras: dict[str, str] = {}
        with reading(described, "LeRobot's description"):
            self._step_ns = round(NS_PER_S / self._info["fps"])
            for key, feature in self._info["features"].items():
                if feature["dtype"] in {"video", "image"}:
                    short = key.removeprefix("observation.images.").removeprefix("observation.image.")
                    self._cameras[key] = renamed.get(key, renamed.get(short, short))

    def names(self) -> list[str]:
        """Of the episodes, in order."""
        return list(self._episodes)

    def files(self) -> Iterable[Path]:
        """See `Source.files`."""
        parts = (self.folder / part for part in ("meta", "data", "videos"))
        return (path for part in parts for path in part.rglob("*") if path.is_file())

    def read(self, name: str, step_ns: int | None = None, *, actions: bool = True) -> Clip:
        """See `Source.read`."""
        with reading(f"{self.folder}, {name}", "an episode", pa.ArrowException, av.error.FFmpegError, cv2.error):
            return self._read(self._episodes[name], step_ns or self._step_ns, actions)

    def _read(self, about: Mapping[str, Any], step_ns: int, actions: bool) -> Clip:
        count = int(about["length"])
        rows = rows_at(count, self._step_ns, step_ns)
        table = self._rows(about)
        if table.num_rows != count:
            raise ValueError(f"got {table.num_rows} rows, expected {count}")
        images = {name: self._images(key, about, table, rows) for key, name in self._cameras.items()}
        numbers = sorted(set(table["task_index"].to_pylist()))
        instructions = tuple(self._tasks[number] for number in numbers)
        said: dict[str, Any] = {"task": instructions[0] if instructions else "", "instructions": instructions}
        said |= {"step_ns": step_ns, "images": images}
        if not actions:
            return Clip(**said)
        state, action = self._poses(STATE, table, rows), self._poses(ACTION, table, rows)
        if state is not None and action is not None:
            (pose, opening), (target, wanted) = state, action
            arm = {"joint_positions": np.zeros((len(rows), 0)), "ee_pose": pose, "target_pose": target}
        elif self.joints and self._units is not None:
            joints, opening = self._joints(STATE, table, rows)
            target, wanted = self._joints(ACTION, table, rows)
            unknown = np.full((len(rows), 7), np.nan)
            arm = {"joint_positions": joints, "target_joints": target, "ee_pose": unknown, "target_pose": unknown}
        else:
            return Clip(**said)
        return Episode(**said, success=True, gripper=opening, target_gripper=wanted, **arm)

    @property
    def joints(self) -> list[str]:
        """The names of joints that both state and action tell, in order; none where these are something else."""
        found = [joint_layout(self._info["features"].get(key, {}).get("names")) for key in (STATE, ACTION)]
        return found[0] if found[0] == found[1] else []

    @property
    def why_no_actions(self) -> str:
        """Why its clips have no actions, and what gives them some; "" where nothing does."""
        if not self.joints or self._units is not None:
            return ""
        return (
            f"it has joints {self.joints} in units that LeRobot does not write down; say so in {self.folder / UNITS_FILE}, "
            'as in {"joints": "degrees", "gripper": [0, 100]}'
        )

    def _rows(self, about: Mapping[str, Any]) -> pa.Table:
        path = self._info["data_path"].format(
            chunk_index=about["data/chunk_index"], file_index=about["data/file_index"]
        )
        return _table(self.folder / path, pc.field("episode_index") == about["episode_index"])

    def _images(
        self, key: str, about: Mapping[str, Any], table: pa.Table, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        """Images (len(rows), H, W, 3) of one camera."""
        if self._info["features"][key]["dtype"] == "image":
            coded = table[key].to_pylist()
            return np.stack([_image(coded[row]["bytes"]) for row in rows])
        where = {name: about[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
        path = self.folder / self._info["video_path"].format(video_key=key, **where)
        return stretch(path, float(about[f"videos/{key}/from_timestamp"]), self._info["fps"], rows)

    def _joints(
        self, key: str, table: pa.Table, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Joints (T, joints) [rad] and openings (T,) of a feature."""
        assert self._units is not None
        factor, (closed, opened) = self._units
        values = np.array(table[key].to_pylist(), dtype=float)[rows]
        gripper = next(n for n, name in enumerate(_names(self._info["features"][key]["names"])) if "gripper" in name)
        joints = np.delete(values, gripper, axis=1) * factor
        if np.abs(joints).max(initial=0.0) > MOST_RAD:
            raise ValueError(
                f"{key}: got a joint at {np.abs(joints).max():.1f} rad, expected at most {MOST_RAD:g} rad; correct the "
                f"unit in {UNITS_FILE}"
            )
        return joints, _opening(key, (values[:, gripper] - closed) / (opened - closed))

    def _poses(
        self, key: str, table: pa.Table, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """Poses (T, 7) and openings (T,) of a feature; None where it names none."""
        layout = pose_layout(self._info["features"].get(key, {}).get("names"))
        if layout is None:
            return None
        values = np.array(table[key].to_pylist(), dtype=float)[rows]
        position, rotation, turn, gripper = layout
        quaternions = turn(values[:, rotation]).as_quat()
        return np.concatenate([values[:, position], quaternions], axis=1), _opening(key, values[:, gripper])


def pose_layout(names: Any) -> tuple[list[int], list[int], Any, int] | None:
    """Columns of position and rotation, what turns the latter into a rotation, and the gripper's column.

    Args:
        names: Of a feature: a list, or a dictionary with one list.

    Returns:
        None where they are not those of an end-effector pose and a gripper.
    """
    short = [name.rpartition(".")[2].removeprefix("ee_").removeprefix("tcp_") for name in _names(names)]
    gripper = [n for n, name in enumerate(short) if "gripper" in name]
    for axes, turn in ROTATIONS.items():
        if len(gripper) == 1 and all(name in short for name in ("x", "y", "z", *axes)):
            return [short.index(a) for a in "xyz"], [short.index(a) for a in axes], turn, gripper[0]
    return None


def joint_layout(names: Any) -> list[str]:
    """The names of the joints of a feature that tells joints and one gripper; none where it tells something else."""
    known = _names(names)
    joints = [name.removesuffix(".pos") for name in known if "gripper" not in name]
    all_joints = all(name.endswith(".pos") or "joint" in name for name in known if "gripper" not in name)
    return joints if joints and all_joints and len(joints) == len(known) - 1 else []


def _names(names: Any) -> list[str]:
    """Of a feature: a list, or a dictionary with one list."""
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    return [str(name).lower() for name in names] if isinstance(names, list) else []


def _opening(key: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Openings (T,) in 0..1."""
    if values.min() < -GRIPPER_SLACK or values.max() > 1 + GRIPPER_SLACK:
        raise ValueError(
            f"{key}: got gripper values {values.min():.3g} .. {values.max():.3g}, expected 0 closed .. 1 open"
        )
    return values.clip(0, 1)


def _units(path: Path) -> tuple[float, tuple[float, float]] | None:
    """What a joint's number is multiplied with to be in rad, and a closed and an open gripper's; None: nobody says.

    Raises:
        DatasetError: the file says something else.
    """
    if not path.is_file():
        return None
    said = read_json(path)
    unit, gripper = said.get("joints"), said.get("gripper", [0.0, 1.0])
    numbers = isinstance(gripper, list) and len(gripper) == 2 and all(isinstance(at, int | float) for at in gripper)
    if unit not in UNITS or not numbers or gripper[0] == gripper[1] or set(said) - {"joints", "gripper"}:
        raise DatasetError(
            f"{path}: got {said}, expected joints in one of {list(UNITS)}, and gripper [closed, open] where that is not "
            "[0, 1]; joints in -100..100 of their range say nothing without the arm's calibration: convert them before"
        )
    return UNITS[unit], (float(gripper[0]), float(gripper[1]))


def stretch(path: Path, start_s: float, rate_hz: float, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Frames `rows`, ascending, of the episode that begins at `start_s` in a video, (len(rows), H, W, 3).

    Raises:
        ValueError: the video ends before.
    """
    wanted = set(rows.tolist())
    found: dict[int, npt.NDArray[np.uint8]] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(int(start_s / float(stream.time_base or 1)), stream=stream)  # to the key frame before
        for frame in container.decode(stream):
            row = round(((frame.time or 0.0) - start_s) * rate_hz)
            if row in wanted:
                found[row] = frame.to_ndarray(format="rgb24")
            if row >= rows[-1]:
                break
    missing = wanted - found.keys()
    if missing:
        raise ValueError(
            f"{path}: got no frame {min(missing)} after {start_s:g} s, expected {len(wanted)} frames from there"
        )
    return np.stack([found[int(row)] for row in rows])


def _image(coded: bytes) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("an image cannot be decoded")
    return image.astype(np.uint8)


def _tasks(path: Path) -> dict[int, str]:
    """Sentences by number; the sentence is the table's index, or its column `task`."""
    with reading(path, "LeRobot's list of tasks"):
        table = _table(path)
        column = "task" if "task" in table.column_names else "__index_level_0__"
        return dict(zip(table["task_index"].to_pylist(), map(str, table[column].to_pylist()), strict=True))


def _table(path: Path, rows: pc.Expression | None = None) -> pa.Table:
    with reading(path, "a parquet table", pa.ArrowException):
        return pq.read_table(path, filters=rows)
