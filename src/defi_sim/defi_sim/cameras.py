"""Cameras of the simulated scene, drawn off screen from a copy of the state so that physics may go on meanwhile."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's compiled modules carry no type information.

from __future__ import annotations

import os
import threading
from types import TracebackType

import mujoco
import numpy as np
import numpy.typing as npt

from defi_models.contract import ConfigError
from defi_sim.style import light_up

CAMERAS = ("static", "wrist")


def open_renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    """A renderer for this thread, without shadows and reflections.

    Raises:
        ConfigError: no off-screen OpenGL is to be had.
    """
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as failure:  # MuJoCo raises whatever its OpenGL loader does
        raise ConfigError(
            f"rendering: got no OpenGL context from MUJOCO_GL={os.environ.get('MUJOCO_GL', '(unset)')} ({failure}), "
            "expected egl or osmesa to work; install libegl1 libegl-mesa0 libgl1 libosmesa6, or set MUJOCO_GL=osmesa"
        ) from failure
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
        renderer.scene.flags[flag] = 0
    return renderer


class CameraRig:
    """Captures the state of a world and draws it from its cameras.

    One thread uses a rig (the one that renders first owns the OpenGL context and must close it); the world may be
    stepped by another thread.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        lights: dict[str, bool],
        lock: threading.Lock,
        cameras: tuple[str, ...],
        image_size: tuple[int, int],
    ):
        unknown = sorted(set(cameras) - set(CAMERAS))
        if unknown:
            raise ConfigError(f"cameras: got {unknown}, expected names among {list(CAMERAS)}")
        self.cameras = cameras
        self.image_size = image_size
        self._model, self._source, self._lights, self._lock = model, data, lights, lock
        self._copy = mujoco.MjData(model)
        self._lit = dict(lights)
        self._renderer: mujoco.Renderer | None = None

    def capture(self) -> int:
        """Copies the state to be drawn; returns its simulation time [ns]."""
        with self._lock:
            mujoco.mj_copyData(self._copy, self._model, self._source)
            self._lit = dict(self._lights)
        return round(self._copy.time * 1e9)

    def render(self, camera: str) -> npt.NDArray[np.uint8]:
        """The captured state from `camera`: uint8 RGB, shape (height, width, 3).

        Raises:
            ConfigError: the rig has no such camera, or there is no OpenGL.
        """
        if camera not in self.cameras:
            raise ConfigError(f"camera: got {camera!r}, expected one of {list(self.cameras)}")
        if self._renderer is None:
            self._renderer = open_renderer(self._model, *self.image_size)
        light_up(self._model, lamp=self._lit["lamp"], led=self._lit["led"])
        self._renderer.update_scene(self._copy, camera)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Gives the OpenGL context back; may be called twice."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> CameraRig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
