"""Encounters: what a search met, without which its properties would have asked for nothing.

A library whose every save fails owes nothing to anybody, and one that compares no digests keeps P1
wherever no part that a recovery reads is wrong.  A part is *wrong* here where its file has the size
that it had and other bytes: nothing but its bytes gives it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import define, field

from powercut.filesystem.inodes import File, Tree
from powercut.simulation.oracle import LOOK_LIMIT_BYTES

Cause = Literal["crash", "damage"]
"""The cause of a wrong part: a crash, or damage at rest."""

WrongParts = Mapping[int, Cause]
"""The files, by their inodes, in which a part is wrong."""


@define
class Encounters:
    """The encounters of the histories of a search; `wrong_parts` are those that a recovery read."""

    acknowledged: bool = False
    returned: bool = False
    damaged: bool = False
    wrong_parts: set[Cause] = field(factory=set)

    def add(self, other: Encounters) -> None:
        """Add what others met."""
        self.acknowledged |= other.acknowledged
        self.returned |= other.returned
        self.damaged |= other.damaged
        self.wrong_parts |= other.wrong_parts

    def missed(self, name: str) -> tuple[str, ...]:
        """Sentences on what a property had nothing to say of, though nothing broke it."""
        missed = []
        if name == "P1" and not self.returned:
            missed.append("no recovery returned a group")
        if name == "P1" and "crash" not in self.wrong_parts:
            tried = "only damage at rest" if self.wrong_parts else "nothing"
            missed.append(
                "no crash left a part that a recovery read with the right size and wrong bytes: "
                f"{tried} tried the digest check"
            )
        if name in ("P2", "P3", "P4") and not self.acknowledged:
            missed.append("no save was acknowledged")
        if name == "P7" and not self.damaged:
            missed.append("no group was at rest to go bad")
        return tuple(missed)


def wrong_parts(
    known: WrongParts,
    before: Tree,
    after: Tree,
    saves: Mapping[int, Mapping[str, bytes]],
    cause: Cause,
) -> WrongParts:
    """The wrong parts once `before` has become `after`, where these were wrong already."""
    parts = {part for content in saves.values() for part in content.values() if part}
    right = {number: data for number, data in _contents(before) if any(p in data for p in parts)}
    turned = {
        number: cause
        for number, data in _contents(after)
        if number in right and len(data) == len(right[number]) and data != right[number]
    }
    return {n: why for n, why in known.items() if n not in right} | turned


def _contents(tree: Tree) -> list[tuple[int, bytes]]:
    """The bytes of each file that is not too long to look into."""
    files = ((number, inode) for number, inode in tree.items() if isinstance(inode, File))
    return [(n, f.content.read()) for n, f in files if f.content.size <= LOOK_LIMIT_BYTES]
