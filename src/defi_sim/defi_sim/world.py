"""The simulated robot and table in motion: physics, servos, lamp and LED logic, seeded resets. No ROS, no wall clock."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's compiled modules carry no type information.

from __future__ import annotations

import threading
from types import TracebackType

import mujoco
import numpy as np
import numpy.typing as npt

from defi_models.contract import ContractError, FloatArray, frozen_array
from defi_ros.control.kinematics import Kinematics
from defi_sim import scene as drawn
from defi_sim.arm import FINGER_TRAVEL_M
from defi_sim.cameras import CAMERAS, CameraRig
from defi_sim.description import ARM_JOINTS, FINGER_JOINTS, TIP_FRAME, robot_description
from defi_sim.embodiment import PANDA, paint
from defi_sim.scene import BLOCKS, BUTTON_TRAVEL, DESK_FRONT_X, FIXTURE_JOINTS
from defi_sim.starts import Start, at_start, draw_start, draw_start_for
from defi_sim.state import CONTACT_PARTNERS, SceneState
from defi_sim.style import SceneStyle, light_up
from defi_sim.tasks import task_named

# The posture the arm leans to [rad]: tool pointing down above the middle of the table.
REST_POSTURE = np.array([0.0, -0.1, 0.0, -2.2, 0.0, 2.1, 0.785])
LOGIC_STEPS = 5  # lamp and LED are looked at every 10 ms; a press takes longer
PRESSED_SHARE, RELEASED_SHARE = 0.45, 0.2  # of the button's travel
SWITCH_HYSTERESIS_RAD = 0.1
SETTLE_STEPS = 150  # 0.3 s: blocks come to rest, the gripper closes on a held block


class World:
    """One simulated scene. Physics, commands and readings belong to one thread; a `CameraRig` may live in another."""

    TIMESTEP_S = drawn.TIMESTEP_S

    def __init__(
        self,
        cameras: tuple[str, ...] = CAMERAS,
        image_size: tuple[int, int] = (128, 128),
        seed: int = 0,
        embodiment: str = PANDA,
        split: str = "train",
    ):
        """Builds the scene and resets it.

        Args:
            cameras: Cameras of `render`, names of `defi_sim.cameras.CAMERAS`.
            image_size: (height, width) [px].
            seed: Seed of the first reset.
            embodiment: What is seen in place of the arm, a name of `defi_sim.embodiment.EMBODIMENTS`; physics and
                readings are the Panda's.
            split: Whose surroundings are drawn at a reset that names none, a name of `defi_sim.style.SPLITS`.

        Raises:
            ConfigError: there is no such embodiment or split.
        """
        self._split = split
        self.cameras, self.image_size, self._embodiment = cameras, image_size, embodiment
        self._model = mujoco.MjModel.from_xml_string(drawn.build_scene(embodiment))
        self._data = mujoco.MjData(self._model)
        self._lock = threading.Lock()
        self._lights = {"lamp": False, "led": False}
        self._button_down = False
        self._kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME)
        self._find_addresses()
        self._rig = self.camera_rig()
        self.reset(seed)

    def _find_addresses(self) -> None:
        model = self._model
        self._arm = np.array([model.joint(name).qposadr[0] for name in ARM_JOINTS])
        self._arm_dofs = np.array([model.joint(name).dofadr[0] for name in ARM_JOINTS])
        self._fingers = np.array([model.joint(name).qposadr[0] for name in FINGER_JOINTS])
        self._fixtures = {name: int(model.joint(name).qposadr[0]) for name in FIXTURE_JOINTS}
        self._blocks = {name: int(model.joint(name).qposadr[0]) for name in BLOCKS}
        self._block_dofs = {name: int(model.joint(name).dofadr[0]) for name in BLOCKS}
        self._tip = model.site(TIP_FRAME).id
        self._desk = model.body("desk").id
        self._partner = np.array([self._partner_of(geom) for geom in range(model.ngeom)])

    def _partner_of(self, geom: int) -> int:
        """Which of `CONTACT_PARTNERS` a geom belongs to; -1 for none."""
        model = self._model
        body = model.body(model.geom(geom).bodyid[0])
        if body.name in (*BLOCKS, "drawer"):
            return CONTACT_PARTNERS.index(body.name)
        if model.geom(geom).name == "table":
            return CONTACT_PARTNERS.index("table")
        if body.name.startswith("panda_"):
            return CONTACT_PARTNERS.index("robot")
        return CONTACT_PARTNERS.index("desk") if body.name in ("desk", "door", "switch", "button") else -1

    # Resetting ------------------------------------------------------------------------------------------------------

    def reset(self, seed: int, start: SceneState | None = None, task: str = "", split: str = "") -> None:
        """Draws a new scene from `seed`: the same seed gives the same state and the same images.

        Args:
            seed: Chooses colours, light, fixtures, blocks and the arm's pose.
            start: Where fixtures and blocks shall be instead of where the seed puts them.
            task: Name of a task that shall be feasible; empty for any scene.
            split: Whose surroundings are drawn, a name of `defi_sim.style.SPLITS`; the world's own if empty.

        Raises:
            TaskError: there is no such task.
            ConfigError: there is no such split.
        """
        rng = np.random.default_rng(seed)
        split = split or self._split
        style = SceneStyle.draw(rng, split)
        begin = draw_start(rng, split) if not task else draw_start_for(task_named(task), rng, split)
        with self._lock:
            paint(self._model, self._embodiment, np.random.default_rng([seed, 1]))
        self.begin(begin if start is None else at_start(start, begin), style)

    def begin(self, start: Start, style: SceneStyle) -> None:
        """Puts everything where `start` says, lets it come to rest and sets the time to 0."""
        solution = self._kinematics.inverse(start.ee_pose, REST_POSTURE, REST_POSTURE, posture_gain=0.2)
        if not solution.reached:
            raise ContractError(f"start: {solution.reason}; expected a pose above the table")
        with self._lock:
            model, data = self._model, self._data
            mujoco.mj_resetData(model, data)
            style.apply(model)
            model.body_pos[self._desk] = (DESK_FRONT_X + start.desk[0], start.desk[1], 0.0)
            self._desk_offset = np.array(start.desk, dtype=np.float64)
            self._place(start, solution.q)
            for _ in range(SETTLE_STEPS):
                mujoco.mj_step(model, data)
                if start.held is not None and data.time < 0.8 * SETTLE_STEPS * self.TIMESTEP_S:
                    self._pin(start.held, start.blocks[start.held])
            data.time = 0.0
            mujoco.mj_forward(model, data)
            self._lights.update(lamp=start.switch > 0, led=start.led)
            self._button_down = False
            light_up(model, lamp=self._lights["lamp"], led=self._lights["led"])

    def _place(self, start: Start, joints: FloatArray) -> None:
        data = self._data
        data.qpos[self._arm] = joints
        data.ctrl[:7] = joints
        finger = FINGER_TRAVEL_M * (start.gripper if start.held is None else 0.9)
        data.qpos[self._fingers] = finger
        data.ctrl[7] = 0.0 if start.held is not None else finger
        for name in ("drawer", "door", "switch"):
            data.qpos[self._fixtures[name]] = getattr(start, name)
        for name, pose in start.blocks.items():
            self._pin(name, pose)

    def _pin(self, block: str, pose: FloatArray) -> None:
        address, dof = self._blocks[block], self._block_dofs[block]
        self._data.qpos[address : address + 7] = (*pose[:3], pose[6], pose[3], pose[4], pose[5])
        self._data.qvel[dof : dof + 6] = 0.0

    # Moving ---------------------------------------------------------------------------------------------------------

    def step(self, steps: int = 1) -> None:
        """Advances physics by `steps` of `TIMESTEP_S`, and the lamp and the LED with it."""
        while steps > 0:
            now = min(steps, LOGIC_STEPS)
            with self._lock:
                mujoco.mj_step(self._model, self._data, now)
                self._switch_lights()
            steps -= now

    def _switch_lights(self) -> None:
        angle = self._data.qpos[self._fixtures["switch"]]
        if abs(angle) > SWITCH_HYSTERESIS_RAD:
            self._lights["lamp"] = bool(angle > 0)
        depth = self._data.qpos[self._fixtures["button"]] / BUTTON_TRAVEL
        if not self._button_down and depth > PRESSED_SHARE:
            self._button_down = True
            self._lights["led"] = not self._lights["led"]
        elif self._button_down and depth < RELEASED_SHARE:
            self._button_down = False

    def command_joints(self, q: npt.ArrayLike) -> None:
        """Sets the set points of the arm's position servos, shape (7,) [rad]; they hold until the next command."""
        self._data.ctrl[:7] = frozen_array("joint command", q, (7,))

    def command_gripper(self, opening: float) -> None:
        """Sets where the fingers go, 0 closed .. 1 open (0.08 m between them)."""
        self._data.ctrl[7] = FINGER_TRAVEL_M * min(max(float(opening), 0.0), 1.0)

    # Reading --------------------------------------------------------------------------------------------------------

    @property
    def time_ns(self) -> int:
        """Simulation time since the reset [ns]."""
        return round(self._data.time * 1e9)

    def joint_positions(self) -> FloatArray:
        """Positions of the arm's joints, shape (7,) [rad]."""
        return self._data.qpos[self._arm]

    def joint_velocities(self) -> FloatArray:
        """Velocities of the arm's joints, shape (7,) [rad/s]."""
        return self._data.qvel[self._arm_dofs]

    def joint_efforts(self) -> FloatArray:
        """Torques of the arm's servos without gravity compensation, shape (7,) [Nm]."""
        return self._data.qfrc_actuator[self._arm_dofs]

    def gripper_opening(self) -> float:
        """How far the fingers are apart, 0 closed .. 1 open (0.08 m)."""
        return float(np.clip(self._data.qpos[self._fingers].mean() / FINGER_TRAVEL_M, 0.0, 1.0))

    def ee_pose(self) -> FloatArray:
        """The pose of the tool centre point in the base frame, shape (7,)."""
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self._data.site_xmat[self._tip])
        return np.concatenate([self._data.site_xpos[self._tip], quaternion[[1, 2, 3, 0]]])

    def scene(self) -> SceneState:
        """The state of fixtures, lights and blocks."""
        data = self._data
        values: dict[str, FloatArray] = {"desk": self._desk_offset}
        for name, address in self._fixtures.items():
            values[name] = data.qpos[address : address + 1]
        for name, lit in self._lights.items():
            values[name] = np.array([float(lit)])
        touching = self._contacts()
        for name, address in self._blocks.items():
            values[name] = data.qpos[address : address + 7][[0, 1, 2, 4, 5, 6, 3]]
            values[f"{name}_contacts"] = touching[CONTACT_PARTNERS.index(name)]
        return SceneState(values)

    def _contacts(self) -> FloatArray:
        """Who touches whom, shape (partners, partners), 0 or 1."""
        touching = np.zeros((len(CONTACT_PARTNERS) + 1, len(CONTACT_PARTNERS) + 1))
        pairs = self._partner[self._data.contact.geom]
        close = self._data.contact.dist < 1e-4
        touching[pairs[close, 0], pairs[close, 1]] = 1.0
        return np.maximum(touching, touching.T)[:-1, :-1]

    # Seeing ---------------------------------------------------------------------------------------------------------

    def camera_rig(self) -> CameraRig:
        """Cameras of its own for another thread; the caller closes it."""
        return CameraRig(self._model, self._data, self._lights, self._lock, self.cameras, self.image_size)

    def look(self) -> dict[str, npt.NDArray[np.uint8]]:
        """The scene as it is now from every camera: uint8 RGB, shape (height, width, 3)."""
        self._rig.capture()
        return {camera: self._rig.render(camera) for camera in self.cameras}

    def render(self, camera: str) -> npt.NDArray[np.uint8]:
        """The scene as it is now from `camera`: uint8 RGB, shape (height, width, 3)."""
        self._rig.capture()
        return self._rig.render(camera)

    def close(self) -> None:
        """Gives the OpenGL context back; may be called twice."""
        self._rig.close()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
