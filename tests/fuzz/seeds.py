"""The corpus that a run begins with, made by code from real stores: no bytes are kept for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from lastgood import LatestN, Rejection
from lastgood.backends.posix import PosixDisk
from lastgood.crashtest.subjects import CHUNKED
from lastgood.format.chunks import Chunking
from lastgood.format.manifest import Manifest, Part, encode
from lastgood.format.metadata import to_text
from lastgood.parts.verify import FailedPart
from lastgood.protocol.plan import Form
from lastgood.recovery.quarantine import quarantine
from tests.fuzz.tape import NAMES, OWN, spelled_number, spelled_path
from tests.fuzz.trees import program_of, step_number, unsealed
from tests.impl.disks import EXT4, PARTS, nested, open_store

KEPT: Final = Path(__file__).parent / "found"
"""Inputs that once broke a promise: TARGET/NAME. The default tests replay each."""


class _Quick(PosixDisk):
    def _sync(self, fd: int) -> None:
        """Nothing: no machine dies here."""


def seeds(target: str) -> Iterator[bytes]:
    """Inputs for a target, the kept ones first."""
    folder = KEPT / target
    if folder.is_dir():
        yield from (path.read_bytes() for path in sorted(folder.iterdir()))
    yield from _MADE[target]()


def _manifests() -> Iterator[bytes]:
    sha = "0123456789abcdef" * 4
    two = (Part("model", 7, sha), Part("optim/adam", 2**40, sha, "file"))
    yield encode(Manifest(1, 1, "a", two))
    yield encode(Manifest(2, 0, "", two, 4, {"loss": 0.25, "who": ["ä", None, True]}))
    yield encode(Manifest(3, 9, "b", (Part("x", 0, sha[:32]),), 1, {}, "xxh3", 1_700_000_000))
    yield encode(Manifest(3, 9, "b", (Part("x/y/z", 0, sha),), 1, nested(64), "blake3"))
    cut = (Part("model", 9, sha, "memory", 3 * sha), Part("short", 4, sha))
    yield encode(Manifest(4, 1, "c", cut, chunking=Chunking(4, "sha256")))
    yield encode(Manifest(3, 9, "b", (Part("ä", 0, sha),), 1, {"n": 1e300, "m": -(2**63)}))


def _bodies() -> Iterator[bytes]:
    yield from map(unsealed, _manifests())


def _tapes() -> Iterator[bytes]:
    """Short tapes, each of one kind of value for each kind of key."""
    for kind in range(10):
        yield bytes([2, 1, 0, kind % 9, 1, kind, 3, 1, kind % 2, kind % 4, 2, kind, 9, 9])


def _newer() -> Iterator[bytes]:
    """Tapes of every kind of unknown feature with every word, alone and beside others."""
    for kind in range(5):
        for which in range(10):
            yield bytes([which % 2, kind, which, 1, which])
            yield bytes([which % 2, kind, which, 1, which % 3, 2, which, 1, 9, 3, which, 200, 3])
        for odd in range(6):  # and, besides, odd in one way that a reader of today knows
            yield bytes([odd % 2, kind, 1, *(1, 2)[: 2 * (kind in (1, 2))], 1, odd, 0, 3, 1, 2])


def _paths() -> Iterator[bytes]:
    yield from (b"model", b"optim/adam", b"../x", b"a//b", b"MANIFEST", "ä".encode(), b"-", b"#")


def _texts() -> Iterator[bytes]:
    for value in ({}, {"a": [1, -1.5, "x", None, True]}, {"deep": nested(63)}, {"n": 2**63 - 1}):
        yield to_text(value).encode()


def _reports() -> Iterator[bytes]:
    """A whole report, and tapes that change one of its values."""
    missing = Rejection(
        "gen-00000002-step-00000002", 2, "missing:model", "x", found=FailedPart("model")
    )
    with tempfile.TemporaryDirectory() as folder:
        with open_store(Path(folder), disk=_Quick(EXT4)) as store:
            store.save(1, PARTS)
            store.save(2, PARTS)
        root = Path(folder) / "store"
        quarantine(_Quick(EXT4), str(root), [missing], [missing.name], 5.0)
        (path,) = (root / "quarantine").glob("*.json")
        yield path.read_bytes()
    for key in range(13):
        yield bytes([0, 1, key, key, 1, 1])
        yield bytes([0, 3, key % 4, key, 1, 1])


def _names() -> Iterator[bytes]:
    yield b"/".join(NAMES)


def _programs() -> Iterator[bytes]:
    """Whole stores as the library leaves them, and what may be done to them."""
    with tempfile.TemporaryDirectory() as folder:
        forms: tuple[Form, ...] = ("record", "rename")
        for form in forms:
            yield from _stores(Path(folder) / form, form)
        yield from _chunked(Path(folder) / "chunked")
    group = (b"gen-00000002-step-00000002",)
    made = bytes([step_number("_group"), 0, 1, 1, 9, step_number("_group"), 0, 2, 2, 9])
    manifest, part = spelled_path((*group, b"MANIFEST")), spelled_path((*group, b"part0"))
    yield made
    for name, more in (
        ("_remove", manifest),
        ("_link", part + b"\1"),
        ("_fifo", part),
        ("_hard_link", part + b"\1"),
        ("_hard_link", part + b"\0" + manifest),
        ("_sparse", manifest),
        ("_sparse", part + b"\x14"),
        ("_rename", part + spelled_path((*group, b"model"))),
        ("_edit", manifest + spelled_number(30) + b"\1\1\0\2ab"),
        ("_edit", part + spelled_number(1) + b"\1\0\0\1b"),
        ("_field", spelled_path(group) + b"\0\2\1\0\3"),
        ("_field", spelled_path(group) + b"\1\0\1\1\1\2"),
        ("_deep", spelled_path((b"pruned-gen-00000001-step-00000001",)) + b"\x14"),
        ("_many", b"\x20"),
        ("_dir", spelled_path((b"lock",))),
        ("_link", spelled_path((b"quarantine",)) + b"\0"),
        ("_fifo", spelled_path((b"lock",))),
        ("_file", bytes([0, OWN, 0, 1, 0xFF]) + b"\0\1x"),
    ):
        remove = bytes([step_number("_remove")]) + part if b"part0" not in more[:1] else b""
        before = remove if name in ("_link", "_fifo", "_hard_link") else b""
        yield made + before + bytes([step_number(name)]) + more
    # A newer version has written the newest group, or the oldest; and the newest loses a part.
    older = (b"gen-00000001-step-00000001",)
    for kind in range(5):
        for home in (group, older):
            unknown = bytes([kind, 0, *[0] * (kind in (1, 2, 3)), 0])  # and odd in no other way
            newer = bytes([step_number("_newer")]) + spelled_path(home) + unknown
            yield made + newer
            yield made + newer + bytes([step_number("_remove")]) + part


def _stores(home: Path, form: Form) -> Iterator[bytes]:
    disk = _Quick(EXT4)
    with open_store(home, form=form, disk=disk) as store:
        store.save(1, PARTS)
        store.save(2, PARTS, {"loss": 0.5})
    root = home / "store"
    yield program_of(root)
    (root / "gen-00000002-step-00000002" / "model").write_bytes(b"weight?")
    yield program_of(root)
    with open_store(home, form=form, disk=disk) as store:
        store.load_latest()
        yield program_of(root)
        store.save(3, PARTS)
        store.save(4, PARTS)
        os.rename(root / "gen-00000003-step-00000003", root / "pruned-gen-00000001-step-00000001")
        yield program_of(root)
        store.prune(LatestN(1))
        yield program_of(root)
    (root / "attempt-gen-00000009-step-00000001").mkdir()
    yield program_of(root)


def _chunked(home: Path) -> Iterator[bytes]:
    """A store whose parts are cut into chunks of a few bytes; then one of them is damaged."""
    session = CHUNKED.open(_Quick(EXT4), str(home), "atomic_dirsync", rename_is_atomic=True)
    for step in (1, 2):
        session.save(step, {"model": b"weights, cut in chunks", "optim/adam": b"short"})
    session.close()
    yield program_of(home)
    (home / "gen-00000002-step-00000002" / "model").write_bytes(b"weights, Cut in chunks")
    yield program_of(home)


def _looked_at() -> Iterator[bytes]:
    """A program behind the two bytes that choose what is looked at."""
    for number, program in enumerate(_programs()):
        yield bytes([number % 2, number % 8]) + program
        yield bytes([2 + 4 * (number % 12) + 128 * (number % 2), number % 8]) + program


def _worked_on() -> Iterator[bytes]:
    """A program behind the four turns of a writer."""
    for number, program in enumerate(_programs()):
        turns = ((0, 4, 2, 4), (1, 4, 2, 0), (2, 4, 1, 0), (4, 7, 1, 4))[number % 4]
        yield bytes(turns) + program


def _mixed() -> Iterator[bytes]:
    """Every kind of group as the newest, above a good one, below one, and alone."""
    for kind in range(9):
        for four in (b"\0\1\2\3", b"\4\2\3\2", b"\3\7\0\2"):
            odd, turns = bytes([9, 1, kind, 1, 2, 3, 1]), four + bytes([kind % 4])
            yield turns + b"\2" + odd + bytes(7) + odd
            yield turns + b"\1" + bytes([9, 0, 0]) + odd + b"\3\0\4\0\1\1\4\1\2\4\0"
            yield turns + b"\0" + odd
    # What was set aside, at different times, is purged: all, some by name, some by age.
    broken, lost = bytes([9, 1, 1, 0]), bytes([9, 1, 2])
    for purge in (5, 11, 17, 29, 35):
        beside = bytes([3, 2, 0, 1, 2, 2, 4, 5, 2, 2, 5, 1, 0])
        yield bytes([0, 1, purge, 3, 0, 2]) + broken + lost + bytes([9, 0, 0]) + beside
        yield bytes([0, purge, 1, purge, 0, 3]) + lost + lost + bytes([9, 0, 0, 9, 0, 2]) + beside


def _aside() -> Iterator[bytes]:
    """Every kind of report, on a whole group and on one that is none, before every kind of look."""
    yield b"\0\0\2\x08\3\1\0\6\0\4\x1b[2J"  # and one that would clear the screen
    yield b"\0\1\5\1\3\2\4\7" + bytes(6)  # older ones that have no MANIFEST
    for command in range(4):
        for kind in range(12):
            for more in (b"\1\0\3\0", b"\2\1\1\2\5", b"\0\6\0\3abc"):
                yield bytes([command, 7 * kind + command, 2, 8, 3, kind]) + more + bytes([kind])
    for asked in range(3):  # purges, of entries that have links in them, or are one
        for kind in (0, 1, 2, 3, 5, 8, 9, 10):
            yield bytes([3, asked, 4, 13, 15, 3, 7, 0, kind, 1, 3, kind, 0, 1, 1, 0, 5 * kind])
    for swap in range(0, 256, 7):  # the ways in which a report changes, and after which look
        yield bytes([2, swap, 2, 3, 15, 0, 0, 1, 0])


def _papers() -> Iterator[bytes]:
    manifest = b'{"parts": [{"path": "model", "bytes": 1, "sha256": "x"}], "epoch": 1}'
    for path in ((b"epoch_0001", b"model"), (b"epoch_0001", b"optim", b"adam")):
        program = bytes([step_number("_file")]) + spelled_path(path) + b"\0\1x"
        yield b"\0\2{}" + len(manifest).to_bytes(2) + manifest + b"\1" + program


_MADE: Final[Mapping[str, Callable[[], Iterator[bytes]]]] = {
    "manifest-bytes": _manifests,
    "manifest-body": _bodies,
    "manifest-values": _tapes,
    "manifest-newer": _newer,
    "part-path": _paths,
    "metadata": _texts,
    "names": _names,
    "report": _reports,
    "store-tree": _looked_at,
    "store-writer": _worked_on,
    "store-reports": _aside,
    "store-mixed": _mixed,
    "paper-tree": _papers,
}
