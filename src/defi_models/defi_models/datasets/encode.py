"""Writes the latents of a dataset once: sharded, in many processes or on a Ray cluster, resumable, each shard atomic."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from webdataset.writer import TarWriter

from defi_models.contract import ConfigError
from defi_models.datasets.damage import check_damage
from defi_models.datasets.episodes import Clip
from defi_models.datasets.latents import FORMAT, MANIFEST, LoadedAutoencoder, load_autoencoder
from defi_models.datasets.reading import DatasetError, read_json
from defi_models.datasets.sources import Source, open_source, state_of
from defi_models.files import whole, write_text
from defi_models.transforms import ImageTransform

PLAN = "plan.json"
BATCH = 64  # images at once


@dataclass(frozen=True)
class Plan:
    """What is to be encoded.

    Attributes:
        data: Folder of the dataset.
        model: Folder with the autoencoder; see `load_autoencoder`.
        out: Folder of the shards.
        names: Of the clips.
        clips_per_shard: Clips of a shard; the last has fewer.
        cameras: Those to encode; of a clip that has none of them, its first.
        size: Height and width of the images [px].
        step_ns: Time between samples [ns].
        renamed: Name that a camera has in the data -> name that it gets.
        autoencoder: Its fingerprint.
        latent_shape: Of one image.
    """

    data: Path
    model: Path
    out: Path
    names: tuple[str, ...]
    clips_per_shard: int
    cameras: tuple[str, ...]
    size: int
    step_ns: int
    renamed: Mapping[str, str]
    autoencoder: str
    latent_shape: tuple[int, ...]

    @property
    def shards(self) -> int:
        """How many."""
        return -(-len(self.names) // self.clips_per_shard)

    def shard(self, number: int) -> Path:
        """Where a shard goes."""
        return self.out / f"latents-{number:06d}.tar"

    def clips(self, number: int) -> tuple[str, ...]:
        """Names of a shard's clips."""
        return self.names[number * self.clips_per_shard : (number + 1) * self.clips_per_shard]

    @property
    def key(self) -> str:
        """Identifies it, wherever the folders lie."""
        values = {k: v for k, v in asdict(self).items() if k not in {"data", "model", "out"}}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def plan_of(data: Path, model: Path, out: Path, clips_per_shard: int, renamed: Mapping[str, str]) -> Plan:
    """A plan for all clips of a dataset.

    Raises:
        DatasetError: there is no data.
        CheckpointError: there is no autoencoder.
    """
    loaded = _loaded(model)
    names = tuple(open_source(data, renamed).names())
    config = loaded.config
    cells = config.gfdm.image_size // config.autoencoder.stride
    return Plan(
        data=data,
        model=model,
        out=out,
        names=names,
        clips_per_shard=clips_per_shard,
        cameras=config.cameras,
        size=config.gfdm.image_size,
        step_ns=config.step_ns,
        renamed=dict(renamed),
        autoencoder=loaded.fingerprint,
        latent_shape=(config.autoencoder.latent_channels, cells, cells),
    )


def encode(
    plan: Plan,
    *,
    jobs: int,
    ray_address: str | None,
    tolerated: float,
    progress: Callable[[int, int, int], None],
) -> Path:
    """Writes all shards that are not there yet, and then the manifest.

    Args:
        plan: What.
        jobs: Processes, or Ray tasks, at once.
        ray_address: Of a Ray cluster; "local" starts one on this machine; None uses processes without Ray.
        tolerated: Share of clips that may be damaged.
        progress: Told (shards done, of how many, clips damaged so far).

    Returns:
        The manifest's path.

    Raises:
        DatasetError: too many clips are damaged, or the folder was begun with another plan.
        ConfigError: Ray is not installed.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    _check_begun(plan)
    finished = (plan.out / MANIFEST).is_file()
    source = open_source(plan.data, plan.renamed)
    found = {n: result for n in range(plan.shards) if (result := _existing(plan, n, source, finished))}
    todo = [number for number in range(plan.shards) if number not in found]
    damaged = {name: reason for result in found.values() for name, reason in result["damaged"].items()}
    check_damage(damaged, len(plan.names), tolerated)
    if todo:
        (plan.out / MANIFEST).unlink(missing_ok=True)
    results = _on_processes(plan, todo, jobs) if ray_address is None else _on_ray(plan, todo, jobs, ray_address)
    for number, result in results:
        found[number] = result
        damaged |= result["damaged"]
        progress(len(found), plan.shards, len(damaged))
        if len(damaged) > tolerated * len(plan.names):
            break
    check_damage(damaged, len(plan.names), tolerated)
    about = {
        "format": FORMAT,
        "autoencoder": plan.autoencoder,
        "latent_shape": plan.latent_shape,
        "cameras": plan.cameras,
        "step_ns": plan.step_ns,
        "states": [found[n].get("state") for n in range(plan.shards)],
        "damaged": damaged,
        "shards": {plan.shard(n).name: plan.shard(n).stat().st_size for n in range(plan.shards)},
    }
    write_text(plan.out / MANIFEST, json.dumps(about))
    return plan.out / MANIFEST


def write_shard(plan: Plan, number: int) -> dict[str, Any]:
    """Encodes the clips of one shard; the tar file appears whole, and its index after it.

    Returns:
        `clips`, where each lies, and `damaged`, why each of the others could not be read.
    """
    source = open_source(plan.data, plan.renamed)
    loaded = _loaded(plan.model)
    described: dict[str, dict[str, Any]] = {}
    damaged: dict[str, str] = {}
    path, state = plan.shard(number), state_of(source, plan.clips(number))
    with whole(path) as part:
        with TarWriter(str(part)) as writer:
            for place, name in enumerate(plan.clips(number)):
                try:
                    clip = source.read(name, plan.step_ns, actions=False)
                except DatasetError as error:
                    damaged[name] = str(error)
                    continue
                latents = _latents(clip, plan, loaded)
                key = f"{number:06d}_{place:06d}"
                about = {"name": name, "task": clip.task, "instructions": list(clip.instructions)}
                writer.write({"__key__": key, "latents.npy": latents, "json": about})
                described[key] = about | {"length": len(latents), "views": latents.shape[1]}
        for key, offset in _offsets(part):
            described[key]["offset"] = offset
    result = {"clips": list(described.values()), "damaged": damaged, "state": state}
    write_text(path.with_suffix(".json"), json.dumps(result))
    return result


def _latents(clip: Clip, plan: Plan, loaded: LoadedAutoencoder) -> npt.NDArray[np.float16]:
    """Latents (T, cameras, C, h, w) of a clip."""
    resize = ImageTransform(plan.size)
    cameras = [camera for camera in plan.cameras if camera in clip.images] or [min(clip.images)]
    images = [resize.encode(clip.images[camera][row]) for row in range(len(clip)) for camera in cameras]
    with torch.inference_mode():
        parts = [
            loaded.module.encode(torch.from_numpy(np.stack(images[start : start + BATCH]))).half().numpy()
            for start in range(0, len(images), BATCH)
        ]
    return np.concatenate(parts).reshape(len(clip), len(cameras), *plan.latent_shape)


def _offsets(shard: Path) -> Iterator[tuple[str, int]]:
    """Key and first byte of the numbers of each clip in a shard."""
    with tarfile.open(shard) as tar, shard.open("rb") as file:
        for member in tar:
            key, _, ending = member.name.partition(".")
            if ending == "latents.npy":
                file.seek(member.offset_data)
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                yield key, file.tell()


@lru_cache(maxsize=1)
def _loaded(model: Path) -> LoadedAutoencoder:
    return load_autoencoder(model)


def _existing(plan: Plan, number: int, source: Source, finished: bool) -> dict[str, Any] | None:
    """What a shard that is there says; None if its clips changed, or one was damaged when it ended in an error."""
    index = plan.shard(number).with_suffix(".json")
    if not (plan.shard(number).is_file() and index.is_file()):
        return None
    result = read_json(index)
    changed = result.get("state") not in {None, state_of(source, plan.clips(number))}  # older shards do not say
    return None if changed or (result["damaged"] and not finished) else result


def _check_begun(plan: Plan) -> None:
    path = plan.out / PLAN
    begun = read_json(path).get("key", "") if path.is_file() else None
    if begun is None:
        write_text(path, json.dumps({"key": plan.key, "data": str(plan.data), "model": str(plan.model)}))
    elif begun != plan.key:
        raise DatasetError(
            f"{plan.out}: got shards of other clips, of another autoencoder or with other options, expected to go on "
            "with the same; give another --out, or delete the folder"
        )


def _on_processes(plan: Plan, todo: Iterable[int], jobs: int) -> Iterator[tuple[int, dict[str, Any]]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(write_shard, plan, number): number for number in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _on_ray(plan: Plan, todo: list[int], jobs: int, address: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The same through Ray Data; every node must see the folders under the same paths."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"--ray: got {error}, expected Ray Data: pip install 'defi_models[cluster]'") from error
    if not todo:
        return
    local = {"num_cpus": jobs, "include_dashboard": False} if address == "local" else {}
    ray.init(address=None if address == "local" else address, log_to_driver=False, **local)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        numbers = ray.data.from_items([{"shard": number} for number in todo], override_num_blocks=len(todo))
        made = numbers.map(_ray_shard, fn_kwargs={"plan": plan}, concurrency=jobs)  # type: ignore[arg-type]
        for row in made.iter_rows():
            yield row["shard"], json.loads(row["result"])
    finally:
        ray.shutdown()


def _ray_shard(row: dict[str, Any], plan: Plan) -> dict[str, Any]:
    return {"shard": row["shard"], "result": json.dumps(write_shard(plan, int(row["shard"])))}
