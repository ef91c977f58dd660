"""The data of the comparison: a few demonstrations of the target arm, and video alone of everything else.

<data>/target/episode_*.npz            demonstrations of the Panda
<data>/video/<body>/clip_*.mp4, .txt   other embodiments at the same table: what the static camera saw, and sentences
<data>/video/metaworld/...             Meta-World's arm, where that is installed
<data>/<part>.json                     how many there are; a part with it is complete
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S
from defi_models.datasets import simulated
from defi_models.datasets.frames import Frames
from defi_models.datasets.mixture import mixed
from defi_models.datasets.packing import open_frames
from defi_models.experiment.arms import Budget
from defi_models.files import whole, write_text
from defi_sim.demonstrations import demonstrate
from defi_sim.embodiment import EMBODIMENTS, PANDA
from defi_sim.tasks import chosen_tasks, task_named
from defi_sim.world import World

TASK_GROUPS = ("drawer", "door", "lamp", "led")  # the eight tasks of the fixtures
RATE_HZ, NOISE_M = 10, 0.01
FIRST_TARGET_SEED, FIRST_CLIP_SEED = 0, 50_000
METAWORLD = "metaworld"
QUALITY = {"crf": "18", "g": "10"}  # of H.264; a key frame a second

Progress = Callable[[str], None]


def task_names() -> list[str]:
    """The tasks that are demonstrated, filmed and judged."""
    return [task.name for task in chosen_tasks(TASK_GROUPS)]


def make_data(folder: Path, budget: Budget, jobs: int, progress: Progress) -> None:
    """Makes what is missing of the data.

    Args:
        folder: Of all data.
        budget: How much.
        jobs: Processes that make demonstrations.
        progress: Told one line at a time.
    """
    make_demonstrations(folder, budget, jobs, progress)
    for number, body in enumerate(name for name in EMBODIMENTS if name != PANDA):
        make_clips(folder, body, budget.clips, FIRST_CLIP_SEED + number * 10_000, progress)
    if budget.metaworld_clips and importlib.util.find_spec(METAWORLD):
        make_metaworld_clips(folder, budget.metaworld_clips, progress)


def make_demonstrations(folder: Path, budget: Budget, jobs: int, progress: Progress) -> None:
    """Makes the demonstrations of the target arm."""
    if (folder / "target.json").is_file():
        return

    def told(done: int, failed: int, total: int) -> None:
        if (done + failed) % 20 == 0:
            progress(f"demonstrations {done + failed}/{total}")

    options = {"seed": FIRST_TARGET_SEED, "jobs": jobs, "rate_hz": RATE_HZ, "noise_m": NOISE_M}
    done, failed = simulated.collect(folder / "target", task_names(), budget.demonstrations, **options, progress=told)
    _complete(folder, "target", done, failed)


def make_clips(folder: Path, body: str, clips: int, first_seed: int, progress: Progress) -> None:
    """Films the experts in another body; those that exist are kept, failures are not kept."""
    if (folder / f"{body}.json").is_file():
        return
    tasks, failed = task_names(), 0
    place = folder / "video" / body
    with World(cameras=("static",), embodiment=body) as world:
        for number in range(clips):
            path = place / f"clip_{number:06d}.mp4"
            if not path.is_file() and not film(world, tasks[number % len(tasks)], first_seed + number, path):
                failed += 1
            if number % 20 == 0:
                progress(f"video of {body} {number}/{clips}")
    _complete(folder, body, clips - failed, failed)


def film(world: World, task: str, seed: int, path: Path) -> bool:
    """Writes what the static camera sees of one expert, and sentences for it; whether the expert succeeded."""
    world.reset(seed, task=task)
    demo = demonstrate(world, task, np.random.default_rng(seed), rate_hz=RATE_HZ, noise_m=NOISE_M)
    if demo.success:
        write_clip(path, demo.images["static"], Fraction(RATE_HZ), task_named(task).instructions)
    return bool(demo.success)


def make_metaworld_clips(folder: Path, clips: int, progress: Progress) -> None:
    """Films Meta-World's experts at each task of its MT10."""
    if (folder / f"{METAWORLD}.json").is_file():
        return
    from defi_models.datasets.metaworld import record
    from defi_sim.metaworld import SENTENCES, MetaWorldTable

    failed = 0
    for task, sentences in SENTENCES.items():
        table = MetaWorldTable(task, 0)
        for number in range(clips):
            path = folder / "video" / METAWORLD / f"{task}_{number:03d}.mp4"
            if path.is_file():
                continue
            episode = record(table, number, np.random.default_rng([0, number]), 0.1)
            failed += not episode.success
            if episode.success:
                write_clip(path, episode.images["static"], Fraction(NS_PER_S, episode.step_ns), sentences)
        table.close()
        progress(f"video of Meta-World: {task}")
    _complete(folder, METAWORLD, clips * len(SENTENCES) - failed, failed)


def write_clip(path: Path, frames: npt.NDArray[np.uint8], rate_hz: Fraction, sentences: Sequence[str]) -> None:
    """Writes uint8 RGB `frames` (T, H, W, 3) as H.264, whole or not at all, and the sentences beside it."""
    with whole(path) as part:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate_hz)
            stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
            stream.options = QUALITY
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        write_text(path.with_suffix(".txt"), "\n".join(sentences) + "\n")


def open_data(folder: Path, budget: Budget) -> Frames:
    """Demonstrations and video as one; the target's share of samples is the budget's.

    Raises:
        DatasetError: some of it is missing or damaged.
    """
    model = budget.model(())
    size, step_ns = model.gfdm.image_size, model.step_ns
    parts: list[tuple[Frames, float | None]] = [
        (open_frames(folder / "target", model.cameras, size, step_ns=step_ns), budget.target_share)
    ]
    for place in sorted((folder / "video").iterdir()):
        if place.is_dir():
            parts.append((open_frames(place, model.cameras, size, step_ns=step_ns, video=True), None))
    return mixed(parts)


def amounts(folder: Path) -> dict[str, int]:
    """How many demonstrations and clips there are, by part."""
    counts = {"target": len(list((folder / "target").glob("episode_*.npz")))}
    videos = (place for place in sorted((folder / "video").iterdir()) if place.is_dir())
    return counts | {place.name: len(list(place.glob("*.mp4"))) for place in videos}


def _complete(folder: Path, part: str, done: int, failed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{part}.json", json.dumps({"done": done, "failed": failed}))
