"""What is true of the simulated scene at one time, as plain numbers: oracles compare two of these, topics carry them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from defi_models.contract import ContractError, FloatArray, frozen_array

# What a block may touch; the order of the seven flags in `<block>_contacts`.
CONTACT_PARTNERS = ("robot", "table", "desk", "drawer", "red_block", "blue_block", "pink_block")

# name -> count of numbers. `desk` is the desk's offset in x and y from its drawn place [m], `drawer`, `door` and
# `button` are travels [m], `switch` is an angle [rad], `lamp` and `led` are 0 or 1, blocks are poses.
LAYOUT: Mapping[str, int] = MappingProxyType(
    {
        "desk": 2,
        "drawer": 1,
        "door": 1,
        "switch": 1,
        "lamp": 1,
        "button": 1,
        "led": 1,
        **{name: 7 for name in ("red_block", "blue_block", "pink_block")},
        **{f"{name}_contacts": len(CONTACT_PARTNERS) for name in ("red_block", "blue_block", "pink_block")},
    }
)
_INDEXED = re.compile(r"^(?P<name>.+)\.(?P<index>\d+)$")


@dataclass(frozen=True, slots=True)
class SceneState:
    """The scene's state.

    Attributes:
        values: One array for each name of `LAYOUT`, of that length; read-only.

    Raises:
        ContractError: a name is missing or unknown, a shape is wrong or a number is not finite.
    """

    values: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        if set(self.values) != set(LAYOUT):
            missing, unknown = sorted(set(LAYOUT) - set(self.values)), sorted(set(self.values) - set(LAYOUT))
            raise ContractError(f"scene state: missing {missing}, unknown {unknown}; expected exactly {list(LAYOUT)}")
        frozen = {
            name: frozen_array(f"scene {name!r}", np.atleast_1d(self.values[name]), (count,))
            for name, count in LAYOUT.items()
        }
        object.__setattr__(self, "values", MappingProxyType(frozen))

    def number(self, name: str) -> float:
        """The one number called `name`, as in "drawer"."""
        return float(self.values[name][0])

    def block(self, name: str) -> FloatArray:
        """The pose of a block in the robot's base frame, shape (7,)."""
        return self.values[name]

    def touching(self, block: str) -> frozenset[str]:
        """What a block touches, names of `CONTACT_PARTNERS`."""
        flags = self.values[f"{block}_contacts"]
        return frozenset(partner for partner, flag in zip(CONTACT_PARTNERS, flags, strict=True) if flag > 0)

    def to_mapping(self) -> dict[str, float]:
        """One number a name: "drawer", "red_block.0" .. "red_block.6"; the layout of the topic `scene_state`."""
        flat: dict[str, float] = {}
        for name, values in self.values.items():
            if len(values) == 1:
                flat[name] = float(values[0])
            else:
                flat.update({f"{name}.{index}": float(value) for index, value in enumerate(values)})
        return flat

    @classmethod
    def from_mapping(cls, flat: Mapping[str, float]) -> SceneState:
        """The inverse of `to_mapping`.

        Raises:
            ContractError: names are missing or unknown.
        """
        gathered: dict[str, dict[int, float]] = {}
        for key, value in flat.items():
            match = _INDEXED.match(key)
            name, index = (match["name"], int(match["index"])) if match else (key, 0)
            gathered.setdefault(name, {})[index] = float(value)
        return cls({name: np.array([numbers[i] for i in sorted(numbers)]) for name, numbers in gathered.items()})
