"""The control core: pure functions of values and of `now_ns`. Nothing here waits, logs, spins ROS or reads a clock.

arm: one tick, target -> authority -> limits -> command.
chunks, curves: the target due at a time.  teleop: the target of a person.  alignment: what was known at a time.
authority: who may move the arm.  preflight: does this policy fit this robot.  gripper: when to command fingers.
safety, motion: the only way from a target to a command.  monitor: an independent check of commands.
kinematics: pose <-> joints.
"""
