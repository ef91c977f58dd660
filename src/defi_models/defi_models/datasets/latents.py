"""Latents on disk, made once by `defi data encode` and read in place of pixels.

<folder>/latents-000000.tar ...   WebDataset shards; a clip is `<key>.latents.npy`, float16 (T, cameras, C, h, w), and
                                  `<key>.json` with its name, task and sentences
<folder>/latents-000000.json ...  where each clip lies in its shard, and which could not be read
<folder>/latents.json             what all of it is; written last, so that a folder with it is whole

Shards are not unpacked: training maps them into memory and reads rows where they lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defi_models.checkpoint import FILE, FORWARD, build, read_checkpoint
from defi_models.config import AutoencoderConfig, DefiConfig
from defi_models.contract import CheckpointError
from defi_models.datasets.blocks import Blocks
from defi_models.datasets.frames import Encoded, Frames, frames_of
from defi_models.datasets.reading import DatasetError, read_json, reading
from defi_models.models.gfdm import Latents

FORMAT = 1
MANIFEST = "latents.json"
RUN_FILE, AUTOENCODER_FILE = "run.json", "autoencoder.safetensors"  # of a training run
DECODER = "decoder."
PREFIX = "gfdm.autoencoder."  # of the autoencoder's weights in a checkpoint


@dataclass(frozen=True)
class LoadedAutoencoder:
    """An autoencoder with what identifies it.

    Attributes:
        module: It, in evaluation mode.
        config: Of the whole model.
        fingerprint: See `fingerprint`.
    """

    module: Latents
    config: DefiConfig
    fingerprint: str


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """Identifies an autoencoder by what makes its latents, the same before and after it is rounded to float16."""
    found = hashlib.sha256()
    for name in sorted(name for name in weights if not name.startswith(DECODER)):
        found.update(name.encode())
        found.update(weights[name].detach().cpu().half().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def load_autoencoder(folder: Path) -> LoadedAutoencoder:
    """The autoencoder of a training run or of a policy's checkpoint.

    Raises:
        CheckpointError: `folder` is neither, is damaged, or its autoencoder has not been trained.
    """
    if (folder / FILE).is_file():
        checkpoint = read_checkpoint(folder)
        path = checkpoint.weights(FORWARD)
        config, all_weights = checkpoint.config, _weights(path)
        weights = {k.removeprefix(PREFIX): v.float() for k, v in all_weights.items() if k.startswith(PREFIX)}
    elif (folder / RUN_FILE).is_file() and (folder / AUTOENCODER_FILE).is_file():
        path = folder / AUTOENCODER_FILE
        config, weights = read_config(folder / RUN_FILE), _weights(path)
    else:
        raise CheckpointError(
            f"{folder}: got neither a checkpoint ({FILE}) nor a run with a trained autoencoder ({RUN_FILE} and "
            f"{AUTOENCODER_FILE}); `defi train autoencoder --out` makes the latter"
        )
    if isinstance(config.autoencoder, AutoencoderConfig):
        from defi_models.models.autoencoder import Autoencoder

        module = Autoencoder(config.autoencoder)
    else:
        from defi_models.models.svd import SvdAutoencoder

        module = SvdAutoencoder(config.autoencoder, video=False)
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(DECODER)}
    with reading(path, f"the autoencoder that {folder.name} describes", RuntimeError, raises=CheckpointError):
        module.load_state_dict(weights)
    return LoadedAutoencoder(module.eval(), config, fingerprint(weights))


def read_config(path: Path) -> DefiConfig:
    """The model of a training run, as its `run.json` says.

    Raises:
        CheckpointError: the file is damaged.
    """
    return build(DefiConfig, read_json(path, CheckpointError).get("config"), str(path))


def _weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with reading(path, "weights", SafetensorError, raises=CheckpointError):
        return load_file(str(path))


def open_latents(folder: Path) -> Frames:
    """Frames that have latents in place of pixels.

    Raises:
        DatasetError: the folder is no finished encoding, of another version, empty, or a shard is missing or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DatasetError(
            f"{folder}: got no {MANIFEST}, expected it in a finished `defi data encode --out` folder; run it again"
        )
    about = read_json(path)
    if about.get("format") != FORMAT:
        raise DatasetError(f"{path}: got format {about.get('format')}, expected {FORMAT}; encode again")
    meta: dict[str, Any] = {"lengths": [], "tasks": [], "instructions": []}
    arrays: list[np.ndarray] = []
    with reading(path, "what `defi data encode` writes"):
        item = tuple(about["latent_shape"])
        for name, size in about["shards"].items():
            arrays += _shard(folder / name, size, item, meta)
        if not arrays:
            raise ValueError("no clip is in it")
        views = np.repeat([a.shape[1] for a in arrays], meta["lengths"])
        meta |= {"step_ns": about["step_ns"], "cameras": about["cameras"][: int(views.max())]}
        meta["made_of"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        frames = frames_of(meta, folder, np.empty((0, 0, 0, 0, 3), np.uint8), {})
        return replace(frames, views=views, encoded=Encoded(Blocks(arrays), about["autoencoder"], item))


def _shard(shard: Path, size: int, item: tuple[int, ...], meta: Mapping[str, list]) -> list[np.ndarray]:
    """The latents of a shard's clips, mapped into memory; what they are goes into `meta`."""
    if not shard.is_file() or shard.stat().st_size != size:
        got = shard.stat().st_size if shard.is_file() else "no file"
        raise DatasetError(f"{shard}: got {got}, expected {size} bytes; copy the whole folder or encode again")
    index, arrays = shard.with_suffix(".json"), []
    with reading(index, "where clips lie in their shard"):
        clips = read_json(index)["clips"]
        data = np.memmap(shard, dtype=np.uint8, mode="r") if clips else np.empty(0, np.uint8)
        for clip in clips:
            shape = (clip["length"], clip["views"], *item)
            count = int(np.prod(shape))
            arrays.append(np.frombuffer(data, np.float16, count, clip["offset"]).reshape(shape))
            for key, name in (("lengths", "length"), ("tasks", "task"), ("instructions", "instructions")):
                meta[key].append(clip[name])
    return arrays
