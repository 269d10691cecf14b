"""Events of a store, for people (logging) and for programs (a hook)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from attrs import frozen

_LOG: Final = logging.getLogger("lastgood")
# Who wants to read the log says so; without this Python prints warnings to standard error.
_LOG.addHandler(logging.NullHandler())

Kind = Literal[
    "saved",
    "save_failed",
    "loaded",
    "rejected",
    "quarantined",
    "discarded",
    "not_set_aside",
    "pruned",
    "purged",
    "purge_failed",
    "prune_failed",
    "prune_noted",
    "weakened",
]
# "weakened" is not among them: a LastgoodWarning is loud already, and both would be printed.
_WARNINGS: Final = frozenset(
    {"save_failed", "rejected", "not_set_aside", "prune_failed", "prune_noted", "purge_failed"}
)


@frozen
class Event:
    """Something that happened. `fields` are plain values: text, numbers, lists of them."""

    kind: Kind
    store: str
    message: str
    fields: Mapping[str, Any]


Hook = Callable[[Event], None]


class Announcer:
    """Tells of events: to the log "lastgood", with the fields as `record.lastgood`, and to a hook.

    A hook that raises is logged and otherwise ignored: a watcher must not break a save.
    """

    def __init__(self, store: str, hook: Hook | None) -> None:
        self._store, self._hook = store, hook

    def tell(self, kind: Kind, message: str, **fields: Any) -> None:
        """Tell of one event."""
        event = Event(kind, self._store, message, fields)
        extra = {"lastgood": {"event": kind, "store": self._store, **fields}}
        _LOG.log(logging.WARNING if kind in _WARNINGS else logging.INFO, message, extra=extra)
        if self._hook is not None:
            try:
                self._hook(event)
            except Exception:
                _LOG.exception("the event hook of store %r failed", self._store)
