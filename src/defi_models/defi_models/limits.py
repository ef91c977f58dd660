"""What an arm may do: the limits of its joints, and where its tool may be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from defi_models.arrays import FloatArray, frozen_array
from defi_models.errors import ContractError

UNIT_SLACK = 1e-6
PROJECTIONS = 8  # walls at right angles need one


@dataclass(frozen=True, slots=True)
class JointLimits:
    """What the arm's joints may do; each of shape (joints,).

    Attributes:
        lower: Lowest position [rad].
        upper: Highest position [rad].
        velocity: Largest speed [rad/s].
        acceleration: Largest acceleration [rad/s^2].
        jerk: Largest jerk [rad/s^3].
    """

    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray

    def __post_init__(self) -> None:
        count = len(self.lower)
        for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
            object.__setattr__(self, name, frozen_array(f"limits.{name}", getattr(self, name), (count,)))
        if (self.lower >= self.upper).any():
            joint = int(np.argmax(self.lower >= self.upper))
            raise ContractError(
                f"limits of joint {joint}: got lower {self.lower[joint]} and upper {self.upper[joint]}, expected lower < upper"
            )
        for name in ("velocity", "acceleration", "jerk"):
            if (getattr(self, name) <= 0).any():
                raise ContractError(f"limits.{name}: got {getattr(self, name).tolist()}, expected positive numbers")


TIP_LIMITS = (
    "velocity_m_s", "acceleration_m_s2", "jerk_m_s3", "velocity_rad_s", "acceleration_rad_s2", "jerk_rad_s3",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where the tool centre point may be, a box cut by planes, and how it may go there, in the base frame.

    Attributes:
        lower: Lowest corner, shape (3,) [m].
        upper: Highest corner, shape (3,) [m].
        velocity_m_s: Largest speed of the tool centre point [m/s].
        planes: Rows (x, y, z, offset), shape (planes, 4): points p with x, y, z . p >= offset [m] are inside; of unit length.
        acceleration_m_s2, jerk_m_s3: Of what is asked of it; a stop is as short as the joints can make it.
        velocity_rad_s, acceleration_rad_s2, jerk_rad_s3: The same for turning.
    """

    lower: FloatArray
    upper: FloatArray
    velocity_m_s: float
    planes: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    acceleration_m_s2: float = field(kw_only=True)
    jerk_m_s3: float = field(kw_only=True)
    velocity_rad_s: float = field(kw_only=True)
    acceleration_rad_s2: float = field(kw_only=True)
    jerk_rad_s3: float = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planes", frozen_array("workspace.planes", self.planes, (len(self.planes), 4)))
        if (np.abs(np.linalg.norm(self.planes[:, :3], axis=1) - 1.0) > UNIT_SLACK).any():
            raise ContractError(f"workspace.planes: got {self.planes.tolist()}, expected normals of unit length")
        object.__setattr__(self, "lower", frozen_array("workspace.lower", self.lower, (3,)))
        object.__setattr__(self, "upper", frozen_array("workspace.upper", self.upper, (3,)))
        if (self.lower >= self.upper).any():
            raise ContractError(
                f"workspace: got lower {self.lower.tolist()} and upper {self.upper.tolist()}, expected lower < upper"
            )
        for name in TIP_LIMITS:
            if getattr(self, name) <= 0:
                raise ContractError(f"workspace.{name}: got {getattr(self, name)}, expected a positive number")

    def outside_m(self, point: FloatArray) -> FloatArray:
        """How far outside each wall points (..., 3) are, lower, upper and planes, shape (..., 6 + planes) [m]."""
        behind = self.planes[:, 3] - point @ self.planes[:, :3].T
        return np.concatenate([self.lower - point, point - self.upper, behind], axis=-1)

    def moved_out(self, walls_m: FloatArray) -> Workspace:
        """The same with each wall moved outwards, shape (6 + planes,) [m]."""
        if not walls_m.any():
            return self
        planes = self.planes.copy()
        planes[:, 3] -= walls_m[6:]
        return replace(self, lower=self.lower - walls_m[:3], upper=self.upper + walls_m[3:6], planes=planes)

    def nearest(self, point: FloatArray) -> FloatArray:
        """The point itself where it is inside, else one at the wall near it, shape (3,) [m]."""
        inside = np.minimum(np.maximum(point, self.lower), self.upper)
        for _ in range(PROJECTIONS if len(self.planes) else 0):  # one wall after the other, until none is left behind
            for plane in self.planes:
                inside = inside + max(float(plane[3] - plane[:3] @ inside), 0.0) * plane[:3]
            inside = np.minimum(np.maximum(inside, self.lower), self.upper)
        return inside
