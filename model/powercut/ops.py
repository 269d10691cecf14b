"""What a program asks of a file system: ops, as immutable values.

Paths are absolute, with "/" between names; offsets and sizes are in bytes.  `Fsync` and
`Fdatasync` name a file or a directory.  A `Mark` asks nothing of the file system: it puts a
moment into the history that an observer can see, such as an acknowledgement.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from powercut.content import Data


@frozen
class Create:
    """open(path, O_CREAT | O_EXCL): a new, empty file."""

    path: str


@frozen
class Write:
    """pwrite: all of `data` at `offset`; a gap before it reads as zeros."""

    path: str
    offset: int
    data: Data


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
class Rename:
    """POSIX rename: `dst` becomes what `src` was; an old `dst` is replaced."""

    src: str
    dst: str


@frozen
class Link:
    """A hard link: a second name `dst` of the file `src`."""

    src: str
    dst: str


@frozen
class Unlink:
    """Remove one name of a file."""

    path: str


@frozen
class Fsync:
    """fsync of a file or a directory."""

    path: str


@frozen
class Fdatasync:
    """fdatasync of a file or a directory."""

    path: str


@frozen
class Sync:
    """sync(2): of everything."""


@frozen
class Mark:
    """A moment that an observer outside the machine can see; `label` says what it means."""

    label: str


Op = (
    Create
    | Write
    | Truncate
    | Mkdir
    | Rmdir
    | Rename
    | Link
    | Unlink
    | Fsync
    | Fdatasync
    | Sync
    | Mark
)

OP_NAMES: Final[dict[str, type[Op]]] = {
    cls.__name__.lower(): cls
    for cls in (
        Create,
        Write,
        Truncate,
        Mkdir,
        Rmdir,
        Rename,
        Link,
        Unlink,
        Fsync,
        Fdatasync,
        Sync,
        Mark,
    )
}
"""The name of each op in a trace."""


def op_name(op: Op) -> str:
    """The op's name as traces spell it."""
    return type(op).__name__.lower()
