"""A policy for tests: features tell which image it saw, targets tell where the arm was."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from defi_models.contract import ActionChunk, Imagination, Observation, PolicySpec, Promised, Proprioception

SPEC = PolicySpec(
    name="fake",
    fingerprint="fake-1",
    arm="franka_panda",
    cameras=("static", "wrist"),
    image_size=(64, 64),
    space="joint_positions",
    chunk_steps=4,
    step_ns=100_000_000,
    feature_shape=(2, 3),
)


class FakePolicy:
    """Implements `contract.Policy`; notes what it was given."""

    def __init__(self, spec: PolicySpec = SPEC, delay_s: float = 0.0) -> None:
        self.spec = spec
        self.delay_s = delay_s
        self.observations: list[Observation] = []
        self.imaginations: list[Imagination] = []
        self.known: list[Proprioception] = []
        self.promised: list[Promised | None] = []
        self.watched = 0
        self.imagine_raises: Exception | None = None

    def imagine(self, observation: Observation) -> Imagination:
        if self.imagine_raises is not None:
            raise self.imagine_raises
        time.sleep(self.delay_s)
        self.observations.append(observation)
        features = np.full(self.spec.feature_shape, float(observation.images["static"][0, 0, 0]), dtype=np.float32)
        return Imagination(observation.time_ns, observation.instruction, self.spec.fingerprint, features, 1.5)

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        self.promised.append(promised)
        self.imaginations.append(imagination)
        self.known.append(proprioception)
        targets = np.tile(proprioception.positions, (self.spec.chunk_steps, 1))
        return ActionChunk(
            imagination.time_ns,
            self.spec.step_ns,
            "joint_positions",
            targets,
            np.ones(self.spec.chunk_steps),
            "franka_panda",
            imagination.instruction,
            imagination.inference_ms,
            2.5,
        )

    def watch(self, imagination: Imagination) -> dict[str, Any]:
        self.watched += 1
        return {"static": np.zeros((2, 8, 8, 3), dtype=np.uint8)}


class Shelf:
    """Stands in for `defi_models.inference.load`: the policies that can be loaded, by path."""

    def __init__(self) -> None:
        self.policies: dict[str, FakePolicy] = {"nano": FakePolicy()}
        self.loaded: list[tuple[str, str]] = []

    def add(self, path: str, **changes: Any) -> FakePolicy:
        """A policy whose spec differs from the standard one."""
        self.policies[path] = FakePolicy(dataclasses.replace(SPEC, **changes))
        return self.policies[path]

    def read_spec(self, path: str) -> PolicySpec:
        from defi_models.contract import CheckpointError

        if path not in self.policies:
            raise CheckpointError(f"no policy {path!r}. Shipped: {sorted(self.policies)}")
        return self.policies[path].spec

    def load_policy(
        self, path: str, *, backend: str = "torch", device: str = "cpu", half: str = "both", threads: int = 0
    ) -> FakePolicy:
        self.loaded.append((path, half))
        return self.policies[path]
