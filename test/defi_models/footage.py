"""Small real datasets of other kinds, written with the libraries that their owners use."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIZE = 48
SHADE_STEP = 6


def shades(count: int, first: int = 0) -> np.ndarray:
    """Grey images that grow lighter frame by frame, (count, SIZE, SIZE, 3)."""
    values = np.arange(first, first + count) * SHADE_STEP % 250
    return np.broadcast_to(values[:, None, None, None], (count, SIZE, SIZE, 3)).astype(np.uint8)


def shade(image: np.ndarray) -> int:
    """Which frame of `shades` an image is; codecs change values a little."""
    return round(float(image.mean()) / SHADE_STEP)


def write_video(path: Path, frames: np.ndarray, rate_hz: int, codec: str = "libx264") -> Path:
    """A video of `frames`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"crf": "10", "g": "5"} if codec == "libx264" else {}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_lerobot(folder: Path, lengths: tuple[int, ...] = (10, 14), rate_hz: int = 20, layout: str = "pose") -> Path:
    """A LeRobot v3 dataset: several episodes in one table and in one video a camera, as the format allows."""
    layouts = {
        "pose": ["x", "y", "z", "qx", "qy", "qz", "qw", "gripper"],
        "joints": ["shoulder_pan.pos", *(f"joint_{n}.pos" for n in range(1, 7)), "gripper.pos"],
        "motors": [f"motor_{n}" for n in range(8)],
    }
    names = layouts[layout]
    vector = {"dtype": "float32", "shape": [8], "names": {"axes": names}}
    cameras = {"observation.images.front": 0, "observation.images.hand": 100}
    video = {"dtype": "video", "shape": [SIZE, SIZE, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": "v3.0",
        "robot_type": "panda",
        "fps": rate_hz,
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 2,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {**dict.fromkeys(cameras, video), "observation.state": vector, "action": vector},
    }
    for path in ("meta/episodes/chunk-000", "data/chunk-000"):
        (folder / path).mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info))
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": ["open the drawer", "close the drawer"]})
    pq.write_table(tasks, folder / "meta/tasks.parquet")
    starts = np.cumsum([0, *lengths])
    rows, episodes = [], []
    for number, length in enumerate(lengths):
        for k in range(length):
            pose = [0.01 * k, float(number), 0.3, 1.0, 0.0, 0.0, 0.0, k / (length - 1)]
            rows.append(
                {
                    "observation.state": pose,
                    "action": [pose[0] + 0.01, *pose[1:]],
                    "episode_index": number,
                    "frame_index": k,
                    "timestamp": k / rate_hz,
                    "index": int(starts[number]) + k,
                    "task_index": number % 2,
                }
            )
        about: dict[str, float] = {
            "episode_index": number,
            "length": length,
            "data/chunk_index": 0,
            "data/file_index": 0,
        }
        for key in cameras:
            about |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": 0}
            about[f"videos/{key}/from_timestamp"] = float(starts[number]) / rate_hz
            about[f"videos/{key}/to_timestamp"] = float(starts[number + 1]) / rate_hz
        episodes.append(about)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data/chunk-000/file-000.parquet")
    pq.write_table(pa.Table.from_pylist(episodes), folder / "meta/episodes/chunk-000/file-000.parquet")
    for key, first in cameras.items():
        write_video(folder / f"videos/{key}/chunk-000/file-000.mp4", shades(sum(lengths), first), rate_hz)
    return folder


def write_calvin(folder: Path, steps: int = 20, annotated: bool = True) -> Path:
    """A split of CALVIN with one recording."""
    folder.mkdir(parents=True)
    for k in range(steps):
        state = np.zeros(15)
        state[:3], state[6] = [0.01 * k, 0.0, 0.4], 0.04
        state[3:6] = [np.pi, 0.0, 0.5]
        action = np.array([0.01 * (k + 1), 0.0, 0.4, np.pi, 0.0, 0.5, -1.0])
        np.savez(
            folder / f"episode_{k + 100:07d}.npz",
            rgb_static=shades(1, k)[0],
            rgb_gripper=shades(1, k + 5)[0, :32, :32],
            robot_obs=state,
            actions=action,
            rel_actions=np.zeros(7),
            scene_obs=np.zeros(24),
        )
    np.save(folder / "ep_start_end_ids.npy", np.array([[100, 99 + steps]]))
    if annotated:
        said = {
            "language": {"ann": ["push the sliding door"], "task": ["move_slider_left"], "emb": np.zeros((1, 1, 4))},
            "info": {"indx": [(103, 115)], "episodes": []},
        }
        (folder / "lang_annotations").mkdir()
        np.save(folder / "lang_annotations" / "auto_lang_ann.npy", said, allow_pickle=True)  # type: ignore[arg-type]
    return folder
