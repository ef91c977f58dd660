"""Arrays that may be trusted: read-only, of one shape, finite; poses with a quaternion of unit length. Offered by `contract`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defi_models.errors import ContractError

FloatArray = npt.NDArray[np.float64]


def frozen_array(
    name: str, value: npt.ArrayLike, shape: tuple[int | None, ...], dtype: npt.DTypeLike = np.float64
) -> npt.NDArray:
    """A read-only copy of `value`; None in `shape` accepts any length.

    Raises:
        ContractError: the shape differs or a number is not finite.
    """
    array = np.array(value, dtype=dtype)
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ContractError(f"{name}: got shape {array.shape}, expected {wanted}")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ContractError(f"{name}: got a number that is not finite at index {where}, expected finite numbers only")
    array.setflags(write=False)
    return array


def check_poses(name: str, poses: FloatArray) -> None:
    """Refuses poses whose quaternion is not of unit length (tolerance 1e-3)."""
    norms = np.linalg.norm(poses[..., 3:7], axis=-1)
    if (np.abs(norms - 1.0) > 1e-3).any():
        worst = float(norms.flat[int(np.argmax(np.abs(norms - 1.0)))])
        raise ContractError(f"{name}: got a quaternion of length {worst:.4f}, expected 1 within 0.001")
