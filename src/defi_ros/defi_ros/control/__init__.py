"""The control core: pure functions of values and of `now_ns`. Nothing here waits, logs, spins ROS or reads a clock.

kinematics: pose <-> joints.  alignment: what was known at a time.  chunks: the target due at a time.
authority: who may move the arm.  safety: the only way from a target to a command.  gripper: when to command fingers.
preflight: does this policy fit this robot.  arm: one tick, target -> authority -> limits -> command.
"""
