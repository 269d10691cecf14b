"""Targets that are functions of bytes alone: manifests, paths, names, metadata, reports."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Final

from lastgood.format.chunks import Chunking
from lastgood.format.features import UnknownFeatureError
from lastgood.format.manifest import (
    Manifest,
    ManifestError,
    Part,
    decode,
    encode,
    is_safe_part_path,
)
from lastgood.format.metadata import from_text, snapshot, to_text
from lastgood.format.names import (
    MAX_GENERATION,
    free_name,
    newest_first,
    next_generation,
    parse_name,
    pruned_names,
)
from lastgood.recovery.quarantine_report import (
    PartReport,
    QuarantineReport,
    ReportError,
    decode_report,
    encode_report,
)
from tests.fuzz.newer import has_unknown
from tests.fuzz.tape import Tape
from tests.fuzz.trees import ODD_ERRORS, edited, odd_newer, sealed, value

_SHA: Final = "0" * 64
_HEX: Final = frozenset("0123456789abcdef")


def manifest_bytes(data: bytes) -> None:
    """Any bytes as a manifest."""
    found = _decoded(data)
    # What is unknown in an intact manifest is never damage, and nothing else is unknown.
    assert isinstance(found, UnknownFeatureError) == has_unknown(data), "what is unknown"
    if isinstance(found, ManifestError | UnknownFeatureError):
        # Both are printed, and the reason is a word in somebody's script.
        assert found.reason.isprintable()
        assert str(found).isprintable()
    else:
        _accepted(found, data)


def _decoded(data: bytes) -> Manifest | ManifestError | UnknownFeatureError:
    try:
        return decode(data)
    except (ManifestError, UnknownFeatureError) as error:
        return error


def manifest_body(data: bytes) -> None:
    """Any bytes as a manifest whose own digest is right."""
    manifest_bytes(sealed(data))


def manifest_values(data: bytes) -> None:
    """A valid manifest with other values in it, spelled and sealed as it should be."""
    tape = Tape(data)
    parts = [
        {"digest_from": "memory", "path": f"p{n}", "size_bytes": n} for n in range(tape.byte() % 4)
    ]
    head = {"attempt": "x", "generation": 2, "metadata": {}, "parts": parts, "step": 2}
    head["world_size"] = 1
    for _ in range(1 + tape.byte() % 4):
        with contextlib.suppress(ZeroDivisionError, AttributeError, TypeError, KeyError):
            edited(head, tape)
    try:
        text = json.dumps(head, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return
    lines = ["# lastgood manifest 1", f"# {text}"]
    listed_parts = head.get("parts")
    for each in listed_parts if isinstance(listed_parts, list) else []:
        path = each.get("path") if isinstance(each, dict) else None
        lines.append(f"{_SHA[: 32 if head.get('digest') == 'xxh3' else 64]}  {path}")
    manifest_bytes(sealed("".join(f"{line}\n" for line in lines).encode("utf-8", "replace")))


def manifest_newer(data: bytes) -> None:
    """A manifest with something unknown in it: not judged while its seal holds, damage after."""
    tape = Tape(data)
    part = Part("model", 9, _SHA, "memory", _SHA * 3 * (tape.byte() % 2))
    cut = Chunking(4, "sha256") if part.chunks else None
    manifest = encode(Manifest(2, 2, "x", (part, Part("b", 1, _SHA)), chunking=cut))
    newer = odd_newer(manifest, tape)
    for _ in range(tape.byte() % 3):
        with contextlib.suppress(*ODD_ERRORS):  # none can be put into what is no JSON any more
            newer = odd_newer(newer, tape)
    assert has_unknown(newer)
    manifest_bytes(newer)
    broken = bytearray(newer)
    broken[tape.number() % len(broken)] ^= 1 << tape.byte() % 8
    assert isinstance(_decoded(bytes(broken)), ManifestError)


def _accepted(manifest: Manifest, data: bytes) -> None:
    """What is accepted is in its only spelling, is safe, and can be saved again."""
    assert encode(manifest) == data
    assert manifest.parts
    for part in manifest.parts:
        assert is_safe_part_path(part.path)
        assert not part.path.startswith("/")
        assert ".." not in part.path.split("/")
        assert part.path.isprintable()
        assert 0 <= part.size_bytes < 1 << 63
    assert snapshot(manifest.metadata)[0] == dict(manifest.metadata)


def names(data: bytes) -> None:
    """Names of entries, as a directory lists them."""
    entries = [os.fsdecode(name) for name in data.split(b"/")][:64]
    for entry in entries:
        for in_quarantine in (False, True):
            name = parse_name(entry, in_quarantine=in_quarantine)
            if name is not None:
                assert entry.startswith(str(name))
                assert in_quarantine or entry == str(name)
                assert 0 <= name.generation <= MAX_GENERATION
                assert parse_name(str(name)) == name
    found = newest_first(entries)
    assert [n.generation for n in found] == sorted((n.generation for n in found), reverse=True)
    assert not set(pruned_names(entries)) & set(found)
    new = next_generation(entries, entries)
    assert all(new > name.generation for name in found)
    assert free_name(entries[0], entries) not in entries


def metadata(data: bytes) -> None:
    """The text of metadata, and what a save makes of what it says."""
    try:
        value = from_text(data.decode("utf-8", "replace"))
    except ValueError:
        return
    try:
        kept, _ = snapshot(value)
    except (ValueError, TypeError):
        return
    assert from_text(to_text(kept)) == kept


def report(data: bytes) -> None:
    """Bytes as a report, and a report with other values in it."""
    for text in (data, _edited_report(Tape(data))):
        found = _decoded_report(text)
        if isinstance(found, ReportError):
            assert f"{found}".isprintable()
            continue
        assert json.loads(encode_report(found)) == json.loads(text)
        assert (found.generation, found.step) == (2, 2)
        require_sound(found)


def require_sound(report: QuarantineReport) -> None:
    """Whoever wrote it, all of a report that was accepted can be printed and counted with."""
    parts = report.parts
    texts = [report.reason, report.detail, report.lastgood, *report.what_to_do]
    texts += [report.digest or "", *(part.path for part in parts)]
    assert all(isinstance(text, str) and len(text) <= 4096 for text in texts), "no short text"
    assert all(text.isprintable() for text in texts), "a text is not printable"
    counts = [report.parts_not_listed, *(part.expected_bytes for part in parts)]
    counts += [n for n in (report.when_s, *(part.found_bytes for part in parts)) if n is not None]
    assert all(type(count) is int and 0 <= count < 1 << 63 for count in counts), "no count"
    digests = [part.expected_digest for part in parts]
    digests += [part.found_digest for part in parts if part.found_digest is not None]
    assert all(len(digest) in (32, 64) and not set(digest) - _HEX for digest in digests), "no hex"
    assert {part.verdict for part in parts} <= {"intact", "damaged", "not_checked"}
    assert len(parts) <= 512


def _decoded_report(text: bytes) -> QuarantineReport | ReportError:
    try:
        return decode_report(text, _REPORT.entry)
    except ReportError as error:
        return error


def _edited_report(tape: Tape) -> bytes:
    raw = _REPORT.as_json()
    keys = sorted(raw)
    for _ in range(1 + tape.byte() % 3):
        parts = raw["parts"]
        in_part = tape.byte() % 3 == 0 and isinstance(parts, list) and parts and parts[0]
        where = parts[0] if in_part and isinstance(parts[0], dict) else raw
        inner = sorted(where) if where is not raw else keys
        where[inner[tape.byte() % len(inner)]] = value(tape)
    return json.dumps(raw).encode()


_REPORT: Final = QuarantineReport(
    "gen-00000002-step-00000002",
    "gen-00000002-step-00000002.1",
    2,
    2,
    "missing:model",
    "'model' is missing",
    1_700_000_000,
    "0.1.0",
    ("look", "mend"),
    "sha256",
    (PartReport("model", "damaged", 7, _SHA),),
    0,
)


def part_path(data: bytes) -> None:
    """A path: safe for a reader is exactly what a manifest takes."""
    path = data.decode("utf-8", "surrogateescape")
    good = is_safe_part_path(path)
    try:
        data = encode(Manifest(1, 1, "x", (Part(path, 1, _SHA),)))
    except UnicodeEncodeError:
        assert not good
        return
    try:
        decode(data)
    except ManifestError:
        assert not good
    else:
        assert good
