"""What a program asks of a file system: ops, as immutable values.

Paths are absolute, with "/" between names; offsets and sizes are in bytes.  Where an op speaks of
an open file, `path` may also be "@h": the handle that an `Open` or a `Tmpfile` named h.  A handle
goes on meaning its file when every name of it is gone; a crash ends it.  `flags` hold the words of
open(2).

Two ask nothing of the file system.  A `Mark` puts a moment into the history that an observer can
see, such as an acknowledgement.  A `Damage` is what a medium does by itself.  What is not here is
not modelled: whoever reads a program refuses it by name (`NOT_MODELLED`).
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from powercut.filesystem.content import Data

OPEN_FLAGS: Final = frozenset(
    {"O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND", "O_RDONLY", "O_SYNC", "O_DSYNC", "O_DIRECT"}
)
"""What `Open` takes; without O_RDONLY a file is opened for reading and writing."""

WRITE_FLAGS: Final = frozenset({"O_SYNC", "O_DSYNC", "O_DIRECT"})
"""What a write by path takes: the file is opened with them, written and closed."""

RENAME_FLAGS: Final = frozenset({"NOREPLACE", "EXCHANGE"})
"""What `Rename` takes: one of the two flags of renameat2(2), or none."""


@frozen
class Create:
    """open(path, O_CREAT | O_EXCL): a new, empty file."""

    path: str


@frozen
class Open:
    """open(path, flags), kept under a name: `@handle` speaks of the file from now on."""

    path: str
    handle: str
    flags: tuple[str, ...] = ()


@frozen
class Tmpfile:
    """open(directory, O_TMPFILE | O_RDWR): a file without a name; `Link` gives it one."""

    path: str
    handle: str


@frozen
class Close:
    """close: the handle means nothing from now on."""

    handle: str


@frozen
class Write:
    """pwrite: all of `data` at `offset`; a gap before it reads as zeros."""

    path: str
    offset: int
    data: Data
    flags: tuple[str, ...] = ()


@frozen
class Append:
    """All of `data` at the end of the file."""

    path: str
    data: Data
    flags: tuple[str, ...] = ()


@frozen
class Mapwrite:
    """Stores through a shared mapping, inside the file's size; an `Msync` has to follow."""

    path: str
    offset: int
    data: Data


@frozen
class Msync:
    """msync(MS_SYNC) of `size` bytes at `offset` of a mapping of the file."""

    path: str
    offset: int
    size: int


@frozen
class Truncate:
    """ftruncate: cut to `size`, or extend to it with zeros."""

    path: str
    size: int


@frozen
class Mkdir:
    """A new, empty directory."""

    path: str


@frozen
class Rmdir:
    """Remove an empty directory."""

    path: str


@frozen
class Symlink:
    """A symbolic link at `path` that says `target`."""

    target: str
    path: str


@frozen
class Rename:
    """renameat2: `dst` becomes what `src` was; an old `dst` is replaced, kept, or exchanged."""

    src: str
    dst: str
    flags: tuple[str, ...] = ()


@frozen
class Link:
    """A hard link: one more name `dst` of the file `src`, which may be a handle."""

    src: str
    dst: str


@frozen
class Unlink:
    """Remove one name of a file."""

    path: str


@frozen
class Fsync:
    """fsync of a file or a directory. With `fails` it returns EIO and abandons its dirty pages."""

    path: str
    fails: bool = False


@frozen
class Fdatasync:
    """fdatasync of a file or a directory; `fails` as in `Fsync`."""

    path: str
    fails: bool = False


@frozen
class Barrier:
    """fcntl(F_BARRIERFSYNC); a plain fsync where the system has no such call."""

    path: str


@frozen
class Fullsync:
    """fcntl(F_FULLFSYNC); a plain fsync where the system has no such call."""

    path: str


@frozen
class Sync:
    """sync(2): of everything."""


@frozen
class Mark:
    """A moment that an observer outside the machine can see; `label` says what it means."""

    label: str


HARMS: Final = ("unreadable", "changed", "truncated")
"""The kinds of damage at rest."""


@frozen
class Damage:
    """Damage at rest: what `path` names on the medium goes bad; `how` is one of HARMS.

    By then all that was issued before is on the medium.  The damage is there at once for whoever
    reads, and no crash takes it back: no rule speaks of it.  "unreadable": a look into the file,
    or into the directory, fails with EIO.  "changed": every bit of the byte at `at` is flipped.
    "truncated": the file is cut to `at` bytes.  Without `at` it is half the size.
    """

    path: str
    how: str
    at: int | None = None


Op = (
    Create
    | Open
    | Tmpfile
    | Close
    | Write
    | Append
    | Mapwrite
    | Msync
    | Truncate
    | Mkdir
    | Rmdir
    | Symlink
    | Rename
    | Link
    | Unlink
    | Fsync
    | Fdatasync
    | Barrier
    | Fullsync
    | Sync
    | Mark
    | Damage
)

OP_NAMES: Final[dict[str, type[Op]]] = {cls.__name__.lower(): cls for cls in Op.__args__}
"""The name of each op in a trace."""


NOT_MODELLED: Final = {
    "falloc": "fallocate is not modelled",
    "fallocate": "fallocate is not modelled",
    "setxattr": "extended attributes are not modelled",
    "removexattr": "extended attributes are not modelled",
    "chmod": "permissions are not modelled",
    "chown": "permissions are not modelled",
    "utimens": "time stamps are not modelled",
    "mknod": "special files are not modelled",
    "mmap": "a mapping is not an op of the model: use mapwrite and msync",
}
"""What people ask for and the model does not have, by the names that they use for it."""


def op_name(op: Op) -> str:
    """The op's name as traces spell it."""
    return type(op).__name__.lower()
