"""`defi up`: starts the graph of one robot, watches it, runs tasks on it, reports, and stops it."""

from defi_ros.up.command import Up

__all__ = ["Up"]
