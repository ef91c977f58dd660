"""The simulated table: MuJoCo scene, cameras, tasks with oracles, scripted experts, emulated controllers. No ROS."""


def robot_description() -> str:
    """The URDF of the simulated Franka Panda; see `defi_sim.description`."""
    from defi_sim.description import robot_description as read

    return read()
