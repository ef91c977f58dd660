"""Simulators of others that are not installed with the project: imported when asked for, with one clear message."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from defi_models.contract import ConfigError


def needed(module: str, where: str, install: str) -> ModuleType:
    """Imports a module of a simulator.

    Raises:
        ConfigError: it is not installed; the message says what to install.
    """
    try:
        return import_module(module)
    except ImportError as missing:
        raise ConfigError(f"{where}: got no module {missing.name!r}, expected it installed; {install}") from missing
