"""Who may move the arm, why, and since when; knows nothing of targets, limits or messages."""

from __future__ import annotations

from enum import IntEnum

from defi_models.contract import NS_PER_S


class Mode(IntEnum):
    """Who may move the arm; the numbers are those of defi_msgs/ControlState."""

    HOLD = 0
    TELEOP = 1
    POLICY = 2
    STOPPED = 3


class Authority:
    """Hands the arm from one source to another, and can always say why.

    A person's deadman wins at once over everything but STOPPED. A deadman that was held while the arm was stopped, taken
    away or another's counts again only once it was released. STOPPED latches: it ends only by a reset that a person asks for,
    and not while what caused it stands.

    Attributes:
        mode: Who may move the arm.
        reason: Why, in words.
        source: Who asked for it.
        since_ns: When the mode began [ns]; a policy may act only on what was seen after it.
    """

    def __init__(self, after_teleop: Mode = Mode.HOLD) -> None:
        """Starts in HOLD.

        Args:
            after_teleop: What follows when the deadman is released: HOLD, or POLICY where a policy had the arm before.
        """
        self.mode = Mode.HOLD
        self.reason = "start"
        self.source = "arm bridge"
        self.since_ns = 0
        self._after_teleop = after_teleop
        self._before_teleop = Mode.HOLD
        self._causes: dict[str, str] = {}
        self._stopped_for = ""  # what came first
        self._spent: dict[str, str] = {}  # device whose deadman must be released first -> since when, in words

    def request(self, mode: Mode, source: str, now_ns: int, *, reset: bool = False) -> str | None:
        """Hands the arm to `mode` on behalf of `source`. Returns None when granted, else the reason it was refused."""
        if mode == Mode.STOPPED:
            self._latch(f"stop asked for by {source}", source, now_ns)
            return None
        if self.mode == Mode.STOPPED:
            if not reset:
                return f"{mode.name} refused: STOPPED ({self.reason}) stands until a reset is asked for explicitly"
            if self._causes:
                return f"reset refused, because this still stands: {'; '.join(self._causes.values())}"
        if mode == Mode.TELEOP:
            return "TELEOP refused: it is taken by holding the deadman of an input device, expected HOLD or POLICY here"
        if self.mode == Mode.TELEOP:
            return f"{mode.name} refused: {self.source} holds the deadman; release it first"
        if mode == self.mode:
            self.source = source
            return None
        self._enter(mode, f"{'reset and ' if self.mode == Mode.STOPPED else ''}asked for by {source}", source, now_ns)
        return None

    def teleop(self, source: str, now_ns: int, *, deadman: bool, why: str = "") -> str | None:
        """Notes a deadman held or released by `source`. Returns None, or the reason it has no effect."""
        if not deadman:
            self._spent.pop(source, None)
            if self.mode == Mode.TELEOP and source == self.source:
                back = self._after_teleop == Mode.POLICY == self._before_teleop
                following = Mode.POLICY if back else Mode.HOLD
                self._enter(following, why or f"{source} released the deadman", source, now_ns)
            return None
        if self.mode == Mode.STOPPED:
            self._spent[source] = "the arm was STOPPED"
            return f"TELEOP refused: STOPPED ({self.reason}) stands until a reset is asked for explicitly"
        if self.mode == Mode.TELEOP:
            if source == self.source:
                return None
            self._spent[source] = f"{self.source} held one already"
            return f"TELEOP refused: {self.source} holds the deadman already"
        if source in self._spent:
            return f"TELEOP refused: {source} held the deadman when {self._spent[source]}; release it and press it anew"
        self._before_teleop = self.mode
        self._enter(Mode.TELEOP, f"{source} holds the deadman", source, now_ns)
        return None

    def spend(self, source: str, why: str) -> None:
        """A deadman of `source` that is held now counts only once it was released; `why` ends "held the deadman when"."""
        self._spent[source] = why

    def stop(self, source: str, cause: str, now_ns: int) -> None:
        """Latches STOPPED because of `cause`, which stands until `cause_gone(source)`."""
        self._causes[source] = cause
        self._latch(cause, source, now_ns)

    def cause_gone(self, source: str) -> None:
        """Notes that what `source` stopped for no longer stands; STOPPED stays latched."""
        self._causes.pop(source, None)

    def hold(self, reason: str, now_ns: int) -> None:
        """Takes the arm away from a policy or a person because of `reason`; has no effect in STOPPED."""
        if self.mode == Mode.TELEOP:
            self._spent[self.source] = reason
        if self.mode in (Mode.POLICY, Mode.TELEOP):
            self._enter(Mode.HOLD, reason, "arm bridge", now_ns)

    def try_observation(self, observed_ns: int) -> str | None:
        """Whether a policy may act on what was seen at `observed_ns`: None, or the reason why not."""
        if self.mode != Mode.POLICY:
            return f"mode is {self.mode.name} ({self.reason}), expected POLICY"
        if observed_ns <= self.since_ns:
            late_s = (self.since_ns - observed_ns) / NS_PER_S
            return f"its observation was made {late_s:.2f} s before the policy was handed the arm, expected a later one"
        return None

    def _latch(self, reason: str, source: str, now_ns: int) -> None:
        if self.mode == Mode.TELEOP:
            self._spent[self.source] = "the arm was STOPPED"
        if self.mode != Mode.STOPPED:
            self._enter(Mode.STOPPED, reason, source, now_ns)
            self._stopped_for = reason
        elif reason != self._stopped_for:
            self.reason = f"{self._stopped_for}; then: {reason}"

    def _enter(self, mode: Mode, reason: str, source: str, now_ns: int) -> None:
        self.mode, self.reason, self.source, self.since_ns = mode, reason, source, now_ns
