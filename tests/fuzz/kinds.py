"""Groups of every kind, each with its state, which is known from how it was made."""

from __future__ import annotations

import errno
import os
from typing import Final

from attrs import frozen

from lastgood.format.names import GroupName
from tests.fuzz.tape import Tape
from tests.fuzz.trees import Names, Sandbox, odd_newer, put_group

GOOD, NEWER, DAMAGED, UNREAD, REFUSED, MACHINE = range(6)
"""The states of a group. REFUSED: this user may not read it. MACHINE: no word about a group."""
MOST: Final = 6
"""So many groups are in a store at first, at most."""
_ERRNOS: Final = (
    (UNREAD, (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO))),
    (UNREAD, (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO))),
    (REFUSED, (errno.EACCES, errno.EPERM)),
    (MACHINE, (errno.EMFILE, errno.ENOMEM)),
)


@frozen
class Made:
    """A group of the store: what a load finds of it, and what a look at its manifest finds."""

    name: GroupName
    state: int
    at_a_glance: int
    lacks_manifest: bool = False


def make_group(box: Sandbox, tape: Tape, number: int, refused: dict[str, int]) -> Made:
    """A group of one kind. `refused` gets the path that the disk will not let anybody read."""
    name = GroupName(number, number)
    home: Names = (str(name).encode(),)
    parts = put_group(box, home, name, tape.byte())
    part: Names = (*home, *parts[tape.byte() % len(parts)].encode().split(b"/"))
    manifest: Names = (*home, b"MANIFEST")
    kind = tape.byte() % 9
    if kind == 1:
        _break_part(box, part, tape)
        return Made(name, DAMAGED, GOOD)
    if kind == 2:
        box.path(manifest).unlink()
        return Made(name, DAMAGED, DAMAGED, lacks_manifest=True)
    if kind in (3, 4, 5, 6):
        if kind != 6:
            box.write(manifest, odd_newer(box.read(manifest), tape))
        if kind in (5, 6):  # a seal that is broken is damage, whatever else is in there
            broken = bytearray(box.read(manifest))
            broken[tape.number() % len(broken)] ^= 1 << tape.byte() % 8
            box.write(manifest, bytes(broken))
            return Made(name, DAMAGED, DAMAGED)
        if kind == 4:  # its parts are not ours to judge either
            _break_part(box, part, tape)
        return Made(name, NEWER, NEWER)
    if kind in (7, 8):
        state, errnos = _ERRNOS[tape.byte() % len(_ERRNOS)]
        path = part if kind == 7 else manifest
        if kind == 8 and tape.byte() % 2:  # nobody can tell what it would be
            box.write(manifest, odd_newer(box.read(manifest), tape))
        refused[os.path.realpath(box.path(path))] = errnos[tape.byte() % len(errnos)]
        return Made(name, state, GOOD if kind == 7 else state)
    return Made(name, GOOD, GOOD)


def _break_part(box: Sandbox, part: Names, tape: Tape) -> None:
    data, kind = box.read(part), tape.byte() % 3
    if kind == 0:
        box.path(part).unlink()
    elif kind == 1 or not data:
        box.write(part, data + b"x")
    else:
        box.write(part, data[:-1] + bytes([data[-1] ^ 1 << tape.byte() % 8]))


def make_bystanders(box: Sandbox, tape: Tape) -> None:
    """What is no group, whatever manifest lies in it: attempts, leftovers, and the quarantine."""
    for _ in range(tape.byte() % 4):
        kind, number = tape.byte() % 3, 1 + tape.byte() % MOST
        name = GroupName(number, number, attempt=kind == 0, pruned=kind == 1)
        home: Names = (str(name).encode(),)
        if kind == 2:
            home = (b"quarantine", str(name).encode())
        put_group(box, home, name, tape.byte())
        manifest: Names = (*home, b"MANIFEST")
        odd = tape.byte() % 3
        if odd == 1:
            box.write(manifest, odd_newer(box.read(manifest), tape))
        elif odd == 2 and kind == 2:
            box.path(manifest).unlink()
