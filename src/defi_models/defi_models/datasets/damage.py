"""Clips that could not be read: counted, named, skipped up to a share of all, then an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from defi_models.datasets.reading import DatasetError

logger = logging.getLogger(__name__)
TOLERATED = 0.05
NAMED = 5  # in a message


def check_damage(reasons: Mapping[str, str], clips: int, tolerated: float = TOLERATED) -> None:
    """Reports what could not be read.

    Args:
        reasons: Why, by name of the clip.
        clips: How many there are in all.
        tolerated: Share of them that may be damaged.

    Raises:
        DatasetError: more are, or all.
    """
    if not reasons:
        return
    named = "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:NAMED])
    more = f" and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
    what = f"{len(reasons)} of {clips} clips cannot be read: {named}{more}"
    if len(reasons) > tolerated * clips or len(reasons) == clips:
        raise DatasetError(f"{what}; at most {tolerated:.0%} are skipped: mend or remove them, or raise --max-damaged")
    logger.warning("skipped: %s", what)
