"""The networks run by torch, eagerly or compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor, nn

from defi_models.checkpoint import FORWARD, INVERSE, Checkpoint
from defi_models.config import SvdConfig
from defi_models.contract import CheckpointError
from defi_models.inference.engine import Float32Array, Words
from defi_models.models.defi import ForwardHalf, InverseHalf
from defi_models.sampling import Promise

M = TypeVar("M", bound=nn.Module)
F = TypeVar("F", bound=Callable)


class TorchForward:
    """The GFDM in torch; see `ForwardEngine`.

    Args:
        checkpoint: A model's folder.
        device: Where to run.
        compiled: Through `torch.compile`, which takes minutes once and needs a C++ compiler on a CPU; see `compile_once`.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", compiled: bool = False) -> None:
        self._device = torch.device(device)
        half = load_half(lambda: ForwardHalf(checkpoint.config), checkpoint, FORWARD)
        if self._device.type == "cuda" and isinstance(checkpoint.config.gfdm, SvdConfig):
            half.gfdm.to_half_precision()  # as the paper runs it
        self._half = half.to(self._device)
        self._run = compile_once(self._half) if compiled else self._half

    @torch.inference_mode()
    def words(self, tokens: npt.NDArray[np.int64]) -> Words:
        """See `ForwardEngine.words`."""
        return _words(self._half.gfdm.text, tokens, self._device)

    @torch.inference_mode()
    def features(self, pixels: Float32Array, words: Words) -> Float32Array:
        """See `ForwardEngine.features`."""
        return self._run(*_tensors(self._device, pixels, words.vectors, words.mask))[0].float().cpu().numpy()

    @torch.inference_mode()
    def frames(self, features: Float32Array) -> Float32Array | None:
        """See `ForwardEngine.frames`."""
        found = self._half.gfdm.frames_from_features(*_tensors(self._device, features))
        return None if found is None else found.float().cpu().numpy()


class TorchInverse:
    """The inverse half in torch; see `InverseEngine` and `TorchForward`."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", compiled: bool = False) -> None:
        self._device = torch.device(device)
        width = checkpoint.config.gfdm.feature_width
        self._half = load_half(lambda: InverseHalf(checkpoint.config, width), checkpoint, INVERSE).to(self._device)
        self._noise = self._half.fixed_noise.to(self._device)
        if compiled:  # each once: compiled as one, the sampling loop would be unrolled
            self._half.context = compile_once(self._half.context)
            self._half.denoiser.denoise = compile_once(self._half.denoiser.denoise)

    @torch.inference_mode()
    def words(self, tokens: npt.NDArray[np.int64]) -> Words:
        """See `InverseEngine.words`."""
        return _words(self._half.text, tokens, self._device)

    @torch.inference_mode()
    def actions(
        self,
        features: Float32Array,
        words: Words,
        proprioception: Float32Array,
        promised: Float32Array,
        weight: Float32Array,
    ) -> Float32Array:
        """See `InverseEngine.actions`."""
        vectors, mask, pooled = _tensors(self._device, *words)
        seen, state, actions, weights = _tensors(self._device, features[None], proprioception, promised, weight)
        found = self._half.act(seen, vectors, mask, pooled, state, self._noise, Promise(actions, weights))
        return found[0].float().cpu().numpy()


def compile_once(function: F) -> F:
    """`function` compiled for the shapes of its first call; on CUDA replayed as a CUDA graph, for launches dominate there.

    A graph's results are overwritten by its next replay. Callers here use them up first: features and actions are copied
    to the CPU, context and denoised actions go through an operation outside of the graph.
    """
    return cast(F, torch.compile(function, dynamic=False, mode="reduce-overhead"))


def _words(encoder: nn.Module, tokens: npt.NDArray[np.int64], device: torch.device) -> Words:
    found = encoder(torch.from_numpy(tokens).to(device))
    return Words(found.words.float().cpu().numpy(), found.mask.cpu().numpy(), found.pooled.float().cpu().numpy())


def _tensors(device: torch.device, *arrays: npt.NDArray) -> list[Tensor]:
    return [torch.from_numpy(array).to(device) for array in arrays]


def load_half(make: Callable[[], M], checkpoint: Checkpoint, *files: str) -> M:
    """The module that `make` makes with the weights of `files` in float32, ready for inference.

    It is made without values and takes the tensors as they are read: memory holds the weights once.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; the first of them are named.
    """
    with torch.device("meta"):
        module = make()
    found: dict[str, Tensor] = {}
    for file in files:
        with safe_open(checkpoint.weights(file), framework="pt") as opened:
            found |= {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118  it is no dictionary
    expected = module.state_dict()
    wrong = [
        f"{key}: {tuple(found[key].shape) if key in found else 'missing'} instead of "
        f"{tuple(expected[key].shape) if key in expected else 'nothing'}"
        for key in sorted(set(found) | set(expected))
        if key not in found or key not in expected or found[key].shape != expected[key].shape
    ]
    if wrong:
        names = " and ".join(files)
        raise CheckpointError(f"checkpoint {checkpoint.folder}, {names}: {len(wrong)} tensors differ: {wrong[:5]}")
    module.load_state_dict(found, assign=True)
    return module.eval()
