"""A scan of groups with the paper's columns: of the paper's layout, and of lastgood's stores."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final

from attrs import frozen

from lastgood.backends.detect import disk_here
from lastgood.backends.interface import DiskReader, join
from lastgood.errors import UsageError, storage_error
from lastgood.format.digests import is_digest
from lastgood.format.manifest import is_count, is_safe_part_path
from lastgood.format.names import MANIFEST as OUR_MANIFEST
from lastgood.parts.verify import MISSING_ERRNOS, NOT_REGULAR_ERRNOS
from lastgood.recovery.recovery import Group, examine_all

GROUP_COLUMNS: Final = (
    "epoch", "dir", "has_commit", "has_manifest", "parts_ok", "group_ok", "note",
)  # fmt: skip
_MANIFEST: Final = "MANIFEST.json"
_COMMIT: Final = "COMMIT.json"
_LIMIT_BYTES: Final = 16 << 20
_OF_THIS_MACHINE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE})


@frozen
class GroupScanRow:
    """One group: `epoch` is the number of its name (a lastgood group's step), `note` its reasons.

    A lastgood group has its commit inside its manifest: both are there or neither is.
    """

    epoch: int
    directory: str
    has_commit: bool
    has_manifest: bool
    parts_ok: bool
    reasons: tuple[str, ...]

    @property
    def group_ok(self) -> bool:
        """The group is whole."""
        return not self.reasons

    def row(self) -> tuple[str | int, ...]:
        """The cells of `GROUP_COLUMNS`."""
        held = (self.has_commit, self.has_manifest, self.parts_ok, self.group_ok)
        return (self.epoch, self.directory, *map(int, held), ";".join(self.reasons))


def scan_groups(root: str | PurePath) -> list[GroupScanRow]:
    """Every group below a directory, verified in full. UsageError; StorageError.

    `epoch_NNNN` directories are the paper's; all others that lastgood names are lastgood's.
    """
    disk, where = disk_here(), str(root)
    try:
        if disk.kind(where) != "dir":
            raise UsageError(f"{where!r} is no directory. Nothing was changed.")
        names = disk.names(where)
        papers = [_of_the_paper(disk, where, name) for name in names if _epoch(name) is not None]
    except OSError as error:
        raise storage_error(f"reading {where!r}", error) from error
    ours = [_of_ours(where, each) for each in examine_all(disk, where)]
    return [*papers, *sorted(ours, key=lambda row: row.directory)]


def _of_ours(root: str, found: Any) -> GroupScanRow:
    if isinstance(found, Group):
        return GroupScanRow(found.name.step, found.path, True, True, True, ())
    step = found.name.rpartition("-step-")[2]
    has_manifest = not found.reason.startswith(("missing:MANIFEST", "no_commit"))
    sealed = has_manifest and not found.reason.startswith(
        ("manifest_error", "commit_manifest_mismatch", f"unreadable:{OUR_MANIFEST}")
    )
    epoch = int(step) if step.isascii() and step.isdecimal() and len(step) <= 18 else -1
    return GroupScanRow(epoch, join(root, found.name), sealed, has_manifest, False, (found.reason,))


def _epoch(name: str) -> int | None:
    digits = name.removeprefix("epoch_")
    is_number = digits != name and digits.isascii() and digits.isdecimal() and len(digits) <= 18
    return int(digits) if is_number else None


def _of_the_paper(disk: DiskReader, root: str, name: str) -> GroupScanRow:
    """One epoch by the paper's rules. OSError where this machine failed."""
    group = join(root, name)
    if disk.kind(group) != "dir":
        return GroupScanRow(_epoch(name) or 0, group, False, False, False, (f"not_regular:{name}",))
    reasons: list[str] = []
    commit = _record(disk, group, _COMMIT, "commit_error", reasons)
    data = _record(disk, group, _MANIFEST, "manifest_error", reasons)
    has_commit, has_manifest = commit is not None, data is not None
    if commit is None and disk.kind(join(group, _COMMIT)) == "missing":
        reasons.append("no_commit")
    said = _json(commit, "commit_error", reasons)
    manifest = _json(data, "manifest_error", reasons)
    is_bound = False
    if said is not None and manifest is not None and data is not None:
        is_bound = said.get("manifest_sha256") == hashlib.sha256(data).hexdigest()
        if not is_bound:
            reasons.append("commit_manifest_mismatch")
        else:
            reasons += _parts(disk, group, manifest)
    elif commit is not None and data is None and not reasons:
        reasons.append("manifest_error:FileNotFoundError")
    parts_ok = is_bound and not reasons
    return GroupScanRow(
        _epoch(name) or 0, group, has_commit, has_manifest, parts_ok, tuple(reasons)
    )


def _record(disk: DiskReader, group: str, name: str, word: str, reasons: list[str]) -> bytes | None:
    try:
        return disk.read(join(group, name), _LIMIT_BYTES)
    except OSError as error:
        if error.errno in _OF_THIS_MACHINE:
            raise
        if error.errno not in MISSING_ERRNOS or getattr(error, "of_a_read", False):
            reasons.append(f"{word}:{type(error).__name__}")
        return None


def _json(data: bytes | None, word: str, reasons: list[str]) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        reasons.append(f"{word}:{type(error).__name__}")
        return None
    if not isinstance(value, dict):
        reasons.append(f"{word}:TypeError")
        return None
    return value


def _parts(disk: DiskReader, group: str, manifest: dict[str, Any]) -> Iterator[str]:
    """The reasons against the parts that a manifest lists."""
    parts = manifest.get("parts")
    if not isinstance(parts, list):
        yield "manifest_error:KeyError"
        return
    for part in parts:
        path = part.get("path") if isinstance(part, dict) else None
        if not isinstance(path, str) or not is_safe_part_path(path):
            yield f"unsafe_path:{ascii(path)[:128]}"
            continue
        size_bytes, sha256 = part.get("bytes"), part.get("sha256")
        if not is_count(size_bytes) or not isinstance(sha256, str):
            yield "manifest_error:ValueError"
        elif not is_digest(sha256, "sha256"):
            yield f"sha_mismatch:{path}"
        else:
            yield from _part(disk, group, path, size_bytes, sha256)


def _part(
    disk: DiskReader, group: str, path: str, size_bytes: int, sha256: str
) -> Iterator[str]:  # fmt: skip
    try:
        folders = path.split("/")[:-1]
        if any(
            disk.kind(join(group, *folders[: n + 1])) == "other" for n in range(len(folders))
        ):  # a symlink on the way would lead out of the group
            yield f"not_regular:{path}"
            return
        found = disk.digest(join(group, path), size_bytes)
    except OSError as error:
        yield _reason(error, path)
        return
    if found[0] != size_bytes:
        yield f"size_mismatch:{path}"
    elif found[1] != sha256:
        yield f"sha_mismatch:{path}"


def _reason(error: OSError, path: str) -> str:
    """The reason for a part whose bytes cannot be had. OSError where this machine failed."""
    if error.errno in _OF_THIS_MACHINE:
        raise error
    if getattr(error, "of_a_read", False):
        return f"unreadable:{path}"
    words = {errno.EFBIG: "size_mismatch"}
    words |= dict.fromkeys(MISSING_ERRNOS, "missing") | dict.fromkeys(
        NOT_REGULAR_ERRNOS, "not_regular"
    )
    return f"{words.get(error.errno or 0, 'unreadable')}:{path}"
