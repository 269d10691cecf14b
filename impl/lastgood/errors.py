"""The errors of lastgood, by whose fault they are.

Each class carries the exit status that a command line gives it (see `lastgood --help`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from lastgood.damage import Damaged

_READ_ONLY: Final = "To load from the store, use open_read_only(), which needs leave to read only."
_NO_LEAVE: Final = f"As it is, this user may not do that: ask for the permission. {_READ_ONLY}"
_FIXED: Final = (
    "What root may not do either is an entry that is immutable or append-only: lsattr shows it, "
    "and `chattr -i -a` ends it."
)
_FILES: Final = "Close files that are open, or raise the limit"
FREE_ROOM: Final = (
    "Make room on this file system: prune the store (`lastgood prune`), purge what it has set "
    "aside (`lastgood purge`), or delete something else."
)
_ADVICE: Final[Mapping[int, str]] = {
    errno.EROFS: f"It is mounted read-only: to save, mount it writable. {_READ_ONLY}",
    errno.EACCES: _NO_LEAVE,
    errno.EPERM: f"{_NO_LEAVE} {_FIXED}",
    errno.ENOSPC: FREE_ROOM,
    errno.EDQUOT: FREE_ROOM,
    errno.EMFILE: f"{_FILES} of this process (`ulimit -n`), then try again.",
    errno.ENFILE: f"{_FILES} of this machine (fs.file-max), then try again.",
    errno.ENOMEM: "Free memory on this machine, or give this process more, then try again.",
    errno.ENAMETOOLONG: "Choose a shorter path for the store, or shorter names in it.",
}
_MEND: Final = "Mend the disk or the permissions, then try again."

Ending = Callable[[], str]
"""Says, at the end of an error, what became of what is on disk; it may clean up first."""


class LastgoodError(Exception):
    """Base of every error that lastgood raises on purpose."""

    exit_status: ClassVar[int] = 3


class UsageError(LastgoodError):
    """The caller asked for something impossible. Nothing on disk was changed."""

    exit_status: ClassVar[int] = 2


class LeaseError(UsageError):
    """Another live process holds the store's lease. Nothing on disk was changed."""


class IntegrityError(LastgoodError):
    """The bytes on disk are not those that were saved, or cannot be read.

    `reason` is for machines, `group` is the name of the group.
    `damaged` are the ranges of bytes that are known to be damaged: see `Damaged`.
    """

    exit_status: ClassVar[int] = 1

    def __init__(
        self, message: str, reason: str, group: str, damaged: tuple[Damaged, ...] = ()
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.group = group
        self.damaged = damaged

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way would make it anew of its message alone, which fails.
        made_of = str(self), self.reason, self.group, self.damaged
        return type(self), made_of, self.__dict__


class StorageError(LastgoodError):
    """The operating system refused or failed. The message says what is still intact."""


class NewerFormatError(LastgoodError):
    """A newer version has written a group, with something that this one does not know.

    That says nothing against the group: it was neither judged nor touched, and no older one was
    taken in its place, as it may be the newest that was acknowledged. `group` is its name, `needs`
    what a reader of it must know: "format 2", "the key 'x'", "the digest 'y'".
    """

    def __init__(self, group: str, needs: str) -> None:
        super().__init__(group, needs)
        self.group, self.needs = group, needs

    def __str__(self) -> str:
        return (
            f"group {self.group} was written by a newer version of lastgood: reading it needs "
            f"{self.needs}, which this version does not know. It is no damage. No group was "
            "touched, and no older one was taken in its place. Install a newer version; or, to go "
            "on without that group, move it out of the store. Older groups can be loaded by their "
            "step or generation from a store that is opened read-only."
        )


class LastgoodWarning(UserWarning):
    """The store works, but promises less than its mode is named for."""


def errno_name(error: OSError) -> str:
    """An errno by its name, for a message."""
    return errno.errorcode.get(error.errno or 0, "an unknown error")


def describe_error(error: OSError) -> str:
    """An errno by its name and in the system's words: "ENOSPC (No space left on device)"."""
    return f"{errno_name(error)} ({error.strerror or error})"


def describe_hold(error: OSError) -> str:
    """The same for what the disk does not rename or delete: EPERM has one more reason there."""
    held = "; it may be immutable or append-only (lsattr shows it, `chattr -i -a` ends it)"
    return describe_error(error) + held * (error.errno == errno.EPERM)


def nothing_changed() -> str:
    """The ending of an error that came before anything was done."""
    return "Nothing was changed."


def storage_error(doing: str, error: OSError) -> StorageError:
    """The disk failed while `doing` something; that says nothing about a group's content."""
    return StorageError(
        f"{doing} failed: {describe_error(error)}. That is no sign of damage, so no "
        f"group was rejected or moved for it. {remedy_for(error)}"
    )


def remedy_for(error: OSError) -> str:
    """Advice about any errno."""
    return advice_on(error) or _MEND


def advice_on(error: OSError) -> str:
    """What to do about an errno that has one remedy; empty for every other."""
    return _ADVICE.get(error.errno or 0, "")
