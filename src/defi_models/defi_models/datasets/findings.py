"""What `defi data info` says about a folder: read from the data themselves, not from what they claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from defi_models.contract import NS_PER_S
from defi_models.datasets.episodes import Episode
from defi_models.datasets.reading import DatasetError
from defi_models.datasets.sources import open_source

SHOWN = 8  # names of tasks


def findings(folder: Path, clips: int, renamed: Mapping[str, str]) -> Iterator[str]:
    """Lines about a dataset.

    Args:
        folder: Where it lies.
        clips: How many clips to read, spread over all; 0 reads all.
        renamed: Name that a camera has in the data -> name that it gets.

    Raises:
        DatasetError: the folder holds nothing that is known, or none of the clips can be read.
    """
    source = open_source(folder, renamed)
    names = source.names()
    chosen = names if not clips else [names[k] for k in np.unique(np.linspace(0, len(names) - 1, clips).astype(int))]
    yield f"kind       {source.kind}"
    yield f"clips      {len(names)}, of which {len(chosen)} were read"
    damaged: dict[str, str] = {}
    cameras: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    steps: Counter[int] = Counter()
    seconds, samples, acted, sentences, unsaid = 0.0, 0, 0, set(), 0
    for name in chosen:
        try:
            clip = source.read(name)
        except DatasetError as error:
            damaged[name] = str(error)
            continue
        cameras.update(f"{camera} {images.shape[2]}x{images.shape[1]}" for camera, images in clip.images.items())
        tasks[clip.task or "(none)"] += 1
        steps[clip.step_ns] += 1
        seconds += len(clip) * clip.step_ns / NS_PER_S
        samples += len(clip)
        acted += isinstance(clip, Episode)
        sentences |= set(clip.instructions)
        unsaid += not clip.instructions
    read = len(chosen) - len(damaged)
    if read:
        yield f"samples    {samples}, {seconds / 60:.1f} min, {seconds / read:.1f} s a clip"
        yield "rate       " + ", ".join(f"{NS_PER_S / step:g} Hz ({count} clips)" for step, count in steps.items())
        yield "cameras    " + ", ".join(f"{camera} ({count} clips)" for camera, count in cameras.items())
        why = f"; {source.why_no_actions}" if source.why_no_actions else ""
        yield f"actions    {acted} of {read} clips: " + ("--data or --video" if acted == read else f"--video only{why}")
        yield f"sentences  {len(sentences)} different; {unsaid} clips have none"
        more = f" and {len(tasks) - SHOWN} more" if len(tasks) > SHOWN else ""
        yield "tasks      " + ", ".join(f"{task} {count}" for task, count in tasks.most_common(SHOWN)) + more
    for name, reason in damaged.items():
        yield f"damaged    {name}: {reason}"
    if not read:
        raise DatasetError(f"{folder}: none of {len(chosen)} clips can be read; see the lines above")
