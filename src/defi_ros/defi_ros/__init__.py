"""Robot side of DeFI: camera -> observation -> imagination -> chunk -> authority -> safety -> arm.

`nodes` is the only package that spins ROS. `control` decides and never waits, logs or reads a clock.
A chunk is dated by the observation it came from, so a slow policy yields a late chunk, never a wrong one.
"""
