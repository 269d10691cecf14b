"""The exit statuses of the command line, by what was found in a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from lastgood.recovery.clearing import NOT_SET_ASIDE
from lastgood.recovery.recovery import GONE, Rejection

OK: Final = 0
DAMAGED: Final = 1
MALFORMED: Final = 2
REFUSED: Final = 3
"""This machine or this user could not; or a newer version has written what was to be judged."""

NO_DAMAGE: Final = ("valid", "listed", "attempt", GONE)
_REFUSED: Final = ("refused", NOT_SET_ASIDE)
_MALFORMED: Final = ("manifest_error:", "unsafe_path:", "not_regular:")


def status_of(verdicts: Iterable[str]) -> int:
    """0 where all is valid, 2 where any group is malformed, 1 for any other damage.

    A dead attempt of the rename form is no damage: nothing was ever claimed of it.
    """
    bad = [verdict for verdict in verdicts if verdict not in NO_DAMAGE]
    if not bad:
        return OK
    return MALFORMED if any(verdict.startswith(_MALFORMED) for verdict in bad) else DAMAGED


def status_after(
    has_group: bool, rejected: Sequence[Rejection], undeletable: Sequence[Rejection]
) -> int:
    """The status of a prune or a repair, by what it leaves: 3 where a deletion, or a move to
    quarantine, was refused.

    Where nothing is loadable, 2 if any of what was rejected is malformed, else 1.
    """
    if not has_group:
        return status_of(each.reason for each in rejected) or DAMAGED
    return REFUSED if any(each.reason in _REFUSED for each in undeletable) else OK
