"""A model's folder: weights, configuration, normalisation statistics and provenance, or nothing.

    <folder>/checkpoint.json     format, arm, model configuration, statistics, provenance, hash of each weight file
    <folder>/forward.safetensors GFDM: autoencoder, text encoder, backbone
    <folder>/inverse.safetensors GIDM, video former, action denoiser
    <folder>/video.safetensors   what only generated video needs, where that is worth a file of its own (SVD)
    <folder>/*.tokenizer.json    how text becomes tokens, where pretrained text encoders are used

Weights are safetensors: nothing is ever unpickled. A folder is written beside its place and moved there whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from defi_models.config import ADDED, DefiConfig, PretrainedTextConfig
from defi_models.contract import CheckpointError, ConfigError, PolicySpec
from defi_models.files import existing_above, is_writable
from defi_models.kinds import from_json
from defi_models.transforms import Statistics
from defi_models.words import CLIP_TOKENIZER, T5_TOKENIZER, Tokenizer, tokenizer_of

T = TypeVar("T")
FORMAT = 1
FILE = "checkpoint.json"
FORWARD, INVERSE, VIDEO = "forward.safetensors", "inverse.safetensors", "video.safetensors"
HASHED_BYTES = 1 << 22
SHOWN = 5  # names of a folder's files in a refusal


@dataclass(frozen=True)
class Checkpoint:
    """What a model's folder says about it, without the weights.

    Attributes:
        folder: Where it lies.
        name: Name of the preset it was made from.
        arm: The arm its actions are for.
        config: The model.
        statistics: Normalisation of actions and proprioception; None before the policy stage.
        hashes: SHA-256 of each weight file, by file name.
        provenance: Commands, seeds, data and figures that made it.
    """

    folder: Path
    name: str
    arm: str
    config: DefiConfig
    statistics: Statistics | None
    hashes: Mapping[str, str]
    provenance: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Identifies the weights of both halves."""
        return hashlib.sha256("".join(f"{k}{v}" for k, v in sorted(self.hashes.items())).encode()).hexdigest()[:16]

    def spec(self) -> PolicySpec:
        """What this checkpoint needs and gives as a policy."""
        config = self.config
        in_joints = config.action_encoding == "joint_positions"
        return PolicySpec(
            name=self.name,
            fingerprint=self.fingerprint,
            arm=self.arm,
            cameras=config.cameras,
            image_size=(config.gfdm.image_size, config.gfdm.image_size),
            space="joint_positions" if in_joints else "ee_pose",
            chunk_steps=config.chunk_steps,
            step_ns=config.step_ns,
            feature_shape=config.feature_shape,
            reads_tool_pose=config.proprioception_width > 0 and not config.state_in_joints,
            joints=config.action_width - 1 if in_joints else None,
            horizon_steps=config.horizon_steps,
        )

    def tokenizer(self) -> Tokenizer:
        """How instructions become this model's tokens.

        Raises:
            CheckpointError: its tokenizers are missing or damaged.
        """
        if isinstance(self.config.text, PretrainedTextConfig):
            for name in (CLIP_TOKENIZER, T5_TOKENIZER):
                self.weights(name)
        return tokenizer_of(self.config.text, self.folder)

    def weights(self, file: str) -> Path:
        """The path of a weight file, checked against its hash.

        Raises:
            CheckpointError: it is missing or is not the file that was saved.
        """
        path = self.folder / file
        if file not in self.hashes or not path.is_file():
            raise CheckpointError(
                f"checkpoint {self.folder}: {file} is missing; it has {sorted(p.name for p in self.folder.iterdir())}. "
                "Train the missing stage or copy the whole folder."
            )
        got = sha256(path)
        if got != self.hashes[file]:
            raise CheckpointError(
                f"checkpoint {self.folder}: {file} has SHA-256 {got[:12]}, expected {self.hashes[file][:12]}; "
                "the file is damaged or belongs to another checkpoint"
            )
        return path


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces: a GFDM's weights are gigabytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(HASHED_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads a folder's description.

    Raises:
        CheckpointError: it is no checkpoint, of another format, incomplete, or says what makes no model.
    """
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} is no checkpoint: it has no {FILE}. Give a folder that `defi train` wrote.")
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON ({error}); the file is damaged") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        got = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise CheckpointError(f"{path}: got format {got}, expected {FORMAT}; it was written by another version")
    _check_description(data, path)
    statistics, config = data.get("statistics"), build(DefiConfig, data["config"], str(path))
    return Checkpoint(
        folder=folder,
        name=data["name"],
        arm=data["arm"],
        config=config,
        statistics=_statistics(statistics, config, path),
        hashes=data["hashes"],
        provenance=data["provenance"],
    )


def _statistics(values: Any, config: DefiConfig, path: Path) -> Statistics | None:
    try:
        return None if values is None else Statistics.from_dict(values, config.action_width, config.state_width)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def check_replaceable(folder: Path) -> Path:
    """Where a checkpoint may be written, as an absolute path: a new folder, an empty one, or another checkpoint's.

    Writing replaces the whole folder, so anything else in its place would be lost. Ask before long work too.

    Raises:
        ConfigError: it is a file, the working folder, holds something that is no checkpoint, or cannot be made.
    """
    place = folder.expanduser().resolve()
    above = existing_above(place)
    if not is_writable(above):
        raise ConfigError(
            f"checkpoint {folder}: got a place below {above}, expected one below a folder that can be written"
        )
    if not place.exists():
        return place
    if not place.is_dir():
        raise ConfigError(f"checkpoint {folder}: got a file, expected a folder, which need not exist yet")
    if place in (here := Path.cwd(), *here.parents):
        raise ConfigError(f"checkpoint {folder}: got the folder you are in, expected another, which need not exist yet")
    found = sorted(path.name for path in place.iterdir())
    if found and FILE not in found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ConfigError(
            f"checkpoint {folder}: got a folder that holds {found[:SHOWN]}{more} and no {FILE}, expected a new folder, an "
            "empty one, or a checkpoint to replace; nothing was touched"
        )
    return place


def write_checkpoint(
    folder: Path,
    *,
    name: str,
    arm: str,
    config: DefiConfig,
    weights: Mapping[str, Path],
    statistics: Statistics | None,
    provenance: Mapping[str, Any],
) -> Checkpoint:
    """Writes a folder in one move; what stood there before is replaced only when the new one is whole.

    Args:
        folder: Where to write.
        name: Name of the model.
        arm: The arm its actions are for.
        config: The model.
        weights: File name -> safetensors file to move in.
        statistics: Normalisation; None before the policy stage.
        provenance: Commands, seeds, data and figures.

    Raises:
        ConfigError: something other than a checkpoint lies there; see `check_replaceable`.
    """
    folder = check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for file, source in weights.items():
            shutil.copyfile(source, made / file)
        description = {
            "format": FORMAT,
            "name": name,
            "arm": arm,
            "config": asdict(config),
            "statistics": None if statistics is None else statistics.to_dict(),
            "hashes": {file: sha256(made / file) for file in weights},
            "provenance": dict(provenance),
        }
        (made / FILE).write_text(json.dumps(description, indent=1) + "\n")
        made.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            os.rename(folder, old / folder.name)
            os.rename(made, folder)
            shutil.rmtree(old)
        else:
            os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return read_checkpoint(folder)


def build(kind: type[T], values: Any, where: str, of: str = "") -> T:
    """A (nested) frozen dataclass from the dictionaries and lists that JSON gives back.

    Args:
        kind: The dataclass.
        values: What stands in the file.
        where: The file, for refusals.
        of: What the names of its fields begin with, for refusals.

    Raises:
        CheckpointError: a key is unknown or missing, naming both lists, or a value is of another kind.
    """
    if not isinstance(values, dict):
        name = of.rstrip(".") or kind.__name__
        raise CheckpointError(f"{where}: {name}: got {reprlib.repr(values)}, expected an object, {kind.__name__}")
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    required = set(names) - ADDED.get(kind.__name__, frozenset())
    unknown, missing = sorted(set(values) - set(names)), sorted(required - set(values))
    if unknown or missing:
        raise CheckpointError(
            f"{where}: {kind.__name__} has unknown keys {unknown} and misses {missing}; expected {names}"
        )
    try:
        return kind(
            **{name: _value(hints[name], values[name], where, f"{of}{name}") for name in names if name in values}
        )
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    if get_origin(hint) is UnionType:
        if value is None and NoneType in get_args(hint):
            return None
        hint = _choose(get_args(hint), value)
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where, f"{name}.")
    return from_json(hint, value, name)


def _choose(hints: tuple[Any, ...], value: Any) -> Any:
    """The member of a union that `value` is: of several dataclasses, the one with most of its keys."""
    keys = set(value) if isinstance(value, dict) else set()
    present = [hint for hint in hints if hint is not NoneType]
    return max(present, key=lambda hint: len(keys & {f.name for f in fields(hint)}) if is_dataclass(hint) else 0)


def _check_description(data: dict[str, Any], path: Path) -> None:
    """Refuses a description whose own fields are missing or of another kind; `build` reads its "config"."""
    kinds = {
        "name": (str, "a text"),
        "arm": (str, "a text"),
        "hashes": (dict, "an object"),
        "provenance": (dict, "an object"),
    }
    missing = [key for key in (*kinds, "config") if key not in data]
    if missing:
        raise CheckpointError(f"{path}: {missing} missing; it has {sorted(data)}")
    for name, (kind, what) in kinds.items():
        if not isinstance(data[name], kind):
            raise CheckpointError(f"{path}: {name}: got {reprlib.repr(data[name])}, expected {what}")
    for file, digest in data["hashes"].items():
        if not isinstance(digest, str):
            raise CheckpointError(f"{path}: hashes of {file}: got {reprlib.repr(digest)}, expected a text")
