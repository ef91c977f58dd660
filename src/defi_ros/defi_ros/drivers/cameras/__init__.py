"""Cameras behind one small protocol: open, read, close. Knows no ROS; each SDK is imported only when chosen."""

from defi_ros.drivers.cameras.interface import CameraError, CameraSource, Frame, make_camera

__all__ = ["CameraError", "CameraSource", "Frame", "make_camera"]
