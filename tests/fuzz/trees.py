"""A directory tree as a program of bytes, carried out in a sandbox.

The program may make symlinks and then write below them: every directory on the way is opened by
itself and never through a symlink, so that nothing is made outside `store`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from lastgood.format.manifest import Manifest, Part, encode
from lastgood.format.names import GroupName
from tests.fuzz.newer import has_unknown, with_unknown
from tests.fuzz.tape import Tape, spelled_blob, spelled_path

CANARY: Final = b"not yours"
"""What stands in every file outside the store."""
STEPS: Final = 48
"""A program has so many steps at most."""
_BIG: Final = (1 << 41) + 1
_INTEGERS: Final = (0, 1, 2, 3, 7, -1, 255, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), 10**19)
_TEXTS: Final = ("model", "optim/adam", "../x", "/etc/passwd", "MANIFEST/x", "a//b", "\ud800", "-")
_KEYS: Final = (
    "attempt",
    "digest",
    "generation",
    "metadata",
    "parts",
    "saved_at_s",
    "step",
    "world_size",
    "extra",
)
_PART_KEYS: Final = ("digest_from", "path", "size_bytes", "extra")

ODD_ERRORS: Final = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError),
    ZeroDivisionError,
)
"""Raised where a manifest is too odd already to be changed in one more way."""

Names = tuple[bytes, ...]


class Sandbox:
    """A folder with `store`, and beside it `outside`, which nobody may read or change."""

    def __init__(self, home: Path) -> None:
        self.store, self.outside = home / "store", home / "outside"
        self.store.mkdir(parents=True)
        (self.outside / "optim").mkdir(parents=True)
        for name in ("model", "optim/adam", "MANIFEST", "lock"):
            (self.outside / name).write_bytes(CANARY)

    def build(self, tape: Tape) -> None:
        """Carry the program out; a step that the system refuses is left out."""
        for _ in range(STEPS):
            if tape.is_at_end:
                return
            step = _STEPS[tape.byte() % len(_STEPS)]
            with contextlib.suppress(OSError):
                step(self, tape)

    @contextlib.contextmanager
    def folder(self, path: Names) -> Iterator[int]:
        """A directory of the store, made where it is missing, never through a symlink. OSError."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        fd = os.open(self.store, flags)
        try:
            for name in path:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=fd)
                inner = os.open(name, flags, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def path(self, path: Names) -> Path:
        """Where an entry of the store is. A symlink on the way would lead out of it."""
        return self.store / os.fsdecode(b"/".join(path))

    def write(self, path: Names, data: bytes, size_bytes: int | None = None) -> None:
        """A new regular file; one that is there is replaced, not written to. OSError."""
        with self.folder(path[:-1]) as fd:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path[-1], dir_fd=fd)
            file = os.open(path[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=fd)
            try:
                os.write(file, data)
                if size_bytes is not None:
                    os.ftruncate(file, size_bytes)
            finally:
                os.close(file)

    def read(self, path: Names) -> bytes:
        """A small regular file. OSError."""
        with self.folder(path[:-1]) as fd:
            file = os.open(path[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
            try:
                return os.read(file, 1 << 20)
            finally:
                os.close(file)


def sealed(body: bytes) -> bytes:
    """A manifest that binds itself, whatever it says."""
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def unsealed(manifest: bytes) -> bytes:
    """A manifest without its last line."""
    return manifest.rpartition(b"# sha256 ")[0]


def _dir(box: Sandbox, tape: Tape) -> None:
    with box.folder(tape.path()):
        pass


def _file(box: Sandbox, tape: Tape) -> None:
    box.write(tape.path(), tape.blob())


def _sealed(box: Sandbox, tape: Tape) -> None:
    box.write(tape.path(), sealed(tape.blob()))


def _link(box: Sandbox, tape: Tape) -> None:
    path = tape.path()
    up = "/".join([".."] * len(path))
    targets = (
        f"{up}/outside",
        f"{up}/outside/model",
        str(box.outside / "MANIFEST"),
        "/dev/zero",
        os.fsdecode(path[-1]),
        "gen-00000001-step-00000001",
        ".",
        "..",
        "nowhere",
    )
    with box.folder(path[:-1]) as fd:
        os.symlink(targets[tape.byte() % len(targets)], path[-1], dir_fd=fd)


def _fifo(box: Sandbox, tape: Tape) -> None:
    path = tape.path()
    with box.folder(path[:-1]) as fd:
        os.mkfifo(path[-1], dir_fd=fd)


def _hard_link(box: Sandbox, tape: Tape) -> None:
    """A second name of a file of the store, or of one outside it."""
    path = tape.path()
    with box.folder(path[:-1]) as fd:
        if tape.byte() % 2:
            os.link(box.outside / "model", path[-1], dst_dir_fd=fd)
            return
        source = tape.path()
        with box.folder(source[:-1]) as other:
            os.link(source[-1], path[-1], src_dir_fd=other, dst_dir_fd=fd, follow_symlinks=False)


def _sparse(box: Sandbox, tape: Tape) -> None:
    """A hole. Only a manifest is huge: whoever verifies a huge part has to read all of it."""
    path = tape.path()
    is_manifest = path[-1] == b"MANIFEST"
    box.write(path, b"", _BIG if is_manifest else (1 << tape.byte() % 21))


def _group(box: Sandbox, tape: Tape) -> None:
    """A whole, valid group, as the library would leave it."""
    kind, generation, step, count = tape.byte(), tape.byte() % 8, tape.byte() % 8, tape.byte()
    name = GroupName(generation, step, attempt=kind % 4 == 1, pruned=kind % 4 == 2)
    home = (str(name).encode(),) if kind % 4 != 3 else (b"quarantine", str(name).encode())
    put_group(box, home, name, count)


def put_group(box: Sandbox, home: Names, name: GroupName, count: int) -> tuple[str, ...]:
    """A valid group in that directory; the paths of its parts. `count` says how much it has."""
    parts = []
    for n in range(1 + count % 3):
        path, data = f"{'optim/' * (n % 2)}part{n}", bytes([n]) * (count // 8)
        box.write((*home, *path.encode().split(b"/")), data)
        parts.append(Part(path, len(data), hashlib.sha256(data).hexdigest()))
    metadata = {"loss": count / 7}
    manifest = Manifest(name.generation, name.step, "attempt", tuple(parts), 1, metadata)
    box.write((*home, b"MANIFEST"), encode(manifest))
    return tuple(part.path for part in parts)


def _remove(box: Sandbox, tape: Tape) -> None:
    path = tape.path()
    with box.folder(path[:-1]) as fd:
        try:
            os.unlink(path[-1], dir_fd=fd)
        except IsADirectoryError:
            os.rmdir(path[-1], dir_fd=fd)


def _rename(box: Sandbox, tape: Tape) -> None:
    source, target = tape.path(), tape.path()
    with box.folder(source[:-1]) as fd, box.folder(target[:-1]) as other:
        os.rename(source[-1], target[-1], src_dir_fd=fd, dst_dir_fd=other)


def _edit(box: Sandbox, tape: Tape) -> None:
    """Bytes put in the place of others; the seal of a manifest is made to fit again."""
    path, at, width, reseals = tape.path(), tape.number(), tape.byte() % 16, tape.byte() % 2
    data = box.read(path)
    body = unsealed(data) if reseals else data
    at %= len(body) + 1
    body = body[:at] + tape.blob() + body[at + width :]
    box.write(path, sealed(body) if reseals else body)


def _field(box: Sandbox, tape: Tape) -> None:
    """Another value in a manifest, in the canonical spelling, sealed again."""
    home = tape.path()[:3]
    lines = unsealed(box.read((*home, b"MANIFEST"))).split(b"\n")
    try:
        head = json.loads(lines[1][2:])
        edited(head, tape)
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    except ODD_ERRORS:
        return
    lines[1] = b"# " + text
    box.write((*home, b"MANIFEST"), sealed(b"\n".join(lines)))


def _newer(box: Sandbox, tape: Tape) -> None:
    """A newer version has written a manifest: something unknown is in it, and its seal is right."""
    home = tape.path()[:3]
    try:
        newer = odd_newer(box.read((*home, b"MANIFEST")), tape)
    except ODD_ERRORS:
        return
    box.write((*home, b"MANIFEST"), newer)


def odd_newer(manifest: bytes, tape: Tape) -> bytes:
    """A manifest with something unknown in it, and odd in other ways, which count for nothing."""
    newer = with_unknown(manifest, tape)
    for _ in range(tape.byte() % 4):
        try:
            odd = _made_odd(newer, tape)
        except ODD_ERRORS:
            continue
        newer = odd if has_unknown(odd) else newer
    return newer


def _made_odd(manifest: bytes, tape: Tape) -> bytes:
    """A manifest that is odd in one more way, sealed again; what was unknown may be gone."""
    lines, kind = unsealed(manifest).split(b"\n"), tape.byte() % 6
    if kind < 3:
        head = json.loads(lines[1][2:])
        if kind == 0:
            edited(head, tape)
        elif kind == 1:
            head = dict(reversed(head.items()))
        text = json.dumps(head, separators=(", ", ": ") if kind == 2 else (",", ":"))
        lines[1] = b"# " + text.encode()
    elif kind == 3:
        lines[2:] = [tape.blob(), b""]
    elif kind == 4:
        lines[1] = lines[1][:-1] + b',"step":2}'
    else:
        lines[1] = tape.blob()
    return sealed(b"\n".join(lines))


def edited(head: dict[str, Any], tape: Tape) -> None:
    """Set or take away one value of a manifest's JSON, or one of a part."""
    of_part = tape.byte() % 2
    keys = _PART_KEYS if of_part else _KEYS
    where = head["parts"][tape.byte() % len(head["parts"])] if of_part else head
    key = keys[tape.byte() % len(keys)]
    if tape.byte() % 8 == 0:
        where.pop(key, None)
    else:
        where[key] = value(tape)


def value(tape: Tape, depth: int = 0) -> Any:
    """Any JSON value, and some that JSON has no word for."""
    kind = tape.byte() % 10
    if kind >= 8 and depth < 80:
        many = [value(tape, depth + 1) for _ in range(tape.byte() % 4)]
        return many if kind == 8 else {f"k{n}": each for n, each in enumerate(many)}
    plain: tuple[Callable[[], Any], ...] = (
        lambda: _INTEGERS[tape.byte() % len(_INTEGERS)],
        lambda: _TEXTS[tape.byte() % len(_TEXTS)],
        lambda: tape.blob().decode("utf-8", "replace"),
        tape.number,
        lambda: (None, True, False)[tape.byte() % 3],
        lambda: (1.5, -0.0, 1e308, float("nan"), float("inf"))[tape.byte() % 5],
        lambda: "d/" * tape.byte() + "x",
        lambda: "xxh3" if tape.byte() % 2 else "blake3",
    )
    return plain[kind % len(plain)]()


def _deep(box: Sandbox, tape: Tape) -> None:
    """Directories inside each other, so deep that no path names the innermost."""
    with box.folder(tape.path()) as fd:
        inner = os.dup(fd)
        try:
            for _ in range(tape.byte() % 24):
                os.mkdir(b"d" * 250, dir_fd=inner)
                deeper = os.open(b"d" * 250, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=inner)
                os.close(inner)
                inner = deeper
        finally:
            os.close(inner)


def _many(box: Sandbox, tape: Tape) -> None:
    """Dozens of directories that are named like groups and hold nothing."""
    for n in range(tape.byte() % 64):
        with box.folder((str(GroupName(n, n)).encode(),)):
            pass


_STEPS: Final[tuple[Callable[[Sandbox, Tape], None], ...]] = (
    _dir,
    _file,
    _sealed,
    _link,
    _fifo,
    _hard_link,
    _sparse,
    _group,
    _remove,
    _rename,
    _edit,
    _field,
    _deep,
    _many,
    _newer,
)


def program_of(store: Path) -> bytes:
    """The program that makes a tree like this one, of files of a few KiB at most."""
    program = b""
    for path in sorted(store.rglob("*")):
        names = tuple(os.fsencode(part) for part in path.relative_to(store).parts)
        if path.is_symlink():
            continue
        if path.is_dir():
            program += bytes([_STEPS.index(_dir)]) + spelled_path(names)
        elif path.name == "MANIFEST":
            body = unsealed(path.read_bytes())
            program += bytes([_STEPS.index(_sealed)]) + spelled_path(names) + spelled_blob(body)
        else:
            data = path.read_bytes()
            program += bytes([_STEPS.index(_file)]) + spelled_path(names) + spelled_blob(data)
    return program


def step_number(name: str) -> int:
    """The byte of a step, by the name of its function: "_link"."""
    found = [n for n, step in enumerate(_STEPS) if step.__name__ == name]
    if not found:
        raise OSError(errno.ENOENT, "no such step", name)
    return found[0]
