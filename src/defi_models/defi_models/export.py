"""`defi export`: a checkpoint's networks as ONNX graphs, with a report of how they compare with torch.

One graph a network: what is computed once an instruction (text), once a chunk (GFDM, GIDM with the video former and the
context of the decoder), and once a step of sampling (decoder).
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defi_models.checkpoint import FORWARD, INVERSE, Checkpoint, sha256
from defi_models.config import SvdConfig
from defi_models.contract import DefiError
from defi_models.files import check_place, interrupted_by_sigterm, write_json
from defi_models.inference import graphs
from defi_models.inference.engine import ForwardEngine, InverseEngine
from defi_models.inference.load import resolve

OPSET = 20
LARGEST_DIFFERENCE = 1e-3  # of normalised actions, between torch and onnxruntime, each from images to actions
# Of one network's outputs, beside the largest of them or 1. Sums of float32 in another order differ by some 1e-6.
LARGEST_OF_NETWORK = 1e-4
TRIALS = 20
TIMED = ("gfdm_ms", "gidm_ms", "chunk_ms")  # each half, and both one after the other


class ExportError(DefiError):
    """A checkpoint cannot be exported."""


class Network(NamedTuple):
    """One network to export.

    Attributes:
        module: What computes it.
        given: An example of its inputs.
        inputs: Their names.
        outputs: Names of its outputs.
    """

    module: Any
    given: tuple[Any, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Export:
    """Exports a policy."""

    help = "write a policy's networks as ONNX graphs for onnxruntime, and compare both"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("policy", help="a shipped policy or a checkpoint folder; the graphs go to its folder onnx/")
        parser.add_argument("--onnx", action="store_true", help="the format; the only one, so it may be left out")
        parser.add_argument("--if-needed", action="store_true", help="do nothing when its graphs are there already")
        parser.add_argument("--json", type=Path, default=None, help="where to write the report too")

    def run(self, args: argparse.Namespace) -> int:
        """Exports and reports.

        Raises:
            CheckpointError: there is no such policy.
            ExportError: torch and onnxruntime do not agree; the graphs are not kept.
        """
        check_place("--json", args.json)
        checkpoint = resolve(args.policy)
        if args.if_needed and graphs.why_not_exported(checkpoint) is None:
            return 0
        report = export(checkpoint)
        for name, row in report["networks"].items():
            sys.stdout.write(f"{name:<18} {row['bytes'] / 1e6:7.1f} MB  largest difference {row['difference']:.1e}\n")
        for name in TIMED:
            row = report[name]
            sys.stdout.write(f"{name:<18} torch {row['torch']:.1f}  onnxruntime {row['onnx']:.1f}  (p50, one thread)\n")
        sys.stdout.write(
            f"largest difference of normalised actions, from images: {report['action_difference']:.1e} "
            f"(features {report['feature_difference']:.1e})\n"
        )
        write_json(args.json, report)
        return 0


def export(checkpoint: Checkpoint) -> dict[str, Any]:
    """Writes `<checkpoint>/onnx`, whole or not at all.

    Returns:
        The report, which also lies in `export.json`.

    Raises:
        ExportError: torch and onnxruntime do not agree, or the model is one that is not exported.
    """
    if isinstance(checkpoint.config.gfdm, SvdConfig):
        raise ExportError(
            f"{checkpoint.folder}: got the GFDM on SVD's UNet, expected one on the small transformer; "
            "run this policy with `policy.backend: torch` or `compiled`"
        )
    started = time.monotonic()
    if not os.access(checkpoint.folder, os.W_OK):
        raise ExportError(
            f"{checkpoint.folder}: cannot be written, and graphs lie beside their weights; copy the folder and export the copy"
        )
    made = Path(tempfile.mkdtemp(prefix=".onnx-", dir=checkpoint.folder))
    try:
        with interrupted_by_sigterm():
            report = _write_and_compare(checkpoint, made)
            report["seconds"] = round(time.monotonic() - started, 1)
            report["hashes"] = {name: sha256(made / name) for name in graphs.FILES}
            write_json(made / graphs.MANIFEST, report)
            place = checkpoint.folder / graphs.FOLDER
            shutil.rmtree(place, ignore_errors=True)
            made.chmod(0o755)
            os.rename(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return report


def _write_and_compare(checkpoint: Checkpoint, made: Path) -> dict[str, Any]:
    report: dict[str, Any] = {"format": graphs.FORMAT, "fingerprint": checkpoint.fingerprint, "networks": {}}
    made_of = networks(checkpoint)
    for file, network in made_of.items():
        write_graph(network, made / file)
        report["networks"][file] = {"bytes": (made / file).stat().st_size, **compare(network, made / file)}
    np.save(made / graphs.NOISE, made_of[graphs.DECODER].given[0].numpy())
    report |= parity(checkpoint, made)
    faults = [
        f"outputs of {file} differ by {row['relative']:.1e} of the largest, expected at most {LARGEST_OF_NETWORK:g}"
        for file, row in report["networks"].items()
        if not row["relative"] <= LARGEST_OF_NETWORK
    ]
    if not report["action_difference"] <= LARGEST_DIFFERENCE:
        faults.append(f"actions differ by {report['action_difference']:.1e}, expected at most {LARGEST_DIFFERENCE:g}")
    if faults:
        raise ExportError(
            f"{checkpoint.folder}: between torch and onnxruntime {'; '.join(faults)}; the graphs are not kept, "
            "torch still runs it"
        )
    return report


def networks(checkpoint: Checkpoint) -> Mapping[str, Network]:
    """Every network of a checkpoint by the name of its file, with weights and example inputs."""
    import torch
    from torch import nn

    from defi_models.inference.torch_engine import load_half
    from defi_models.models.defi import ForwardHalf, InverseHalf
    from defi_models.models.layers import KeysValues

    config, spec = checkpoint.config, checkpoint.spec()
    forward = load_half(lambda: ForwardHalf(config), checkpoint, FORWARD).requires_grad_(False)
    inverse = load_half(lambda: InverseHalf(config, spec.feature_shape[-1]), checkpoint, INVERSE).requires_grad_(False)

    class Frames(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            found = forward.gfdm.frames_from_features(features)
            assert found is not None, "the small backbone tells its frames"
            return found

    class Context(nn.Module):
        def forward(self, *given: torch.Tensor) -> list[torch.Tensor]:
            read = inverse.denoiser.read(inverse.context(*given)[0])
            return [tensor for one in read for tensor in one]

    class Decoder(nn.Module):
        def forward(self, noisy: torch.Tensor, sigma: torch.Tensor, *read: torch.Tensor) -> torch.Tensor:
            context = [KeysValues(*pair) for pair in zip(read[::2], read[1::2], strict=True)]
            return inverse.denoiser.denoise(noisy, sigma, context)

    generator = torch.Generator().manual_seed(0)
    tokens = torch.zeros(1, config.text.max_words, dtype=torch.int64)
    tokens[0, :3] = 2
    size = config.gfdm.image_size
    pixels = torch.rand(1, len(config.cameras), 3, size, size, generator=generator) * 2 - 1
    state = torch.randn(1, config.proprioception_width, generator=generator)
    sigma = torch.tensor([config.decoder.sigma_min])
    with torch.no_grad():
        words, their_words = forward.gfdm.text(tokens), inverse.text(tokens)
        features = forward(pixels, *words[:2])
        read = Context()(features, *their_words, state)
    reads = tuple(f"{what}_{layer}" for layer in range(len(read) // 2) for what in ("keys", "values"))
    words_out = ("words", "mask", "pooled")
    return {
        graphs.GFDM_TEXT: Network(forward.gfdm.text, (tokens,), ("tokens",), words_out),
        graphs.GFDM: Network(forward, (pixels, *words[:2]), ("pixels", *words_out[:2]), ("features",)),
        graphs.GFDM_FRAMES: Network(Frames(), (features[0],), ("features",), ("frames",)),
        graphs.GIDM_TEXT: Network(inverse.text, (tokens,), ("tokens",), words_out),
        graphs.GIDM: Network(
            Context(), (features, *their_words, state), ("features", *words_out, "proprioception"), reads
        ),
        graphs.DECODER: Network(Decoder(), (inverse.fixed_noise, sigma, *read), ("noisy", "sigma", *reads), ("clean",)),
    }


def write_graph(network: Network, path: Path) -> None:
    """Writes one network as an ONNX graph, weights included."""
    import torch

    for name in ("torch.onnx", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)  # below are remarks on their own work
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        torch.onnx.export(
            network.module.eval(),
            network.given,
            str(path),
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def compare(network: Network, path: Path) -> dict[str, float]:
    """How far a graph's outputs are from torch's, on the example inputs.

    Args:
        network: What torch computes.
        path: Of its graph.

    Returns:
        "difference", the largest of any output, and "relative", the largest beside that output's largest number, or 1.
    """
    import torch

    from defi_models.inference.onnx_engine import open_graph, run_graph

    found = run_graph(open_graph(path, "cpu", 1), *(given.numpy() for given in network.given))
    with torch.no_grad():
        expected = network.module(*network.given)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    outputs = [(f.astype(np.float64), e.numpy().astype(np.float64)) for f, e in zip(found, expected, strict=True)]
    differences = np.array([np.abs(f - e).max() for f, e in outputs])
    sizes = np.array([max(1.0, np.abs(e).max()) for _, e in outputs])
    return {"difference": float(differences.max()), "relative": float((differences / sizes).max())}


def parity(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """Both backends from images to actions, on the same random observations.

    Each infers actions from the features it made itself, as on a robot.

    Args:
        checkpoint: What torch runs.
        folder: Of the graphs that onnxruntime runs.

    Returns:
        "action_difference" and "feature_difference", the largest ones, and the median latencies of both [ms].
    """
    import torch

    from defi_models.inference.onnx_engine import OnnxForward, OnnxInverse
    from defi_models.inference.torch_engine import TorchForward, TorchInverse

    config, rng, threads = checkpoint.config, np.random.default_rng(0), torch.get_num_threads()
    backends: dict[str, tuple[ForwardEngine, InverseEngine]] = {
        "torch": (TorchForward(checkpoint), TorchInverse(checkpoint)),
        "onnx": (OnnxForward(checkpoint, threads=1, folder=folder), OnnxInverse(checkpoint, threads=1, folder=folder)),
    }
    tokens = np.zeros((1, config.text.max_words), dtype=np.int64)
    tokens[0, :3] = [2, 3, 2][: config.text.max_words]
    size, steps = config.gfdm.image_size, config.chunk_steps
    none = np.zeros((1, steps, config.action_width), np.float32), np.zeros((1, steps, 1), np.float32)
    ms: dict[str, dict[str, list[float]]] = {name: {"torch": [], "onnx": []} for name in TIMED}
    differences = []
    torch.set_num_threads(1)
    try:
        for _ in range(TRIALS):
            pixels = rng.uniform(-1, 1, (1, len(config.cameras), 3, size, size)).astype(np.float32)
            state = rng.normal(size=(1, config.proprioception_width)).astype(np.float32)
            made = []
            for name, (forward, inverse) in backends.items():
                words, their_words = forward.words(tokens), inverse.words(tokens)
                features, gfdm_ms = _timed(forward.features, pixels, words)
                actions, gidm_ms = _timed(inverse.actions, features, their_words, state, *none)
                for timed, took in zip(TIMED, (gfdm_ms, gidm_ms, gfdm_ms + gidm_ms), strict=True):
                    ms[timed][name].append(took)
                made.append((actions, features))
            differences.append([np.abs(one - other).max() for one, other in zip(*made, strict=True)])
    finally:
        torch.set_num_threads(threads)
    of_actions, of_features = np.array(differences).max(axis=0).tolist()
    medians = {name: {k: float(np.median(v)) for k, v in rows.items()} for name, rows in ms.items()}
    return {"action_difference": of_actions, "feature_difference": of_features, **medians}


def _timed(call: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return call(*given), (time.perf_counter() - start) * 1e3
