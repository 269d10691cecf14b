"""The source paper's protocol as published (arXiv 2511.18323), kept so that its holes show.

For each epoch one directory: the parts, then MANIFEST.json, then COMMIT.json. `unsafe` writes
under the final names. `atomic_nodirsync` writes each file under a temporary name in the same
directory, syncs it and renames it. `atomic_dirsync` adds one sync of the epoch's directory at the
very end; the directory above it is never synced. Recovery takes the newest epoch that verifies.

There are no generations, no lease, no re-sync and no quarantine. Two things differ from the
published code: a file that `unsafe` finds under its name is removed where the paper truncates it
(the seam never truncates), and the `latest_ok` link, set by a separate tool, is left out.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Sequence, Set
from typing import Any, Final

from lastgood.backends.interface import DiskReader, join
from lastgood.format.manifest import Part
from lastgood.parts.verify import MISSING_ERRNOS, NOT_REGULAR_ERRNOS
from lastgood.protocol.plan import Mode, subdirs, syncs_dirs, syncs_files
from lastgood.protocol.steps import (
    CloseFile,
    CreateFile,
    MakeDir,
    Remove,
    RenameEntry,
    Step,
    SyncDir,
    SyncFile,
    WritePart,
    WriteRecord,
)
from lastgood.retention.prune import list_tree

MANIFEST: Final = "MANIFEST.json"
COMMIT: Final = "COMMIT.json"
TEMPORARY: Final = ".tmp_gc_"
SEED: Final = 0
_LIMIT_BYTES: Final = 16 << 20
_DAMAGE: Final = MISSING_ERRNOS | NOT_REGULAR_ERRNOS | {errno.EFBIG}


def epoch_name(epoch: int) -> str:
    """The directory of an epoch."""
    return f"epoch_{epoch:04d}"


def plan_save(
    mode: Mode, root: str, epoch: int, parts: Sequence[str], existing: Set[str] = frozenset()
) -> Iterator[Step]:
    """One epoch, in the order of the paper's code.

    `existing` are the names inside the epoch's directory that a dead attempt left, with "." for
    the directory itself; empty where there is no such directory.
    """
    group = join(root, epoch_name(epoch))
    for directory in (".", *subdirs(parts)):
        if directory not in existing:
            yield MakeDir(group if directory == "." else join(group, directory))
    for number, name in enumerate((*parts, MANIFEST, COMMIT)):
        path = join(group, name)
        if syncs_files(mode):
            temporary = join(group, _temporary(name, number, existing))
            yield CreateFile(temporary)
            yield _content(temporary, name)
            yield SyncFile(temporary)
            yield CloseFile(temporary)
            yield RenameEntry(temporary, path)
        else:
            if name in existing:
                yield Remove(path)
            yield CreateFile(path)
            yield _content(path, name)
            yield CloseFile(path)
    if syncs_dirs(mode):
        yield SyncDir(group)


def record(name: str, parts: Sequence[Part], *, epoch: int, time_s: float) -> bytes:
    """The bytes of MANIFEST.json or COMMIT.json: JSON with sorted keys."""
    manifest = _json(
        {
            "epoch": epoch,
            "seed": SEED,
            "parts": [{"path": p.path, "bytes": p.size_bytes, "sha256": p.digest} for p in parts],
        }
    )
    if name == MANIFEST:
        return manifest
    digest = hashlib.sha256(manifest).hexdigest()
    return _json({"epoch": epoch, "seed": SEED, "manifest_sha256": digest, "ts": time_s})


def newest_valid(reader: DiskReader, root: str) -> tuple[int, dict[str, bytes]] | None:
    """The newest epoch that verifies, with its parts. OSError where the disk fails."""
    if reader.kind(root) != "dir":
        return None
    numbers = (_epoch_number(name) for name in reader.names(root))
    for epoch in sorted((n for n in numbers if n is not None), reverse=True):
        group = join(root, epoch_name(epoch))
        parts = _read_epoch(reader, group) if reader.kind(group) == "dir" else None
        if parts is not None:
            return epoch, parts
    return None


def left_by_a_dead_attempt(reader: DiskReader, root: str, epoch: int) -> frozenset[str]:
    """The argument `existing` of `plan_save`. OSError."""
    group = join(root, epoch_name(epoch))
    if reader.kind(group) != "dir":
        return frozenset()
    files, dirs = list_tree(reader, group)
    return frozenset({".", *files, *dirs})


def _temporary(name: str, number: int, existing: Set[str]) -> str:
    """A name beside the file that is not taken, as mkstemp would find one."""
    folder, slash, _ = name.rpartition("/")
    turn = 0
    while (free := f"{folder}{slash}{TEMPORARY}{number}_{turn}") in existing:
        turn += 1
    return free


def _content(path: str, name: str) -> WritePart | WriteRecord:
    return WriteRecord(path, name) if name in (MANIFEST, COMMIT) else WritePart(path, name)


def _epoch_number(name: str) -> int | None:
    """The epoch of a directory's name; None for any other name."""
    digits = name.removeprefix("epoch_")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 18:
        return None
    return int(digits) if name == epoch_name(int(digits)) else None


def _read_epoch(reader: DiskReader, group: str) -> dict[str, bytes] | None:
    """The parts of one epoch; None where anything does not match. OSError where the disk fails."""
    try:
        commit = json.loads(reader.read(join(group, COMMIT), _LIMIT_BYTES))
        data = reader.read(join(group, MANIFEST), _LIMIT_BYTES)
        if commit["manifest_sha256"] != hashlib.sha256(data).hexdigest():
            return None
        parts = {}
        for entry in json.loads(data)["parts"]:
            if ".." in entry["path"].split("/") or entry["path"].startswith("/"):
                return None
            # A symlink on the way would lead out of the group.
            if any(reader.kind(join(group, way)) != "dir" for way in subdirs([entry["path"]])):
                return None
            content = reader.read(join(group, entry["path"]), entry["bytes"])
            if len(content) != entry["bytes"]:
                return None
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                return None
            parts[entry["path"]] = content
    except OSError as error:
        if error.errno in _DAMAGE:
            return None
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return parts


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
