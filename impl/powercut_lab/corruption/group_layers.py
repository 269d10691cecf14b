"""The word of each layer on a group on a disk, and what its protocol hands out of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from lastgood.backends.detect import disk_here
from lastgood.crashtest import paper_protocol
from lastgood.crashtest.subjects import RecoveredGroup
from lastgood.format.features import UnknownFeatureError
from lastgood.format.manifest import Manifest, ManifestError, decode
from lastgood.format.names import GroupName
from lastgood.guard import Guard, Sidecar, scan_groups
from lastgood.parts.verify import check_unit, units_of_group
from powercut_lab.corruption.groups import NEWER, OLDER, RNG, GroupSubject, parts_of

_SUM_LINE: Final = re.compile(rb"^([0-9a-f]{64})  (.+)$", re.MULTILINE)
_LIMIT_BYTES: Final = 1 << 20


@frozen
class LayerVerdicts:
    """One for each layer: 1 noticed, 0 did not, -1 is not there."""

    load: int
    shape: int
    digest: int
    file_hash: int
    manifest: int
    chunk: int


@frozen
class Handed:
    """The answer of a protocol's own reader to a store.

    `outcome` is "newest", "older", "nothing", "damaged bytes" or "refused"; `reason` is the word
    that rejected the newest group, or the error.
    """

    outcome: str
    reason: str


@frozen
class Expected:
    """The facts of a group from the memory of the program that saved it.

    `truth` are the parts before any damage, by path; `sidecars` describe those that have a format.
    """

    seed: int
    truth: Mapping[str, bytes]
    sidecars: Mapping[str, Sidecar]


def expect(guard: Guard, folder: Path, seed: int) -> Expected:
    """The expectation of the newer group."""
    truth = parts_of(seed, NEWER)
    sidecars = {}
    for path, data in truth.items():
        file = folder / f"intact-{path}"
        file.write_bytes(data)
        sidecars[path] = guard.describe(file)
    return Expected(seed, truth, sidecars)


def judge_layers(
    guard: Guard, subject: GroupSubject, group: Path, expected: Expected
) -> LayerVerdicts:
    """Ask every layer on its own."""
    load = shape = digest = 0
    for path, sidecar in expected.sidecars.items():
        report = guard.check(group / path, sidecar)
        failed = report.load_ok is False or (path == RNG and not _is_json(group / path))
        load |= failed
        shape |= report.shape_ok is False
        digest |= report.digest_ok is False
    listed = _read(group / subject.records[0])
    file_hash = _sums_fail(group, _listed(subject, listed))
    if subject.is_papers:
        commit = _read(group / paper_protocol.COMMIT)
        return LayerVerdicts(load, shape, digest, file_hash, _commit_fails(commit, listed), -1)
    manifest = _decoded(listed, group.name)
    chunk = -1 if manifest is None else _chunks_fail(group, manifest)
    return LayerVerdicts(load, shape, digest, file_hash, int(manifest is None), chunk)


def hand_out(subject: GroupSubject, store: Path, expected: Expected) -> Handed:
    """Let the protocol's own reader load the newest group that it takes for valid."""
    try:
        found = subject.recover(store)
    except Exception as error:  # whatever it raises is its answer
        if subject.is_papers and isinstance(error, OSError):
            return _by_the_papers_scan(store)
        return Handed("refused", type(error).__name__)
    if found is None:
        return Handed("nothing", "")
    reason = _why_not_newest(subject, store, found)
    truths = {NEWER: expected.truth, OLDER: parts_of(expected.seed, OLDER)}
    if dict(found.parts) != dict(truths.get(found.step, {})):
        return Handed("damaged bytes", reason)
    return Handed("newest" if found.step == NEWER else "older", reason)


def _by_the_papers_scan(store: Path) -> Handed:
    """The paper's scan passes over a group that cannot be read, where the subject here raises."""
    rows = {row.epoch: row for row in scan_groups(store)}
    valid = [epoch for epoch, row in rows.items() if row.group_ok]
    words = {reason.partition(":")[0] for reason in rows[NEWER].reasons}
    outcome = {NEWER: "newest", OLDER: "older"}.get(max(valid, default=-1), "nothing")
    return Handed(outcome, ";".join(sorted(words)))


def _why_not_newest(subject: GroupSubject, store: Path, found: RecoveredGroup) -> str:
    """The words of the rejection, without the names that stand in them."""
    if subject.is_papers:  # its reader keeps no reasons, and its scan is another program
        rows = [row for row in scan_groups(store) if row.epoch == NEWER]
        reasons = [reason for row in rows for reason in row.reasons]
    else:
        reasons = list(found.passed_over.values())
    return ";".join(sorted({reason.partition(":")[0] for reason in reasons}))


def _read(file: Path) -> bytes | None:
    try:
        return disk_here().read(str(file), _LIMIT_BYTES)
    except OSError:
        return None


def _is_json(file: Path) -> bool:
    try:
        return isinstance(json.loads(_read(file) or b""), dict)
    except ValueError:
        return False


def _listed(subject: GroupSubject, data: bytes | None) -> dict[str, Any]:
    """The digests that a manifest lists, whether or not it is intact; empty where none is legible.

    Of lastgood's it takes the lines that `sha256sum -c` would take.
    """
    if data is None:
        return {}
    if not subject.is_papers:
        pairs = _SUM_LINE.findall(data)
        return {path.decode("utf-8", "replace"): digest.decode() for digest, path in pairs}
    try:
        return {each["path"]: each["sha256"] for each in json.loads(data)["parts"]}
    except (ValueError, KeyError, TypeError):
        return {}


def _sums_fail(group: Path, sums: Mapping[str, Any]) -> int:
    for path, digest in sums.items():
        data = None if "/" in path or "\0" in path else _read(group / path)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            return 1
    return int(not sums)


def _commit_fails(commit: bytes | None, manifest: bytes | None) -> int:
    try:
        said = json.loads(commit or b"")["manifest_sha256"]
        json.loads(manifest or b"")
    except (ValueError, KeyError, TypeError):
        return 1
    return int(said != hashlib.sha256(manifest or b"").hexdigest())


def _decoded(data: bytes | None, directory: str) -> Manifest | None:
    """The manifest, where it is intact and that of this directory."""
    if data is None:
        return None
    try:
        manifest = decode(data)
    except (ManifestError, UnknownFeatureError):
        return None
    return manifest if str(GroupName(manifest.generation, manifest.step)) == directory else None


def _chunks_fail(group: Path, manifest: Manifest) -> int:
    disk = disk_here()
    return int(
        any(check_unit(disk, str(group), unit) is not None for unit in units_of_group(manifest))
    )
