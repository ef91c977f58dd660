"""Meta-World's tables (Yu et al. 2019; github.com/Farama-Foundation/Metaworld) driven by targets, and its experts.

A step here is several of Meta-World's own, 12.5 ms each; four unless asked otherwise. Its arm is a point that is moved by up to 1 cm each of its own steps and
does not turn; its gripper is told an effort, -1 opens and 1 closes, which stands here as an opening of 1 and 0.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's compiled modules carry no type information.

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, ConfigError, FloatArray, Proprioception
from defi_sim.cameras import open_renderer
from defi_sim.optional import needed

import mujoco  # isort: skip  after cameras, which chooses the OpenGL it will use

INSTALL = "run `pip install --no-deps -r requirements/metaworld.txt` (without --no-deps it would replace the project's MuJoCo)"
OWN_STEP_NS = NS_PER_S // 80
STEP_NS = 4 * OWN_STEP_NS
MAX_OWN_STEPS = 500  # of an episode, Meta-World's own limit
MOVE_M = 0.01  # of an action of 1
TASKS_A_SEED = 50
# Ours -> Meta-World's. The corner camera stands where visual policies commonly put it, and is upside down.
CAMERAS: Mapping[str, str] = MappingProxyType({"static": "corner2", "wrist": "gripperPOV"})
CORNER_POSITION = (0.75, 0.075, 0.7)
DOWN = (0.0, 0.7071067811865476, 0.0, 0.7071067811865476)  # x, y, z, w; the hand never turns
# MT10: name -> ways to ask for it.
SENTENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "reach-v3": ("reach the goal", "move the gripper to the marked spot"),
        "push-v3": ("push the puck to the goal", "push the puck to the marked spot on the table"),
        "pick-place-v3": ("pick up the puck and bring it to the goal", "lift the puck to the marked spot"),
        "door-open-v3": ("open the door", "pull the door open by its handle"),
        "drawer-open-v3": ("open the drawer", "pull the drawer open by its handle"),
        "drawer-close-v3": ("close the drawer", "push the drawer shut"),
        "button-press-topdown-v3": ("press the button from above", "push the button down"),
        "peg-insert-side-v3": ("insert the peg into the hole", "put the peg sideways into the box"),
        "window-open-v3": ("open the window", "slide the window open by its handle"),
        "window-close-v3": ("close the window", "slide the window shut by its handle"),
    }
)


class MetaWorldTable:
    """One of Meta-World's tasks, with 50 arrangements for each seed. One thread; close it in the one that draws.

    Args:
        name: Name of the task, as in "drawer-open-v3".
        seed: Of the arrangements.
        image_size: (height, width) [px].
        step_ns: Length of a step [ns].

    Attributes:
        steps: How many steps an episode may take.

    Raises:
        ConfigError: Meta-World is not installed, has no such task, or cannot be stepped so.
    """

    def __init__(self, name: str, seed: int, image_size: tuple[int, int] = (128, 128), step_ns: int = STEP_NS) -> None:
        if step_ns < OWN_STEP_NS or step_ns % OWN_STEP_NS:
            raise ConfigError(
                f"step: got {step_ns / 1e6:g} ms, expected a multiple of Meta-World's own of {OWN_STEP_NS / 1e6:g} ms"
            )
        self.step_ns, self._own_steps = step_ns, step_ns // OWN_STEP_NS
        self.steps = MAX_OWN_STEPS // self._own_steps
        package = needed("metaworld", "Meta-World", INSTALL)
        policies = needed("metaworld.policies", "Meta-World", INSTALL)
        _fit_welds(needed("metaworld.sawyer_xyz_env", "Meta-World", INSTALL))
        if name not in policies.ENV_POLICY_MAP:
            raise ConfigError(f"Meta-World: got task {name!r}, expected one of {sorted(policies.ENV_POLICY_MAP)}")
        self.name = name
        benchmark = package.MT1(name, seed=seed)
        self._arrangements = benchmark.train_tasks
        self._environment: Any = benchmark.train_classes[name]()
        self._expert: Any = policies.ENV_POLICY_MAP[name]()
        model = self._environment.model
        model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
        model.camera(CAMERAS["static"]).pos[:] = CORNER_POSITION
        self._image_size = image_size
        self._renderer: mujoco.Renderer | None = None
        self._seen: FloatArray = np.zeros(0)
        self.succeeded, self._taken = False, 0

    def reset(self, arrangement: int) -> None:
        """Puts everything where an arrangement, 0..49, says."""
        self._environment.set_task(self._arrangements[arrangement % TASKS_A_SEED])
        self._seen, _ = self._environment.reset()
        self.succeeded, self._taken = False, 0

    @property
    def over(self) -> bool:
        """Whether it has succeeded or Meta-World's limit of steps is reached."""
        return self.succeeded or self._taken > MAX_OWN_STEPS - self._own_steps

    def images(self) -> dict[str, npt.NDArray[np.uint8]]:
        """What the cameras see, upright: name -> uint8 RGB, (H, W, 3)."""
        if self._renderer is None:
            self._renderer = open_renderer(self._environment.model, *self._image_size)
        images = {}
        for name, theirs in CAMERAS.items():
            self._renderer.update_scene(self._environment.data, theirs)
            image = self._renderer.render()
            images[name] = np.ascontiguousarray(image[::-1, ::-1] if name == "static" else image)
        return images

    def proprioception(self, time_ns: int) -> Proprioception:
        """Where the hand is, in Meta-World's frame."""
        data = self._environment.data
        opening = float(np.clip(self._seen[3], 0.0, 1.0))
        return Proprioception(time_ns, data.qpos[:7], np.concatenate([self._seen[:3], DOWN]), opening)

    def command(self) -> FloatArray:
        """The point that the hand is led by, shape (3,) [m]."""
        return np.array(self._environment.data.mocap_pos[0])

    def step(self, target: FloatArray, gripper: float, before: FloatArray | None = None) -> None:
        """Leads the hand to a target, shape (7,), of which the position counts; a `StepEnvironment`."""
        for left in range(self._own_steps, 0, -1):
            move = (target[:3] - self.command()) / left / MOVE_M
            self._advance(np.append(move, 1.0 - 2.0 * gripper))

    def demonstrate(self, rng: np.random.Generator, noise: float) -> tuple[FloatArray, float]:
        """Lets the expert do one step, disturbed.

        Args:
            rng: Draws the disturbance.
            noise: Standard deviation of the disturbance, 1 being the largest action.

        Returns:
            The target, shape (7,), and the opening that the expert wanted, undisturbed.
        """
        target, efforts = self.command(), []
        for _ in range(self._own_steps):
            wanted = np.clip(self._expert.get_action(self._seen), -1.0, 1.0)
            target = target + wanted[:3] * MOVE_M
            efforts.append(float(wanted[3]))
            self._advance(wanted + np.append(noise * rng.standard_normal(3), 0.0))
        return np.concatenate([target, DOWN]), (1.0 - float(np.mean(efforts))) / 2.0

    def _advance(self, action: FloatArray) -> None:
        self._seen, _, _, _, told = self._environment.step(np.clip(action, -1.0, 1.0).astype(np.float32))
        self.succeeded = self.succeeded or bool(told["success"])
        self._taken += 1

    def close(self) -> None:
        """Gives the OpenGL context back; may be called twice."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _fit_welds(module: Any) -> None:
    """Lets Meta-World 3 set up its hand under MuJoCo 4, whose constraints have 12 numbers where MuJoCo 3 had 11."""

    def reset_mocap_welds(environment: Any) -> None:
        model = environment.model
        for row in np.flatnonzero(model.eq_type == mujoco.mjtEq.mjEQ_WELD):
            model.eq_data[row, :11] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0]

    module.SawyerMocapBase.reset_mocap_welds = reset_mocap_welds
