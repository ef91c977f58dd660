"""A path and a backend to a `Policy`."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Literal

from defi_models.checkpoint import Checkpoint, read_checkpoint
from defi_models.contract import CheckpointError, ConfigError, Policy, PolicySpec

Half = Literal["both", "imagine", "act"]
BACKENDS = ("torch", "compiled", "onnx")
SCRIPTED = "scripted"


def shipped() -> list[str]:
    """Names of the policies in the package."""
    return sorted(p.parent.name for p in _weights().glob("*/checkpoint.json"))


def resolve(path: str) -> Checkpoint:
    """The checkpoint a name or a folder stands for.

    A shipped name is that policy, whatever folder lies in the working directory: `./nano` is such a folder.

    Raises:
        CheckpointError: there is none, or it cannot be used.
    """
    if path == SCRIPTED:
        raise CheckpointError(
            f"policy {SCRIPTED!r} has no networks: it is a program of the simulator, so there is nothing to export, inspect "
            f"or imagine with; expected one of {shipped()} or the folder of a checkpoint"
        )
    if path in shipped():
        return read_checkpoint(_weights() / path)
    folder = Path(path).expanduser()
    if not folder.is_dir():
        names = [*shipped(), SCRIPTED]
        near = difflib.get_close_matches(path, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CheckpointError(
            f"no policy {path!r}: it is neither a shipped policy nor a folder.{hint} Shipped: {names}; "
            "or give the folder that `defi train policy` wrote, as in run/checkpoint."
        )
    return read_checkpoint(folder)


def _weights() -> Path:
    return Path(str(resources.files("defi_models"))) / "weights"


def read_spec(path: str) -> PolicySpec:
    """What a policy needs and gives, without loading its weights or torch's kernels.

    Args:
        path: A shipped name, "scripted", or a checkpoint folder; see `resolve`.

    Raises:
        CheckpointError: there is none, or it is no policy yet.
    """
    if path == SCRIPTED:
        from defi_models.inference.scripted_policy import SCRIPTED_SPEC

        return SCRIPTED_SPEC
    checkpoint = resolve(path)
    if checkpoint.statistics is None:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder} has no normalisation statistics: it is not a policy yet. "
            "Run `defi train policy` on it."
        )
    return checkpoint.spec()


def load_policy(
    path: str, *, backend: str = "torch", device: str = "cpu", half: Half = "both", threads: int = 0
) -> Policy:
    """Loads a policy ready to run.

    Args:
        path: A shipped name, "scripted", or a checkpoint folder; see `resolve`.
        backend: One of `BACKENDS`.
        device: Where it runs, as in "cpu", "cuda:0" or, for onnx, "tensorrt".
        half: "imagine" loads the GFDM only, "act" the GIDM and decoder only.
        threads: CPU threads for one call; 0 leaves the backend's choice.

    Raises:
        CheckpointError: there is no such policy or it cannot be used.
        ConfigError: the number of threads is negative.
    """
    if threads < 0:
        raise ConfigError(f"threads: got {threads}, expected 1 or more, or 0 for the backend's choice")
    if backend not in BACKENDS:
        raise CheckpointError(f"no inference backend {backend!r}; there is {list(BACKENDS)}")
    if path == SCRIPTED:
        from defi_models.inference.scripted_policy import ScriptedPolicy

        return ScriptedPolicy()
    read_spec(path)
    checkpoint = resolve(path)
    forward, inverse = half in ("both", "imagine"), half in ("both", "act")
    from defi_models.inference.defi_policy import DefiPolicy

    if backend == "onnx":
        from defi_models.inference.onnx_engine import OnnxForward, OnnxInverse

        return DefiPolicy(
            checkpoint,
            OnnxForward(checkpoint, device, threads) if forward else None,
            OnnxInverse(checkpoint, device, threads) if inverse else None,
        )
    import torch

    from defi_models.inference.torch_engine import TorchForward, TorchInverse

    check_device(device)
    if threads:
        torch.set_num_threads(threads)
    compiled = backend == "compiled"
    return DefiPolicy(
        checkpoint,
        TorchForward(checkpoint, device, compiled) if forward else None,
        TorchInverse(checkpoint, device, compiled) if inverse else None,
    )


def check_device(device: str, what: str = "policy.device") -> None:
    """Refuses a device that torch does not have here; `what` names the option.

    Raises:
        CheckpointError: so.
    """
    import torch

    there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if device not in {*there, "cuda"} or (device == "cuda" and len(there) == 1):
        raise CheckpointError(
            f"{what}: got {device!r}, expected one of {there} on this machine; CUDA needs an NVIDIA driver and a "
            "build of torch for it"
        )
