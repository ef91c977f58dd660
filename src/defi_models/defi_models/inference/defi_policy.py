"""The DeFI model as a `Policy`: what surrounds the networks, the same for every engine that runs them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from defi_models.checkpoint import Checkpoint
from defi_models.contract import (
    ActionChunk,
    CheckpointError,
    ContractError,
    Imagination,
    Observation,
    PolicySpec,
    Promised,
    Proprioception,
)
from defi_models.inference.engine import Float32Array, ForwardEngine, InverseEngine
from defi_models.transforms import ActionTransform, ImageTransform, ProprioceptionTransform

E = TypeVar("E")


class DefiPolicy:
    """A checkpoint and what runs its halves. Call it from one thread at a time.

    Args:
        checkpoint: A policy's folder.
        forward: Runs the GFDM; None in a process that only acts.
        inverse: Runs the inverse half; None in a process that only imagines.
        feature_shape: Of what the one half hands to the other; that of the model's features if absent.

    Raises:
        CheckpointError: the checkpoint has no normalisation statistics.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        forward: ForwardEngine | None,
        inverse: InverseEngine | None,
        feature_shape: tuple[int, ...] | None = None,
    ) -> None:
        if checkpoint.statistics is None:
            raise CheckpointError(f"checkpoint {checkpoint.folder} has no normalisation statistics")
        spec = checkpoint.spec()
        self._spec = spec if feature_shape is None else replace(spec, feature_shape=feature_shape)
        self._config = checkpoint.config
        self._images = ImageTransform(checkpoint.config.gfdm.image_size)
        self._actions = ActionTransform(checkpoint.statistics, checkpoint.config.action_encoding)
        self._proprioception = ProprioceptionTransform(checkpoint.statistics, checkpoint.config.state_in_joints)
        self._forward, self._inverse = forward, inverse
        self._tokenizer = checkpoint.tokenizer()
        # Words are encoded once an instruction.
        self._forward_words = lru_cache(maxsize=32)(
            lambda text: self._need(forward, "imagine").words(self._tokens(text))
        )
        self._inverse_words = lru_cache(maxsize=32)(lambda text: self._need(inverse, "act").words(self._tokens(text)))

    @property
    def spec(self) -> PolicySpec:
        """What this policy needs and gives."""
        return self._spec

    def imagine(self, observation: Observation) -> Imagination:
        """The GFDM's features for one observation.

        Raises:
            ContractError: a camera is missing, its image is empty, or the instruction is too long.
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
        features = forward.features(pixels[None], self._forward_words(observation.instruction))
        return Imagination(
            time_ns=observation.time_ns,
            instruction=observation.instruction,
            policy=self._spec.fingerprint,
            features=features,
            inference_ms=(time.perf_counter() - start) * 1e3,
        )

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        """The chunk that would make the imagination come true, continuing what was promised.

        Raises:
            ContractError: the imagination is another checkpoint's or not of its shape, what was promised does not lie on
                its times, or the networks made numbers that are not finite.
        """
        inverse = self._need(self._inverse, "act")
        if imagination.policy != self._spec.fingerprint:
            raise ContractError(
                f"imagination: made by checkpoint {imagination.policy}, expected {self._spec.fingerprint}; "
                "both halves must load the same checkpoint"
            )
        features = imagination.features
        if (features.shape, features.dtype) != (self._spec.feature_shape, np.float32):
            raise ContractError(
                f"imagination: got features of shape {features.shape}, {features.dtype}, expected "
                f"{self._spec.feature_shape}, float32"
            )
        start = time.perf_counter()
        actions = inverse.actions(
            features,
            self._inverse_words(imagination.instruction),
            self._state(proprioception),
            *self._promise(imagination, proprioception, promised),
        )
        if not np.isfinite(actions).all():  # what is not finite in features, which are many more, ends up here
            cause = "" if np.isfinite(features).all() else ", because the features it was given are not finite"
            raise ContractError(
                f"actions: got numbers that are not finite from the networks, expected finite ones{cause}"
            )
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

    def watch(self, imagination: Imagination) -> Mapping[str, npt.NDArray[np.uint8]]:
        """The imagined frames of every camera, (frames, size, size, 3); none where features do not tell them."""
        frames = self._need(self._forward, "watch").frames(imagination.features)
        if frames is None:
            return {}
        return dict(zip(self._spec.cameras, ImageTransform.decode(frames), strict=True))

    def _tokens(self, instruction: str) -> npt.NDArray[np.int64]:
        return self._tokenizer([instruction])

    def _state(self, proprioception: Proprioception) -> Float32Array:
        """Normalised arm state, (1, proprioception_width); no number of it where the model does without."""
        state = self._proprioception.encode(proprioception.ee_pose, proprioception.positions, proprioception.gripper)
        return state[None, : self._config.proprioception_width]

    def _promise(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None
    ) -> tuple[Float32Array, Float32Array]:
        """Normalised actions and their weights, (1, steps, action width) and (1, steps, 1)."""
        steps = self._spec.chunk_steps
        actions = np.zeros((1, steps, self._config.action_width), dtype=np.float32)
        weight = np.zeros((1, steps, 1), dtype=np.float32)
        if promised is None:
            return actions, weight
        chunk, count = promised.chunk, len(promised.chunk.targets)
        due = (chunk.start_ns, chunk.step_ns, chunk.space)
        if due != (imagination.time_ns, self._spec.step_ns, self._spec.space) or count > steps:
            raise ContractError(
                f"promised: got {count} targets in {chunk.space} from {chunk.start_ns} ns every "
                f"{chunk.step_ns} ns, expected at most {steps} in {self._spec.space} from {imagination.time_ns} ns "
                f"every {self._spec.step_ns} ns, as the chunk that is asked for"
            )
        actions[0, :count] = self._actions.encode(chunk.targets, chunk.gripper, proprioception.ee_pose)
        weight[0, :count, 0] = promised.weights
        return actions, weight

    def _need(self, engine: E | None, call: str) -> E:
        if engine is None:
            raise ContractError(f"{call}: this process loaded only the other half of {self._spec.name}")
        return engine
