"""The reason why a group is not valid, in the words of the paper's scan. Reads only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import lastgood
from lastgood.crashtest.paper_protocol import COMMIT, MANIFEST, epoch_name
from powercut.simulation.subject import STORE

NOT_THERE: Final = "not_there"
"""Ours: no directory of that group is there; the paper's scan has no row then."""

VALID: Final = "valid"
_LIMIT_BYTES: Final = 16 << 20

Scan = Callable[[str, int], str]
"""The reason of a group, by the root of the disk and the group's number."""


def scan_paper(root: str, number: int) -> str:
    """The note of the paper's scan on one epoch; several reasons are joined by ";".

    As there: the manifest is read first, and its error does not hide that there is no commit.
    """
    group = Path(root + STORE) / epoch_name(number)
    if not group.is_dir():
        return NOT_THERE
    notes: list[str] = []
    manifest, digest = _manifest(group / MANIFEST, notes)
    commit = group / COMMIT
    if not commit.exists():
        notes.append("no_commit")
    else:
        try:
            said = json.loads(_read(commit))["manifest_sha256"]
            if manifest is not None:
                notes += _parts(group, manifest) if said == digest else ["commit_manifest_mismatch"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            notes.append(f"commit_error:{type(error).__name__}")
    # A commit without a manifest gets no note there, and is not valid.
    return ";".join(notes) or (VALID if manifest is not None else "no_manifest")


def scan_lastgood(root: str, number: int) -> str:
    """The reason of lastgood's own scan of the newest group of that step.

    The reasons have the paper's words.  An attempt that was not renamed yet is no group: no_commit.
    """
    store = Path(root + STORE)
    ending = f"-step-{number:08d}"
    names = [path.name for path in sorted(store.iterdir()) if path.name.endswith(ending)]
    if not names:
        return NOT_THERE
    newest = names[-1]
    if newest.startswith("attempt-"):
        return "no_commit"
    with lastgood.open_read_only(store) as reader:
        for found in reader.verify():
            if isinstance(found, lastgood.Rejection) and str(found.name) == newest:
                return found.reason
    return VALID


SCANS: Final[Mapping[str, Scan]] = {"paper": scan_paper, "lastgood": scan_lastgood}
"""The scan of each protocol, by the name of its subject."""


def scan_for(name: str) -> Scan:
    """The scan of a protocol; of one that has none, it says nothing."""
    return SCANS.get(name, lambda _root, _number: "")


def _manifest(path: Path, notes: list[str]) -> tuple[dict[str, Any] | None, str]:
    """The manifest and the digest of its bytes; None where it is missing or cannot be read."""
    if not path.exists():
        return None, ""
    try:
        data = _read(path)
        manifest = json.loads(data)
        if not isinstance(manifest, dict):
            raise TypeError("no object")
        return manifest, hashlib.sha256(data).hexdigest()
    except (ValueError, TypeError, OSError) as error:
        notes.append(f"manifest_error:{type(error).__name__}")
        return None, ""


def _parts(group: Path, manifest: dict[str, Any]) -> list[str]:
    """A note for each part that is not what the manifest says."""
    notes = []
    for entry in manifest["parts"]:
        name = entry["path"]
        file = group / name
        if not file.is_file():
            notes.append(f"missing:{name}")
        elif file.stat().st_size != entry["bytes"]:
            notes.append(f"size_mismatch:{name}")
        elif hashlib.sha256(_read(file)).hexdigest() != entry["sha256"]:
            notes.append(f"sha_mismatch:{name}")
    return notes


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_LIMIT_BYTES)
