"""The networks run by onnxruntime, from the graphs that `defi export` wrote. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from defi_models.checkpoint import Checkpoint
from defi_models.contract import CheckpointError
from defi_models.inference.engine import Float32Array, Words
from defi_models.inference.graphs import DECODER, GFDM, GFDM_FRAMES, GFDM_TEXT, GIDM, GIDM_TEXT, NOISE, exported
from defi_models.sampling import Promise, ddim

PROVIDERS = {  # the first one is what is asked for; what it cannot run goes to the next
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}


class OnnxForward:
    """The GFDM in onnxruntime; see `ForwardEngine`.

    Args:
        checkpoint: A model's folder, exported.
        device: "cpu", "cuda", "cuda:1", "tensorrt", ...
        threads: CPU threads of one call; 0 leaves onnxruntime's choice.
        folder: Of graphs that are just being made, in place of the checkpoint's.

    Raises:
        CheckpointError: it was not exported, or the device is not to be had.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str = "cpu", threads: int = 0, folder: Path | None = None
    ) -> None:
        folder = folder or exported(checkpoint)
        self._text = open_graph(folder / GFDM_TEXT, device, threads)
        self._gfdm = open_graph(folder / GFDM, device, threads)
        self._frames = open_graph(folder / GFDM_FRAMES, device, threads)

    def words(self, tokens: npt.NDArray[np.int64]) -> Words:
        """See `ForwardEngine.words`."""
        return Words(*run_graph(self._text, tokens))

    def features(self, pixels: Float32Array, words: Words) -> Float32Array:
        """See `ForwardEngine.features`."""
        return run_graph(self._gfdm, pixels, words.vectors, words.mask)[0][0]

    def frames(self, features: Float32Array) -> Float32Array:
        """See `ForwardEngine.frames`."""
        return run_graph(self._frames, features)[0]


class OnnxInverse:
    """The inverse half in onnxruntime; see `InverseEngine` and `OnnxForward`."""

    def __init__(
        self, checkpoint: Checkpoint, device: str = "cpu", threads: int = 0, folder: Path | None = None
    ) -> None:
        folder = folder or exported(checkpoint)
        self._text = open_graph(folder / GIDM_TEXT, device, threads)
        self._gidm = open_graph(folder / GIDM, device, threads)
        self._decoder = open_graph(folder / DECODER, device, threads)
        self._noise = np.load(folder / NOISE)
        self._config = checkpoint.config.decoder

    def words(self, tokens: npt.NDArray[np.int64]) -> Words:
        """See `InverseEngine.words`."""
        return Words(*run_graph(self._text, tokens))

    def actions(
        self,
        features: Float32Array,
        words: Words,
        proprioception: Float32Array,
        promised: Float32Array,
        weight: Float32Array,
    ) -> Float32Array:
        """See `InverseEngine.actions`."""
        context = run_graph(self._gidm, features[None], *words, proprioception)

        def denoise(noisy: Float32Array, sigma: float) -> Float32Array:
            return run_graph(self._decoder, noisy, np.array([sigma], np.float32), *context)[0]

        return ddim(denoise, self._noise, self._config, Promise(promised, weight))[0]


def open_graph(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    """A graph ready to run on a device; see `OnnxForward`."""
    kind, _, number = device.partition(":")
    wanted = PROVIDERS.get(kind, ())
    available = onnxruntime.get_available_providers()
    if not wanted or wanted[0] not in available or (number and not number.isdigit()):
        raise CheckpointError(
            f"policy.device: got {device!r}, expected one of {[k for k, p in PROVIDERS.items() if p[0] in available]} "
            "on this machine; CUDA and TensorRT need the package onnxruntime-gpu in place of onnxruntime"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; below are remarks on how a graph is optimised
    # A thread that spins while it waits takes a core from the arm bridge.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [(name, {} if name.startswith("CPU") else {"device_id": number or "0"}) for name in wanted]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path}: onnxruntime cannot open it on {device!r} ({error})") from error
    if wanted[0] not in session.get_providers():  # it only warns of it, and goes on with what there is
        raise CheckpointError(
            f"policy.device: got {device!r}, but onnxruntime could start only {session.get_providers()}, expected "
            f"{wanted[0]}; its libraries (CUDA, cuDNN, TensorRT) are missing or of other versions than onnxruntime-gpu's"
        )
    session.disable_fallback()  # or a call that fails on the GPU would make all later ones run on the CPU
    return session


def run_graph(session: onnxruntime.InferenceSession, *arrays: npt.NDArray) -> list[npt.NDArray]:
    """The outputs of a graph for `arrays`, which stand in the order of its inputs."""
    found = session.run(None, dict(zip((given.name for given in session.get_inputs()), arrays, strict=True)))
    return [np.asarray(one) for one in found]
