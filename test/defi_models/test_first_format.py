"""A policy saved before there were other sizes than nano stays the policy it was.

`data/first_format` was written by commit 1c2f32c with random weights: its configuration lacks every field that came
later. `expected.npz` is what that commit computed with it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from defi_models.checkpoint import FILE, read_checkpoint
from defi_models.config import ADDED
from defi_models.contract import Observation, Proprioception
from defi_models.inference.load import load_policy, resolve

FOLDER = Path(__file__).parent / "data" / "first_format"


def picture(phase: int) -> np.ndarray:
    """An image of waves, uint8 (120, 160, 3)."""
    y, x = np.mgrid[0:120, 0:160]
    red, green = np.sin(x / (7 + phase) + y / 11), np.cos(y / (9 + phase))
    return np.stack([red * 127 + 128, green * 127 + 128, (x + y) % 256], axis=-1).astype(np.uint8)


def test_it_gives_what_it_gave() -> None:
    expected = np.load(FOLDER / "expected.npz")
    policy = load_policy(str(FOLDER), backend="torch")
    images = {name: picture(phase) for phase, name in enumerate(policy.spec.cameras)}
    imagination = policy.imagine(Observation(5, images, "open the drawer"))
    np.testing.assert_allclose(imagination.features, expected["features"], atol=1e-5)
    state = Proprioception(5, np.zeros(7), np.array([0.45, 0.02, 0.3, 1.0, 0.0, 0.0, 0.0]), 1.0)
    chunk = policy.act(imagination, state)
    np.testing.assert_allclose(chunk.targets, expected["targets"], atol=1e-5)
    np.testing.assert_allclose(chunk.gripper, expected["gripper"], atol=1e-5)


def test_it_lacks_what_came_later() -> None:
    """Else the test above would not show that defaults keep an old model as it was."""
    config = json.loads((FOLDER / FILE).read_text())["config"]
    parts = {"DefiConfig": config, **{f"{name.title()}Config": config[name] for name in ("gfdm", "gidm", "decoder")}}
    assert set(parts) == set(ADDED)
    for kind, part in parts.items():
        assert not ADDED[kind] & set(part), kind


def test_the_shipped_nano_can_be_read() -> None:
    checkpoint = resolve("nano")
    assert read_checkpoint(checkpoint.folder).config == checkpoint.config
    assert checkpoint.config.feature_shape == checkpoint.spec().feature_shape
