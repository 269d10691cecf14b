"""Persistence events: the smallest changes that can separately reach the medium.

Lowering turns each op into events.  An event is named by the op that caused it and by its kind
(`w1.data`, `w1.size`, `t1.zeros`, `r2.add`, `r2.remove`), never by an index, so that a trace
survives a change in how other ops are lowered.  Extents and sizes can be split: `w1.data[0:4096]`.
So can a name that goes from one inode to another: `r2.add[taken]`, `r2.add[given]`.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from powercut.errors import UndeclaredNeedError
from powercut.filesystem.content import ByteRun

_NOT_WORKED_OUT: Final = -1


@frozen
class Extent:
    """Bytes of a file: `run` written into `inode` by `op`.

    `direct` goes past the page cache; `mapped` was stored through a mapping of the file.

    `zeroes` marks what the kernel writes of its own accord: zeros over the rest of a page, where a
    file was cut, or where it grows over what an earlier cut has left there.
    """

    op: str
    inode: int
    run: ByteRun
    direct: bool = False
    mapped: bool = False
    zeroes: bool = False

    @property
    def name(self) -> str:
        """The event's name; the same for every piece of it."""
        return f"{self.op}.{'zeros' if self.zeroes else 'data'}"

    @property
    def span(self) -> tuple[int, int]:
        """The byte range [start, stop) that the event fills."""
        return self.run.start, self.run.stop

    def piece(self, start: int, stop: int) -> Extent:
        """The part of this event inside [start, stop)."""
        return evolve(self, run=self.run.cut(start, stop))


@frozen
class Size:
    """The size of `inode` goes from `old` to `new`; smaller is a truncation, which frees data.

    What is freed is gone, but for the rest of the page in which the file ends now.
    """

    op: str
    inode: int
    old: int
    new: int

    @property
    def name(self) -> str:
        """The event's name; the same for every piece of it."""
        return f"{self.op}.size"

    @property
    def truncates(self) -> bool:
        """The file becomes shorter; such an event is never split."""
        return self.new < self.old

    @property
    def span(self) -> tuple[int, int]:
        """The byte range that an extension exposes; empty for a truncation."""
        return (self.new, self.new) if self.truncates else (self.old, self.new)

    def piece(self, start: int, stop: int) -> Size:
        """One link of the chain of sizes: the step from `start` to `stop`."""
        return self if self.truncates else evolve(self, old=start, new=stop)


@frozen
class Entry:
    """The name `entry` in `directory` becomes `target`, or vanishes where target is None.

    `replaced` is what the name meant before, None where it is new.  `role` tells the two
    halves of a rename apart: "add" and "remove" ("swap" in an exchange); it is "entry" for every
    other op.  `op_kind` is the op's name, so that a rule can speak of renames alone.  `first` is
    true where this is the target's first name: the inode comes into being with it.
    """

    op: str
    op_kind: str
    role: str
    directory: int
    entry: str
    target: int | None
    replaced: int | None
    first: bool = False

    @property
    def name(self) -> str:
        """The event's name; the same for both halves of it."""
        return f"{self.op}.{self.role}"

    @property
    def taken(self) -> Entry:
        """The first half of a replacement: the name has lost its old meaning."""
        return evolve(self, target=None, first=False)

    @property
    def is_half(self) -> bool:
        """It is such a first half, and not a removal."""
        return self.target is None and self.role in ("add", "swap")

    @property
    def replaces(self) -> bool:
        """The name goes from one inode to another."""
        return self.target is not None and self.replaced is not None


Event = Extent | Size | Entry


@frozen
class Piece:
    """An event, or a part of one, as a crash sees it.

    `index` is the position of its event in program order.  `fresh` is true for a piece of data
    whose blocks hold nothing older of this file, so that the file system has yet to allocate
    them; false where any of its blocks may have been allocated before.  `held` is true for data
    whose blocks are all on the medium for sure: each shows a byte of this file that is no zero.
    `blocks` is the first and the last block that a piece of data touches, in the profile's unit of
    `block_bytes`, and `sectors` the first and the last unit that the drive writes whole.
    """

    index: int
    event: Event
    name: str
    fresh: bool = False
    held: bool = False
    blocks: tuple[int, int] = (0, -1)
    block_bytes: int = 1
    sectors: tuple[int, int] = (0, -1)
    _sent: int | None = _NOT_WORKED_OUT
    _sender: str = ""

    @property
    def sender(self) -> str:
        """The op that handed the piece to the drive first; "" for none. Errors as `sent`."""
        return self._sender if self.sent is not None else ""

    @property
    def sent(self) -> int | None:
        """The number of the first sync that handed the piece to the drive; None for none.

        It is worked out only for rules that declare that they need it.  UndeclaredNeedError for any
        other that reads it: it would take every piece for one that was not sent.
        """
        if self._sent == _NOT_WORKED_OUT:
            raise UndeclaredNeedError(
                "a rule reads piece.sent and does not declare that it needs it: "
                "register it by @rule(..., needs_sent=True) in powercut/rules.py"
            )
        return self._sent


def touches(event: Event, inode: int) -> bool:
    """The event changes `inode` itself: its bytes, its size, its entries or its link count."""
    if isinstance(event, Entry):
        return inode in (event.directory, event.target, event.replaced)
    return event.inode == inode
