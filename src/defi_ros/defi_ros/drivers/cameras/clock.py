"""A camera's own clock -> the host's: stamps without the jitter of the way that frames took. Knows no camera."""

from __future__ import annotations

from defi_models.contract import NS_PER_S

WINDOW_NS = 5 * NS_PER_S  # two quartz clocks drift apart by 0.5 ms in two windows
JUMP_NS = NS_PER_S // 2  # no frame is on its way for so long: one of the clocks was set


class CameraClock:
    """Takes the quickest of the last frames for one that came at once; the others were on their way for longer.

    The stamps then are late by the shortest way from the sensor to the host, some milliseconds: what remains belongs
    into the actuation delay. Not thread-safe.
    """

    def __init__(self) -> None:
        """Knows no frame yet."""
        self._window_ns: int | None = None
        self._last_ns = 0
        self._shortest_ns = self._before_ns = 0

    def host_ns(self, camera_ns: int, arrived_ns: int) -> int:
        """When a frame was captured, on the host's clock [ns]; never after its arrival.

        Args:
            camera_ns: Its stamp on the camera's clock [ns].
            arrived_ns: When it was read, on the host's clock [ns].
        """
        offset_ns = arrived_ns - camera_ns
        if self._window_ns is None or self._jumped(camera_ns, offset_ns):
            self._window_ns, self._shortest_ns, self._before_ns = arrived_ns, offset_ns, offset_ns
        elif arrived_ns - self._window_ns > WINDOW_NS:
            self._window_ns, self._before_ns, self._shortest_ns = arrived_ns, self._shortest_ns, offset_ns
        self._last_ns = camera_ns
        self._shortest_ns = min(self._shortest_ns, offset_ns)
        return camera_ns + min(self._shortest_ns, self._before_ns)

    def _jumped(self, camera_ns: int, offset_ns: int) -> bool:
        return camera_ns < self._last_ns or abs(offset_ns - self._shortest_ns) > JUMP_NS
