"""Quality of service of every topic, by what the topic is for; knows no node.

| profile             | reliability | durability      | depth | for                                                               |
|---------------------|-------------|-----------------|-------|-------------------------------------------------------------------|
| `IMAGES`            | reliable    | volatile        | 2     | camera images; the newest matters, a queue only adds age          |
| `IMAGES_UNRELIABLE` | best effort | volatile        | 2     | the same from a driver that offers no more                        |
| `STATES`            | best effort | volatile        | 5     | what subscribers of joint states ask for; matches any publisher   |
| `STREAM`            | reliable    | volatile        | 5     | joint states, chunks, control state: small and often              |
| `LATCHED`           | reliable    | transient local | 1     | instruction, robot description: late joiners get the last one     |
| `COMMANDS`          | reliable    | volatile        | 1     | controllers' command topics                                       |
| `ALIVE`             | reliable    | volatile        | 1     | never sent: its liveliness tells within 0.2 s that a process died |
| `EVENTS`            | reliable    | volatile        | 10    | stops, outcomes, diagnostics: none may be lost                    |
"""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

# The middleware asserts liveliness from a thread of its own, so a long inference does not look like death. Short enough
# that an arm at policy speed is at rest 0.5 s after a process was killed; three assertions must be missed.
LEASE_S = 0.15


def _profile(depth: int, *, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


IMAGES = _profile(2)
IMAGES_UNRELIABLE = _profile(2, reliable=False)
STATES = _profile(5, reliable=False)
STREAM = _profile(5)
LATCHED = _profile(1, latched=True)
COMMANDS = _profile(1)
EVENTS = _profile(10)
ALIVE = _profile(1)
ALIVE.liveliness = LivelinessPolicy.AUTOMATIC
ALIVE.liveliness_lease_duration = Duration(seconds=LEASE_S)
