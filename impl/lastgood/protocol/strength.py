"""The strength of a store: the mode that its file system honours, and warnings where it is weak."""

from __future__ import annotations

import errno
import warnings
from pathlib import PurePath
from typing import Final

from attrs import frozen

from lastgood.backends.capabilities import full_sync, system_info
from lastgood.backends.interface import (
    Disk,
    DiskReader,
    FileSystemTraits,
    describe_kind,
    kind_at,
    parents,
)
from lastgood.errors import LastgoodWarning, UsageError
from lastgood.events import Announcer
from lastgood.format.digests import new_hasher
from lastgood.protocol.plan import Form, Mode, syncs_dirs

_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_ADVICE: Final = (
    "Its groups survive a crash of the program only. More is promised on a local disk with ext4 "
    "(with a journal, without fast_commit and data=writeback), xfs, btrfs or nilfs2"
)


@frozen
class Strength:
    """The mode, form and digest of a store's saves, and the file system that it stands on.

    `weaknesses` say what people expect of a store and this one cannot promise.
    """

    mode: Mode
    form: Form
    digest: str
    file_system: FileSystemTraits
    weaknesses: tuple[str, ...]

    def warn(self, path: str, events: Announcer) -> None:
        """Say every weakness aloud: a warning, the log, and the hook."""
        for weakness in self.weaknesses:
            message = f"store {path!r} is on {self.file_system.name}: {weakness}."
            events.tell("weakened", message, file_system=self.file_system.name)
            warnings.warn(message, LastgoodWarning, stacklevel=3)

    def after_a_sync(self, disk: Disk, path: str) -> Strength:
        """The strength as it shows then: Linux shows fast commits of ext4 by their count."""
        if self.file_system.weakness:
            return self
        return choose_strength(disk, path, self.mode, self.form, self.digest, writable=False)


def choose_strength(
    disk: Disk, path: str, mode: str, form: str, digest: str, writable: bool
) -> Strength:
    """The strongest mode that is honoured where the store is, or would be, and its form.

    Looks at the mount table; where that names a weakness, it also tries to sync the directory
    that is there. UsageError where a mode was asked for by name and cannot be had: nothing was
    changed. DigestUnavailableError.
    """
    new_hasher(digest)
    here = system_info(disk).file_system(path)
    weaknesses = []
    strongest: Mode = "atomic_fullsync" if here.full_sync_serves else "atomic_dirsync"
    chosen: Mode = strongest if mode == "auto" else mode  # type: ignore[assignment]
    if here.weakness and syncs_dirs(chosen):
        weaknesses.append(f"{here.weakness}. {_ADVICE}")
    elif chosen == "atomic_dirsync" and here.sync_serves in ("none", "process"):
        weaknesses.append(f"{here.note}. {_ADVICE}")
    if writable and here.weakness and syncs_dirs(chosen) and not _syncs_a_dir(disk, path, chosen):
        if mode != "auto":
            raise UsageError(
                f"store {path!r} is on {here.name}, where a directory cannot be synced, so "
                f"{mode} cannot be had. Nothing was changed. Leave the mode out, or name a weaker "
                "one."
            )
        chosen = "atomic_nodirsync"
        weaknesses.append("a directory cannot be synced there, so its mode is atomic_nodirsync")
    renames = form == "rename" or (form == "auto" and here.rename_is_atomic)
    # The baseline has one form only: plain writes under the final names.
    return Strength(
        chosen,
        "rename" if renames and chosen != "unsafe" else "record",
        digest,
        here,
        tuple(weaknesses),
    )


def store_path(disk: Disk, path: str | PurePath) -> str:
    """The store's path as the seam wants it. UsageError."""
    text = str(path)
    if not isinstance(path, str | PurePath) or not text or "\0" in text:
        raise UsageError(f"store path is {path!r}, expected the path of a directory.")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"store path is {path!a}, which no file system can have.") from error
    found = system_info(disk).canonical(text)
    if not found.startswith("/"):
        raise UsageError(f"store path is {text!r}, expected an absolute path on this disk.")
    return found


def require_choice(what: str, value: str, known: tuple[str, ...]) -> None:
    """UsageError where the value is none of those known."""
    if value not in known:
        raise UsageError(
            f"{what} is {value!r}, expected one of {', '.join(known)}. Nothing was changed."
        )


def require_store(disk: DiskReader, path: str) -> None:
    """UsageError where the path is no directory; StorageError."""
    kind = kind_at(disk, path)
    if kind != "dir":
        raise UsageError(
            f"{path!r}: found {describe_kind(kind)}, expected a store (a directory). "
            "Nothing was changed."
        )


def _syncs_a_dir(disk: Disk, path: str, mode: Mode) -> bool:
    """Say whether the nearest directory that exists can be synced. Nothing else is learnt here."""
    sync = (mode == "atomic_fullsync" and full_sync(disk)) or disk.fsync_dir
    for directory in (path, *parents(path)):
        try:
            if directory != "/" and disk.kind(directory) != "dir":
                continue
            sync(directory)
        except OSError as error:
            return error.errno not in _NO_SYNC
        return True
    return True
