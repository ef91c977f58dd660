"""Reading files that others wrote: whatever is wrong with one becomes one error that names it."""

from __future__ import annotations

import contextlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from defi_models.contract import DefiError


class DatasetError(DefiError):
    """A dataset is missing, damaged or lacks what training needs."""


DAMAGE = (  # what libraries raise over files that are cut, empty, of another kind, or lack something
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def reading(
    where: Path | str, what: str, *also: type[Exception], raises: type[DefiError] = DatasetError
) -> Iterator[None]:
    """What is inside reads a file; whatever goes wrong names it.

    Args:
        where: What is read, for people.
        what: What it should be.
        also: Errors that mean damage, beside those of Python.
        raises: The error to make of them.

    Raises:
        DefiError: of that kind; one from inside that names `where`, or a file beside it, comes through as it is.
    """
    try:
        yield
    except DatasetError as error:
        names = [str(where), str(where.parent)] if isinstance(where, Path) else [where]
        if raises is DatasetError and any(name in str(error) for name in names):
            raise
        raise raises(f"{where}: {error}") from error
    except (*DAMAGE, *also) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise raises(f"{where}: cannot be read as {what} ({said}); mend or remove it") from error


def read_json(path: Path, raises: type[DefiError] = DatasetError) -> dict[str, Any]:
    """What a file in JSON says, an object.

    Raises:
        DefiError: of the kind `raises`: it is missing or says something else.
    """
    with reading(path, "JSON", raises=raises):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"got a {type(found).__name__}, expected an object")
        return found
