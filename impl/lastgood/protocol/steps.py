"""Steps: what a plan asks of a back end, as immutable values. No I/O here.

Paths are absolute; a part is named by its path inside the group.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class MakeDir:
    """A new, empty directory."""

    path: str


@frozen
class CreateFile:
    """A new, empty file, open for writing until `CloseFile`."""

    path: str


@frozen
class WritePart:
    """The content of one part, in chunks; it is digested from memory on the way."""

    path: str
    part: str


@frozen
class ReadPart:
    """A part that other code wrote; it is digested from its file."""

    path: str
    part: str


@frozen
class WriteRecord:
    """A record about the parts written so far (a manifest, a commit), in one write."""

    path: str
    record: str


@frozen
class SyncFile:
    """An fsync of a file."""

    path: str


@frozen
class CloseFile:
    """The end of what `CreateFile` began."""

    path: str


@frozen
class SyncDir:
    """An fsync of a directory."""

    path: str


@frozen
class FullSyncDir:
    """A sync of a directory that also makes the drive keep all that it was given before."""

    path: str


@frozen
class RenameEntry:
    """`src` becomes `dst`, in one directory or between two of one store."""

    src: str
    dst: str


@frozen
class Remove:
    """One name of a file goes."""

    path: str


@frozen
class RemoveDir:
    """An empty directory goes."""

    path: str


SimpleStep = (
    MakeDir
    | CreateFile
    | WritePart
    | ReadPart
    | WriteRecord
    | SyncFile
    | CloseFile
    | SyncDir
    | FullSyncDir
    | RenameEntry
    | Remove
    | RemoveDir
)


@frozen
class Together:
    """Branches of steps that owe each other no order. Each branch keeps its own."""

    branches: tuple[tuple[SimpleStep, ...], ...]


Step = SimpleStep | Together


def describe_step(step: Step) -> str:
    """A step for people: what was asked, and of which entry."""
    if isinstance(step, RenameEntry):
        return f"Rename {step.src!r}"
    return f"{type(step).__name__} {getattr(step, 'path', '')!r}"
