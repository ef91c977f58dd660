"""One module a controller interface: what the arm bridge decided becomes what a real controller hears.

`make_arm_driver` and `make_gripper_driver` choose by the robot file. A driver converts and sends; limits, authority
and watchdogs were applied before.
"""

from defi_ros.drivers.interface import ArmDriver, DriverError, GripperDriver
from defi_ros.drivers.registry import make_arm_driver, make_gripper_driver

__all__ = ["ArmDriver", "DriverError", "GripperDriver", "make_arm_driver", "make_gripper_driver"]
