"""The report beside what was moved to quarantine: what was found, when, and what to do. Pure.

quarantine/gen-00000007-step-00000042                what was set aside, as it was found
quarantine/gen-00000007-step-00000042.report.json    why

It is for people and for programs, and nothing that lastgood does depends on it. It is written after
the move, without a sync: a crash may leave none, or a part of one. Whoever reads one takes it for
what a stranger may have written.
"""

from __future__ import annotations

import json
from typing import Any, Final

from attrs import asdict, fields_dict, frozen

from lastgood.format.digests import is_digest
from lastgood.format.manifest import Manifest, is_count
from lastgood.format.metadata import from_text
from lastgood.format.names import parse_name
from lastgood.parts.verify import FailedPart

FORMAT: Final = "lastgood quarantine report 1"
REPORT_SUFFIX: Final = ".report.json"
SIZE_LIMIT_BYTES: Final = 4 << 20
MAX_PARTS: Final = 512
"""Parts that a report lists; of the others it only says how many there are."""
SYNC_FAILED: Final = "sync_failed"
"""The reason of a group whose save has failed: whole as it may look, it was never acknowledged."""
VERDICTS: Final = ("intact", "damaged", "not_checked")
_TEXT_LIMIT: Final = 4096
_PART_KEYS: Final = {"expected", "found", "path", "verdict"}


@frozen
class PartReport:
    """One part, as the manifest has it and as it was found.

    `verdict` is "intact", "damaged" or "not_checked": a check ends at the first part that fails.
    What was found is None where nothing could be, or where nobody looked.
    """

    path: str
    verdict: str
    expected_bytes: int
    expected_digest: str
    found_bytes: int | None = None
    found_digest: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The part as JSON can say it."""
        return {
            "path": self.path,
            "verdict": self.verdict,
            "expected": {"digest": self.expected_digest, "size_bytes": self.expected_bytes},
            "found": {"digest": self.found_digest, "size_bytes": self.found_bytes},
        }


@frozen
class QuarantineReport:
    """The reason why something was moved to quarantine.

    `name` is what it was called in the store, `entry` what it is called in quarantine. `reason` is
    a word for machines, `detail` for people. `when_s` is Unix time by the writer's clock, or None.
    `lastgood` is the version that wrote it. `parts` are those of its manifest where that is
    intact, and `digest` is their algorithm; `parts_not_listed` counts the rest of them.
    """

    name: str
    entry: str
    generation: int
    step: int
    reason: str
    detail: str
    when_s: int | None
    lastgood: str
    what_to_do: tuple[str, ...]
    digest: str | None = None
    parts: tuple[PartReport, ...] = ()
    parts_not_listed: int = 0

    def as_json(self) -> dict[str, Any]:
        """The report as JSON can say it: the content of its file."""
        return {
            "format": FORMAT,
            **asdict(self, recurse=False),
            "what_to_do": list(self.what_to_do),
            "parts": [part.as_json() for part in self.parts],
        }


_KEYS: Final = {"format", *fields_dict(QuarantineReport)}


class ReportError(ValueError):
    """The bytes are no report. The message says what was found and what was expected."""


def report_name(entry: str) -> str:
    """The name of the report on an entry of the quarantine."""
    return entry + REPORT_SUFFIX


def advice(name: str, entry: str, reason: str) -> tuple[str, ...]:
    """Advice about an entry of the quarantine, for people."""
    if reason in ("attempt", "no_commit"):
        why = "A save ended before its commit. It was never acknowledged: nothing is missing."
    elif reason == SYNC_FAILED:
        why = "Its save failed. It was never acknowledged, and need not be whole on the disk."
    else:
        why = "It was passed over. Find out what damaged it: the disk, or another program."
    delete = f"To give it up: lastgood purge DIR --entry {entry} (it deletes this report too)."
    if reason == "no_commit":
        delete += " A recovery does that once a newer one of its kind is here."
    look = f"See what is wrong with it now: lastgood quarantine DIR (it lists {entry})."
    restore = (
        "To take it back, put right what is wrong until that command calls it valid, end the "
        f"writer, move it to DIR/{name}, delete this report, and run lastgood verify DIR."
    )
    return (why, look, delete) if reason == SYNC_FAILED else (why, look, delete, restore)


def part_reports(manifest: Manifest, found: FailedPart) -> tuple[tuple[PartReport, ...], int]:
    """The manifest's parts, and how many are not listed; `found` is the first that failed.

    Those before it are intact, because parts are checked in this order; those after it were not
    looked at.
    """
    failed_at = [part.path for part in manifest.parts].index(found.path)
    listed = [*range(min(len(manifest.parts), MAX_PARTS))]
    listed[-1] = max(listed[-1], failed_at)
    reports = []
    for number in listed:
        part = manifest.parts[number]
        expected = part.size_bytes, part.digest
        if number < failed_at:
            verdict, seen = "intact", (part.size_bytes, part.digest)
        elif number == failed_at:
            verdict, seen = "damaged", (found.size_bytes, found.digest)
        else:
            verdict, seen = "not_checked", (None, None)
        reports.append(PartReport(part.path, verdict, *expected, *seen))
    return tuple(reports), len(manifest.parts) - len(listed)


def encode_report(report: QuarantineReport) -> bytes:
    """The report as the text of its file."""
    return (json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n").encode()


def decode_report(data: bytes, entry: str) -> QuarantineReport:
    """The report on that entry of the quarantine that the bytes are. ReportError."""
    try:
        raw = from_text(data.decode("utf-8", "strict"))
    except RecursionError as error:
        raise ReportError("there is not enough stack left to read it") from error
    except ValueError as error:
        raise ReportError(f"it is not the JSON that is expected: {str(error)[:200]!a}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or set(raw) != _KEYS:
        raise ReportError(f"it has other keys than {FORMAT!r} has")
    name = parse_name(entry, in_quarantine=True)
    if raw["entry"] != entry or name is None:
        raise ReportError(f"it speaks of another entry, expected {entry!a}")
    numbers = {"generation": name.generation, "step": name.step, "name": str(name)}
    if any(type(raw[key]) is not type(n) or raw[key] != n for key, n in numbers.items()):
        raise ReportError(f"it speaks of another group, expected {name}")
    texts = [raw["reason"], raw["detail"], raw["lastgood"]]
    if not isinstance(raw["what_to_do"], list) or len(raw["what_to_do"]) > len(_KEYS):
        raise ReportError("what_to_do is wrong, expected a short list")
    if not all(map(_is_text, [*texts, *raw["what_to_do"]])):
        raise ReportError("a text is wrong, expected a short one that can be printed")
    if raw["when_s"] is not None and not is_count(raw["when_s"]):
        raise ReportError("when_s is wrong, expected a count of seconds or null")
    parts, digest = raw["parts"], raw["digest"]
    if not is_count(raw["parts_not_listed"]) or not (digest is None or _is_text(digest)):
        raise ReportError("parts_not_listed or digest is wrong, expected a count and a word")
    if not isinstance(parts, list) or len(parts) > MAX_PARTS:
        raise ReportError(f"parts is wrong, expected a list of {MAX_PARTS} at most")
    return QuarantineReport(
        raw["name"],
        entry,
        name.generation,
        name.step,
        raw["reason"],
        raw["detail"],
        raw["when_s"],
        raw["lastgood"],
        tuple(raw["what_to_do"]),
        digest,
        tuple(map(_part, parts)),
        raw["parts_not_listed"],
    )


def _part(raw: Any) -> PartReport:
    """One part of its JSON. ReportError."""
    if not isinstance(raw, dict) or set(raw) != _PART_KEYS:
        raise ReportError(f"a part has other keys, expected {sorted(_PART_KEYS)}")
    if raw["verdict"] not in VERDICTS or not _is_text(raw["path"]):
        raise ReportError("a part's verdict or path is wrong, expected a known word and a path")
    sides: list[tuple[Any, Any]] = []
    for side in (raw["expected"], raw["found"]):
        if not isinstance(side, dict) or set(side) != {"digest", "size_bytes"}:
            raise ReportError("what was expected or found of a part is no size and digest")
        sides.append((side["size_bytes"], side["digest"]))
    (size_bytes, digest), found = sides[0], sides[1]
    if not is_count(size_bytes) or not _is_hex(digest):
        raise ReportError("what was expected of a part is wrong, expected a count and hex digits")
    if not (found[0] is None or is_count(found[0])) or not (found[1] is None or _is_hex(found[1])):
        raise ReportError("what was found of a part is wrong, expected a count and hex digits")
    return PartReport(raw["path"], raw["verdict"], size_bytes, digest, *found)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_LIMIT and value.isprintable()


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and any(is_digest(value, kind) for kind in ("sha256", "xxh3"))
