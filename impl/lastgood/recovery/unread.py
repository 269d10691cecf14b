"""The words for groups that cannot, or may not, be read: nobody knows whether they are intact."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from lastgood.backends.capabilities import system_info
from lastgood.backends.interface import DiskReader, parents
from lastgood.errors import StorageError, describe_error
from lastgood.parts.holding_reader import HoldingReader
from lastgood.parts.verify import is_unreadable

NOT_ALLOWED_ERRNOS: Final = frozenset({errno.EACCES, errno.EPERM})
_SHOWN: Final = 8


def is_unread_error(error: OSError) -> bool:
    """Say whether an entry cannot, or may not, be read; any other error is of the machine."""
    return is_unreadable(error) or error.errno in NOT_ALLOWED_ERRNOS


def describe_refusal(reader: DiskReader, path: str, error: OSError) -> str:
    """A path that this user may not read, and its owner.

    Where that may not be looked at either, the owner of the nearest directory above it.
    """
    return f"{path!r} may not be read: {describe_error(error)}; {_describe_owner(reader, path)}"


def _describe_owner(reader: DiskReader, path: str) -> str:
    info = system_info(reader.reader if isinstance(reader, HoldingReader) else reader)
    for each in (path, *parents(path)):
        owner = info.owner(each)
        if owner is not None:
            return f"{each!r} belongs to {owner}"
    return f"whose {path!r} is cannot be found out"


def not_permitted_error(name: str, detail: str) -> StorageError:
    """The error for a group that may not be read, where no older one may stand in for it."""
    return StorageError(
        f"group {name}: {detail}. That is no sign of damage, and no older group was taken in its "
        "place. Nothing was changed. Let this user read it (chown, chmod), or load another group "
        "by its step or generation."
    )


def nothing_left_error(store: str, unread: Sequence[tuple[str, str]]) -> StorageError:
    """The error where no group is valid and these, each with its detail, cannot be read."""
    what = "; ".join(f"{name}: {detail}" for name, detail in unread[:_SHOWN])
    more = f"; and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    return StorageError(
        f"store {store!r}: no group is valid, and {len(unread)} cannot be read, expected one that "
        f"can: {what}{more}. What cannot be read was not moved, and may be intact. Mend the disk "
        "and load again; a save works meanwhile."
    )
