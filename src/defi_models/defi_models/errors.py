"""What goes wrong on purpose: the text of each error is written for the person at the robot. Offered by `contract`."""

from __future__ import annotations


class DefiError(Exception):
    """Base of every error this project raises on purpose; its text is written for the person at the robot."""


class ContractError(DefiError, ValueError):
    """A value breaks the contract: wrong shape, wrong type, not finite, out of range."""


class CheckpointError(DefiError):
    """A model's folder is incomplete, of another version, or does not say what it must."""


class ConfigError(DefiError):
    """A robot file or a command line names something that does not exist or is out of range."""


class PreflightError(DefiError):
    """This policy does not fit this robot."""


class TaskError(DefiError):
    """An instruction is empty, or no task of the simulator matches it."""
