"""Why a policy has the arm and there is nothing to follow, said as near to the cause as anybody knows it.

Three know something: the policy's nodes, which tell their own troubles (a camera is black, a policy refuses); whoever
refused a chunk; and the clock.
"""

from __future__ import annotations

from defi_models.contract import NS_PER_S

# A policy infers every 0.2 s or so; what was refused longer ago than this is not why there is no chunk now.
LATELY_NS = NS_PER_S


class ChunkShortage:
    """Filled and read by one thread."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._refused, self._refused_ns = "", 0
        self._troubles: dict[str, str] = {}

    def refuse(self, reason: str, now_ns: int) -> None:
        """Notes why a chunk that came cannot be executed."""
        self._refused, self._refused_ns = reason, now_ns

    def tell(self, node: str, trouble: str) -> None:
        """Notes what keeps a node of the policy from its work; empty: nothing does."""
        if trouble:
            self._troubles[node] = trouble
        else:
            self._troubles.pop(node, None)

    def why(self, silent_s: float | None, now_ns: int) -> str:
        """The reason; `silent_s` is how long ago a chunk was accepted [s], None: none was since the handover."""
        lately = bool(self._refused) and 0 <= now_ns - self._refused_ns < LATELY_NS
        causes = [f"{node}: {trouble}" for node, trouble in self._troubles.items()]
        if silent_s is None:
            waiting = "waiting for the first action chunk whose observation is newer than the handover"
            return "; ".join([waiting, *causes, *([f"refused: {self._refused}"] if lately else [])])
        causes += [self._refused] if lately else []
        if not causes:
            return f"no action chunk for {silent_s:.2f} s: imagination_node or action_node silent, and neither says why"
        return f"no {'usable ' if lately else ''}action chunk for {silent_s:.2f} s: {'; '.join(causes)}"
