"""The folder of exported graphs beside a checkpoint's weights: names, what they were made from, how they are found.

<checkpoint>/onnx/export.json   the checkpoint they were made from, hash of each file, and the parity measured then
<checkpoint>/onnx/*.onnx        one graph a network
<checkpoint>/onnx/noise.npy     the one draw of noise that sampling starts from
"""

from __future__ import annotations

import json
from pathlib import Path

from defi_models.checkpoint import Checkpoint, sha256
from defi_models.contract import CheckpointError

FORMAT = 2  # raise it when graphs mean something else, or the manifest says it otherwise
FOLDER, MANIFEST = "onnx", "export.json"
GFDM_TEXT, GFDM, GFDM_FRAMES = "gfdm_text.onnx", "gfdm.onnx", "gfdm_frames.onnx"
GIDM_TEXT, GIDM, DECODER = "gidm_text.onnx", "gidm.onnx", "decoder.onnx"
NOISE = "noise.npy"  # the one draw that sampling starts from
FILES = (GFDM_TEXT, GFDM, GFDM_FRAMES, GIDM_TEXT, GIDM, DECODER, NOISE)


def why_not_exported(checkpoint: Checkpoint) -> str | None:
    """Why a checkpoint's graphs cannot be used, or None when they can."""
    folder = checkpoint.folder / FOLDER
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return f"it has no {FOLDER}/{MANIFEST}"
    try:
        description = json.loads(manifest.read_text())
    except ValueError:
        return f"its {FOLDER}/{MANIFEST} is damaged"
    if not isinstance(description, dict) or not isinstance(description.get("hashes", {}), dict):
        return f"its {FOLDER}/{MANIFEST} is damaged"
    if description.get("format") != FORMAT:
        return f"its graphs have format {description.get('format')}, expected {FORMAT}"
    made_from = description.get("fingerprint")
    if made_from != checkpoint.fingerprint:
        return f"its graphs were made from checkpoint {made_from}, expected {checkpoint.fingerprint}"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        return f"{FOLDER}/ lacks {missing}"
    hashes = description.get("hashes", {})
    others = [name for name in FILES if sha256(folder / name) != hashes.get(name)]
    return f"in {FOLDER}/, {others} are not the files that were exported" if others else None


def exported(checkpoint: Checkpoint) -> Path:
    """The folder of a checkpoint's graphs.

    Raises:
        CheckpointError: there are none, or they are another checkpoint's.
    """
    reason = why_not_exported(checkpoint)
    if reason is not None:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder} cannot run in onnxruntime: {reason}. Run `defi export {checkpoint.folder}`, "
            "or choose `policy.backend: torch` in the robot file."
        )
    return checkpoint.folder / FOLDER
