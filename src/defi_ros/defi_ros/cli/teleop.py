"""The command `defi teleop <device>`: a person's input device in a second terminal, beside a running graph."""

from __future__ import annotations

import argparse
import os

from defi_models.contract import ConfigError
from defi_ros.bringup import graph_environment
from defi_ros.robot import load_robot
from defi_ros.teleop.mapping import available_devices, load_mapping
from defi_ros.up.domain import domains_in_use
from defi_ros.up.surroundings import DOMAIN_VARIABLE, check_domain


class Teleop:
    """Moves the arm of a running graph by hand."""

    help = "move the arm of a running graph by keyboard, joystick, SpaceMouse or leader arm"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its arguments."""
        add = parser.add_argument
        add("device", nargs="?", default="keyboard", help=f"{', '.join(available_devices())}, or the path of a file")
        add("--robot", default="franka", help="name or path of the robot file (default: %(default)s)")
        add("--namespace", default="", help="namespace of the graph")

    def run(self, args: argparse.Namespace) -> int:
        """Runs teleop_node until Ctrl-C; returns its exit code.

        Raises:
            ConfigError: there is no such robot or device, or several simulated graphs run here and ROS_DOMAIN_ID does
                not say which is meant.
        """
        load_robot(args.robot)
        load_mapping(args.device)
        domain = chosen_domain()
        if domain is not None:
            os.environ[DOMAIN_VARIABLE] = str(domain)
        for name, value in graph_environment().items():
            os.environ.setdefault(name, value)
        from defi_ros.bridge.lifecycle import run
        from defi_ros.nodes.teleop_node import TeleopNode

        arguments = ["defi-teleop", "--ros-args", "-p", f"robot:={args.robot}", "-p", f"teleop.device:={args.device}"]
        if args.namespace:
            arguments += ["-r", f"__ns:=/{args.namespace.strip('/')}"]
        return run(TeleopNode, arguments)


def chosen_domain() -> int | None:
    """The ROS domain to work in: the one that is set, or else that of the one simulated graph here; None: the default.

    Raises:
        ConfigError: there are several, or the one that is set is none.
    """
    given = check_domain(os.environ.get(DOMAIN_VARIABLE, ""))
    if given is not None:
        return given
    found = domains_in_use()
    if len(found) > 1:
        raise ConfigError(
            f"{DOMAIN_VARIABLE}: got none, and simulated graphs run in domains {', '.join(map(str, found))}; "
            f"expected one to be chosen, as in {DOMAIN_VARIABLE}={found[0]} before the command"
        )
    return found[0] if found else None
