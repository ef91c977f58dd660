"""The only package that spins ROS: each module is one lifecycle node and its `main`."""
