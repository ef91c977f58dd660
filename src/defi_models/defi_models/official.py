"""`defi import-official`: the paper's own checkpoints, converted once into a checkpoint of this project.

The policy is a torch file `{"model": weights, "args": ...}`; it is read with `weights_only`, so nothing in it runs. The
GFDM is a diffusers folder, which is not in the policy file. What comes out is safetensors, in one move.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from defi_models.checkpoint import FORWARD, INVERSE, VIDEO, Checkpoint, check_replaceable, sha256, write_checkpoint
from defi_models.config import PROPRIOCEPTION_WIDTH, DefiConfig, PretrainedTextConfig
from defi_models.contract import CheckpointError, ConfigError
from defi_models.files import existing_above, interrupted_by_sigterm
from defi_models.inventory import on_meta
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.official_keys import from_official, no_weights
from defi_models.training.presets import preset
from defi_models.transforms import Statistics
from defi_models.words import CLIP_TOKENIZER, T5_TOKENIZER, PretrainedTokenizer

# CALVIN's scale of a relative action: metres and radians at 1, the gripper as it is (defi-model 7.1).
ACTION_SCALE = (0.02, 0.02, 0.02, 0.05, 0.05, 0.05, 1.0)
HARMLESS = ("omegaconf.", "typing.", "collections.", "builtins.")  # what the training settings in "args" are made of
FOLDERS = {"unet": "gfdm.backbone.", "vae": "gfdm.autoencoder."}  # of a diffusers pipeline -> our names


@dataclass(frozen=True)
class Sources:
    """Where the paper's weights lie.

    Attributes:
        policy: Stage 3's `.pt`.
        gfdm: The folder of the diffusers pipeline, or None: then the checkpoint can only act.
        clip_tokenizer: CLIP's `tokenizer.json`, or None: then it cannot read instructions.
        t5_tokenizer: T5's `tokenizer.json`, or None.
    """

    policy: Path
    gfdm: Path | None = None
    clip_tokenizer: Path | None = None
    t5_tokenizer: Path | None = None


class ImportOfficial:
    """Converts official checkpoints."""

    help = "convert the paper's own checkpoints, once, into one that loads without unpickling anything"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("file", type=Path, help="the policy, a torch file (.pt)")
        parser.add_argument("--out", type=Path, required=True, help="folder to write")
        parser.add_argument("--gfdm", type=Path, help="folder of the GFDM as diffusers saved it (unet/, vae/)")
        parser.add_argument("--clip-tokenizer", type=Path, help="tokenizer.json of openai/clip-vit-base-patch32")
        parser.add_argument("--t5-tokenizer", type=Path, help="tokenizer.json of t5-base")
        parser.add_argument("--arm", default="calvin_panda", help="the arm it was trained for")

    def run(self, args: argparse.Namespace) -> int:
        """Converts and says what came out.

        Raises:
            CheckpointError: a file is not what it should be; every difference is listed, nothing is written.
            ConfigError: a file does not exist.
        """
        sources = Sources(args.file, args.gfdm, args.clip_tokenizer, args.t5_tokenizer)
        checkpoint = import_official(sources, args.out, preset("base").model(()), arm=args.arm)
        for name in sorted(checkpoint.hashes):
            sys.stdout.write(f"{checkpoint.folder / name}: {(checkpoint.folder / name).stat().st_size / 1e6:.1f} MB\n")
        lacking = {
            "--gfdm: without it nothing can be imagined": FORWARD not in checkpoint.hashes,
            "--clip-tokenizer and --t5-tokenizer: without them no instruction can be read": CLIP_TOKENIZER
            not in checkpoint.hashes,
        }
        for what in (what for what, lacks in lacking.items() if lacks):
            sys.stdout.write(f"not given: {what}; import again with it before running this policy\n")
        return 0


def import_official(sources: Sources, out: Path, config: DefiConfig, *, arm: str) -> Checkpoint:
    """Converts the paper's weights into a checkpoint at `out`, whole or not at all.

    Raises:
        CheckpointError: a file is not what it should be; every difference is listed.
        ConfigError: a file does not exist, one of the two tokenizers is missing, or `out` is something else's.
    """
    files = [path for path in (sources.policy, sources.clip_tokenizer, sources.t5_tokenizer) if path]
    for path in files:
        if not path.is_file():
            raise ConfigError(f"import-official: got {path}, expected a file that exists")
    if sources.gfdm is not None and not sources.gfdm.is_dir():
        raise ConfigError(f"import-official: got {sources.gfdm}, expected a folder that exists, with unet/ and vae/")
    out = check_replaceable(out)  # gigabytes are read below
    above = existing_above(out)  # what is refused leaves no new folders
    with interrupted_by_sigterm(), tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=above) as folder:
        made = Path(folder)
        weights = _tokenizers(sources, config, made)  # small, so first
        inverse = read_inverse(sources.policy, config)
        weights[INVERSE] = _write(made / INVERSE, inverse)
        if sources.gfdm is not None:
            for name, tensors in read_forward(sources.gfdm, config, inverse).items():
                weights[name] = _write(made / name, tensors)
        return write_checkpoint(
            out,
            name="base",
            arm=arm,
            config=config,
            weights=weights,
            statistics=Statistics(ACTION_SCALE, (0.0,) * PROPRIOCEPTION_WIDTH, (1.0,) * PROPRIOCEPTION_WIDTH),
            provenance={"official": {str(path): sha256(path) for path in files}},
        )


def read_inverse(path: Path, config: DefiConfig) -> dict[str, Tensor]:
    """The weights of the inverse half out of an official policy file.

    Raises:
        CheckpointError: it is no such file, or its weights are not those of the paper's policy.
    """
    found = read_torch(path)
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        keys = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
        stage_2 = " (this looks like stage 2's, which the policy contains)" if "state_dict" in keys else ""
        raise CheckpointError(f"{path}: got {keys}, expected a policy with its weights under 'model'{stage_2}")
    with on_meta():
        half = InverseHalf(config, config.gfdm.feature_width)
    return from_official(found["model"], {name: tensor.shape for name, tensor in half.state_dict().items()})


def read_forward(folder: Path, config: DefiConfig, inverse: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The weights of the forward half by file: what a policy needs, and what only video does; float16, as the paper runs it.

    Args:
        folder: The GFDM as diffusers saved it.
        config: The model.
        inverse: Weights of the inverse half, whose CLIP reads for both.

    Raises:
        CheckpointError: names are missing or unexpected, shapes differ, or weights are none.
    """
    with on_meta():
        lean, full = ForwardHalf(config).state_dict(), ForwardHalf(config, video=True).state_dict()
    found = {
        f"{prefix}{name}": tensor
        for part, prefix in FOLDERS.items()
        for name, tensor in _read_folder(folder / part).items()
    }
    expected = {name: tensor.shape for name, tensor in full.items() if name.startswith(tuple(FOLDERS.values()))}
    faults = [f"missing: {name}" for name in sorted(set(expected) - set(found))]
    faults += [f"unexpected: {name}" for name in sorted(set(found) - set(expected))]
    faults += [
        f"shape: {name} is {tuple(found[name].shape)} instead of {tuple(expected[name])}"
        for name in sorted(set(found) & set(expected))
        if found[name].shape != expected[name]
    ]
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
    faults += no_weights(halved)  # what float16 cannot hold is infinite in it
    if faults:
        raise CheckpointError(
            f"{folder}: got {len(faults)} differences from the GFDM of the paper, expected none:\n  - "
            + "\n  - ".join(faults)
        )
    clip = {
        name.replace("text.clip_text.clip.", "gfdm.text.clip."): tensor
        for name, tensor in inverse.items()
        if name.startswith("text.clip_text.clip.")
    }
    return {
        FORWARD: {**clip, **{name: tensor for name, tensor in halved.items() if name in lean}},
        VIDEO: {name: tensor for name, tensor in halved.items() if name not in lean},
    }


class Inert:
    """Stands for every class of the training settings: takes anything, keeps nothing, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Forgets it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forgets it."""


def read_torch(path: Path) -> Any:
    """What a torch file holds, without running anything in it; its training settings become empty objects.

    Raises:
        CheckpointError: it is no torch file, or holds more than tensors and settings.
    """
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        foreign = sorted(name for name in unknown if not name.startswith(HARMLESS))
        if foreign:
            raise CheckpointError(
                f"{path}: got a file that would run {foreign} when read, expected tensors and training settings only; "
                "it was not read"
            )
        with torch.serialization.safe_globals([(Inert, name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a torch file that can be read safely ({error})") from error


def _read_folder(folder: Path) -> Mapping[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(
            f"{folder}: got {sorted(p.name for p in folder.glob('*'))}, expected safetensors, "
            "as diffusers saves a pipeline; pickled weights are not read"
        )
    whole = [file for file in files if ".fp16." not in file.name] or files  # a folder may hold both precisions
    try:
        return {name: tensor for file in whole for name, tensor in load_file(str(file)).items()}
    except SafetensorError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def _tokenizers(sources: Sources, config: DefiConfig, made: Path) -> dict[str, Path]:
    pair = {CLIP_TOKENIZER: sources.clip_tokenizer, T5_TOKENIZER: sources.t5_tokenizer}
    found = {name: path for name, path in pair.items() if path is not None}
    if not found:
        return {}
    if len(found) < len(pair):
        raise ConfigError("import-official: got one tokenizer, expected both --clip-tokenizer and --t5-tokenizer")
    for name, path in found.items():
        (made / name).write_bytes(path.read_bytes())
    if isinstance(config.text, PretrainedTextConfig):
        PretrainedTokenizer(config.text, made)  # refuses what is not one
    return {name: made / name for name in found}


def _write(path: Path, weights: Mapping[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, str(path))
    return path
