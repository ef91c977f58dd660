"""The DeFI model as a `Policy`, run by torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from defi_models.checkpoint import FORWARD, INVERSE, Checkpoint
from defi_models.contract import (
    ActionChunk,
    CheckpointError,
    ContractError,
    Imagination,
    Observation,
    PolicySpec,
    Proprioception,
)
from defi_models.models.defi import ForwardHalf, InverseHalf, InverseInputs
from defi_models.transforms import ActionTransform, ImageTransform, ProprioceptionTransform

M = TypeVar("M", bound=nn.Module)


class TorchPolicy:
    """Loads one or both halves of a checkpoint. Call it from one thread at a time.

    Args:
        checkpoint: A policy's folder.
        device: Where to run.
        half: "both", "imagine" or "act".
        threads: CPU threads of this process; 0 leaves torch's choice.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", half: str = "both", threads: int = 0) -> None:
        if checkpoint.statistics is None:
            raise CheckpointError(f"checkpoint {checkpoint.folder} has no normalisation statistics")
        if threads:
            torch.set_num_threads(threads)
        self._spec = checkpoint.spec()
        self._device = torch.device(device)
        config = checkpoint.config
        self._images = ImageTransform(config.gfdm.image_size)
        self._actions = ActionTransform(checkpoint.statistics)
        self._proprioception = ProprioceptionTransform(checkpoint.statistics)
        self._forward: ForwardHalf | None = None
        self._inverse: InverseHalf | None = None
        if half in ("both", "imagine"):
            self._forward = load_half(ForwardHalf(config), checkpoint, FORWARD).to(self._device)
        if half in ("both", "act"):
            self._inverse = load_half(InverseHalf(config, self._spec.feature_shape[-1]), checkpoint, INVERSE).to(
                self._device
            )
        # One draw of noise, kept: the same observation gives the same chunk.
        shape = (1, config.chunk_steps, config.action_width)
        self._noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self._device)
        self._words = lru_cache(maxsize=32)(self._encode_words)

    @property
    def spec(self) -> PolicySpec:
        """What this policy needs and gives."""
        return self._spec

    @torch.inference_mode()
    def imagine(self, observation: Observation) -> Imagination:
        """The GFDM's features for one observation.

        Raises:
            ContractError: a camera is missing, or the instruction is too long.
        """
        forward = self._need(self._forward, "imagine")
        missing = [name for name in self._spec.cameras if name not in observation.images]
        if missing:
            raise ContractError(
                f"observation: no image of {missing}; got {sorted(observation.images)}, "
                f"expected {list(self._spec.cameras)}"
            )
        start = time.perf_counter()
        pixels = np.stack([self._images.encode(observation.images[name]) for name in self._spec.cameras])
        words, mask = self._words(observation.instruction)
        features = forward(torch.from_numpy(pixels)[None].to(self._device), words, mask)[0].float().cpu().numpy()
        return Imagination(
            time_ns=observation.time_ns,
            instruction=observation.instruction,
            policy=self._spec.fingerprint,
            features=features,
            inference_ms=(time.perf_counter() - start) * 1e3,
        )

    @torch.inference_mode()
    def act(self, imagination: Imagination, proprioception: Proprioception) -> ActionChunk:
        """The chunk that would make the imagination come true.

        Raises:
            ContractError: the imagination is another checkpoint's, or the network's answer is not finite.
        """
        inverse = self._need(self._inverse, "act")
        if imagination.policy != self._spec.fingerprint:
            raise ContractError(
                f"imagination: made by checkpoint {imagination.policy}, expected {self._spec.fingerprint}; "
                "both halves must load the same checkpoint"
            )
        start = time.perf_counter()
        state = self._proprioception.encode(proprioception.ee_pose, proprioception.gripper)
        inputs = InverseInputs(
            features=torch.from_numpy(imagination.features)[None].to(self._device),
            words=inverse.text.tokens([imagination.instruction]).to(self._device),
            proprioception=torch.from_numpy(state)[None].to(self._device),
        )
        actions = inverse(inputs, self._noise)[0].cpu().numpy()
        targets, gripper = self._actions.decode(actions, proprioception.ee_pose)
        return ActionChunk(
            start_ns=imagination.time_ns,
            step_ns=self._spec.step_ns,
            space=self._spec.space,
            targets=targets,
            gripper=gripper,
            arm=self._spec.arm,
            instruction=imagination.instruction,
            imagination_ms=imagination.inference_ms,
            inference_ms=(time.perf_counter() - start) * 1e3,
        )

    @torch.inference_mode()
    def watch(self, imagination: Imagination) -> Mapping[str, npt.NDArray[np.uint8]]:
        """The imagined frames of every camera, (frames, size, size, 3)."""
        gfdm = self._need(self._forward, "watch").gfdm
        pixels = gfdm.frames_from_features(torch.from_numpy(imagination.features).to(self._device)).cpu().numpy()
        return dict(zip(self._spec.cameras, ImageTransform.decode(pixels), strict=True))

    def _encode_words(self, instruction: str) -> tuple[Tensor, Tensor]:
        text = self._need(self._forward, "imagine").gfdm.text
        return text(text.tokens([instruction]).to(self._device))

    def _need(self, module: M | None, call: str) -> M:
        if module is None:
            raise ContractError(f"{call}: this process loaded only the other half of {self._spec.name}")
        return module


def load_half(module: M, checkpoint: Checkpoint, file: str) -> M:
    """`module` with the weights of one file, ready for inference.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; the first of them are named.
    """
    found = {key: tensor.float() for key, tensor in load_file(checkpoint.weights(file)).items()}
    expected = module.state_dict()
    wrong = [
        f"{key}: {tuple(found[key].shape) if key in found else 'missing'} instead of "
        f"{tuple(expected[key].shape) if key in expected else 'nothing'}"
        for key in sorted(set(found) | set(expected))
        if key not in found or key not in expected or found[key].shape != expected[key].shape
    ]
    if wrong:
        raise CheckpointError(f"checkpoint {checkpoint.folder}, {file}: {len(wrong)} tensors differ: {wrong[:5]}")
    module.load_state_dict(found)
    return module.eval()
