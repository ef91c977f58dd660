"""A ROS domain for a simulated graph, so that two on one machine do not mix. Knows nothing of rclpy."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defi_models.contract import DefiError

FIRST_DOMAIN, LAST_DOMAIN = 10, 99  # above 101 the ports of a domain fall into Linux's range of ephemeral ports
RESERVATION = "defi-ros-domain-"  # and the number: an abstract socket of the process that reserved it
GRAPH = "defi-ros-graph-"  # and the number: one of the `defi up` whose graph runs there
SOCKETS = Path("/proc/net/unix")
PORT_BASE, PORTS_A_DOMAIN, FIRST_UNICAST = 7400, 250, 10  # the DDSI-RTPS specification, 9.6.2.4


class NoDomainError(DefiError):
    """Every domain that may be chosen is in use."""


class GraphHereError(DefiError):
    """A graph of DeFI already runs in the domain."""

    def __init__(self, domain: int, bridge: str) -> None:
        super().__init__(
            f"a graph of DeFI already runs in ROS domain {domain}: {bridge}. Only one may move an arm: stop that graph, "
            "send it goals (action run_task), or set ROS_DOMAIN_ID to another domain, for a simulated robot to none"
        )


@contextmanager
def reserved_domain() -> Iterator[int]:
    """A ROS domain nobody on this machine uses, reserved until the end of the block (or of this process).

    A domain counts as used when another `defi up` has reserved it, or any DDS participant holds its first port.

    Raises:
        NoDomainError: all are used.
    """
    for domain in range(FIRST_DOMAIN, LAST_DOMAIN + 1):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reservation:
            if sys.platform == "linux" and not _try_bind(reservation, f"\0{RESERVATION}{domain}"):
                continue
            if not _first_port_is_free(domain):
                continue
            yield domain
            return
    raise NoDomainError(
        f"got no free ROS domain between {FIRST_DOMAIN} and {LAST_DOMAIN} on this machine: all are in use; "
        "set ROS_DOMAIN_ID to the one that shall be used"
    )


@contextmanager
def only_graph(domain: int) -> Iterator[None]:
    """Keeps other `defi up` of this machine out of a domain until the end of the block (or of this process).

    Raises:
        GraphHereError: one runs there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hold:
        if sys.platform == "linux" and not _try_bind(hold, f"\0{GRAPH}{domain}"):
            raise GraphHereError(domain, "another `defi up` on this machine has its arm_bridge_node there")
        yield


def domains_in_use() -> list[int]:
    """The domains that simulated graphs on this machine have reserved, in order; none where the system does not tell."""
    try:
        lines = SOCKETS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    names = {line.rpartition("@")[2] for line in lines if f"@{RESERVATION}" in line}
    return sorted(int(name.removeprefix(RESERVATION)) for name in names)


def _try_bind(reservation: socket.socket, name: str) -> bool:
    """An abstract socket name is free again when its process ends, however it ends."""
    try:
        reservation.bind(name)
    except OSError:
        return False
    return True


def _first_port_is_free(domain: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("0.0.0.0", PORT_BASE + PORTS_A_DOMAIN * domain + FIRST_UNICAST))
        except OSError:
            return False
    return True
