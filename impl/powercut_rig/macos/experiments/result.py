"""The result file: what a Mac found, as JSON that can be sent back and read on any machine.

A file that is read may come from anybody: it is bounded, each value is checked, and no text of it
reaches a terminal with control characters in it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from attrs import asdict, fields, frozen

from powercut.errors import PowercutError
from powercut.rules import RULES
from powercut.simulation.oracle import OF_CRASHES
from powercut.strict_reader import StrictReader
from powercut_rig.blocks.block_log import Recipe
from powercut_rig.judge.result import Comparison, Finding
from powercut_rig.macos import APFS
from powercut_rig.macos.experiments.verdicts import OUTCOMES, ExperimentVerdict
from powercut_rig.macos.requirements import MacMachine

KIND: Final = "powercut apfs result"
_COUNTS: Final = (
    "images", "second_recordings", "second_images", "outside", "undecided", "refused", "hung",
    "disagreeing", "unclean", "fsck_run", "not_allowed",
)  # fmt: skip
_TEXTS: Final = ("trace", "profile", "judged", "expected")
_SETS: Final = ("plans", "trees", "seen")
_COUNTERS: Final = ("tried", "possible", "violations")
_LARGEST: Final = 1 << 64
_LONGEST: Final = 20_000
_SHOWN: Final = 1000
_MOST: Final = 100_000


class ResultError(PowercutError):
    """A result file cannot be read, or is none."""


READ: Final = StrictReader(ResultError)


@frozen
class MacResult:
    """Everything that one run on a Mac found. `plain_writes_land`: see `Calibration`."""

    machine: MacMachine
    made_by: str
    comparisons: tuple[Comparison, ...]
    settled: tuple[ExperimentVerdict, ...]
    notes: tuple[str, ...] = ()
    plain_writes_land: bool = True

    @property
    def agrees(self) -> bool:
        """No image and no experiment left the model."""
        return all(each.agrees for each in self.comparisons) and not any(
            each.outcome == "outside" for each in self.settled
        )

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "schema": 1,
            "kind": KIND,
            "made_by": self.made_by,
            "machine": self.machine.to_json(),
            "agrees": self.agrees,
            "notes": list(self.notes),
            "plain_writes_land": self.plain_writes_land,
            "comparisons": [_packed(each) for each in self.comparisons],
            "experiments": [
                {**asdict(each), "in_profile": each.in_profile} for each in self.settled
            ],
        }


def made_here() -> str:
    """The version that makes a result."""
    return f"lastgood {version('lastgood')}"


def write_result(result: MacResult, path: Path) -> None:
    """Write the file; it must not exist. FileExistsError, OSError."""
    with path.open("x", encoding="utf-8") as opened:
        json.dump(result.to_json(), opened, indent=1)
        opened.write("\n")


def read_result(path: Path) -> MacResult:
    """Read a file that somebody sent. ResultError says what in it is wrong, and where."""
    where = str(path)
    try:
        raw = json.loads(READ.text(path), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise READ.fail(
            where,
            f"not JSON: {error}. Expected the file that `powercut compare --fs apfs` wrote on a "
            "Mac; it may have been cut short on its way",
        ) from error
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        raise READ.fail(
            where,
            f"no result of a Mac: kind is {_kind(raw)}, expected {KIND!r}. `powercut report` reads "
            "what `powercut compare --fs apfs` wrote; the output of `--json` has no machine in it",
        )
    known = {"schema", "kind", "made_by", "machine", "agrees", "notes", "comparisons"}
    known |= {"experiments", "plain_writes_land"}
    try:
        READ.keys(raw, known, where)
        READ.schema(raw, where)
        return _result(raw, where)
    except ResultError as error:  # what was found may be long
        raise ResultError(printable(_shortened(str(error)))) from error


def _result(raw: dict[str, Any], where: str) -> MacResult:
    return MacResult(
        _machine(READ.typed(raw, "machine", dict, where), f"{where}: machine"),
        _text(raw, "made_by", where),
        tuple(_comparison(each, at) for each, at in _tables(raw, "comparisons", where)),
        tuple(_settled(each, at) for each, at in _tables(raw, "experiments", where)),
        tuple(printable(note) for note in READ.strings(raw, "notes", where)),
        bool(READ.typed(raw, "plain_writes_land", bool, where)),
    )


def _shortened(text: str) -> str:
    if len(text) <= _SHOWN:
        return text
    return f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]}"


def printable(text: str) -> str:
    """The text without what could steer a terminal, cut to a readable length."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text[:_LONGEST])


def _packed(result: Comparison) -> dict[str, Any]:
    packed: dict[str, Any] = {"subject": result.subject, "seconds": round(result.seconds, 1)}
    for name in (*_TEXTS, *_COUNTS):
        packed[name] = getattr(result, name)
    for name in _SETS:
        packed[name] = sorted(getattr(result, name))
    for name in _COUNTERS:
        packed[name] = dict(sorted(getattr(result, name).items()))
    packed["findings"] = [
        {
            "kind": each.kind,
            "plan": each.plan,
            "crash": each.crash,
            "position": each.recipe.position,
            "moment": each.moment,
            "detail": each.detail,
        }
        for each in result.findings
    ]
    packed["errors"] = result.errors
    return packed


def _comparison(raw: dict[str, Any], where: str) -> Comparison:
    names = (*_TEXTS, *_COUNTS, *_SETS, *_COUNTERS, "subject", "seconds", "findings", "errors")
    READ.keys(raw, names, where)
    subject = raw.get("subject")
    result = Comparison(
        _text(raw, "trace", where),
        APFS,
        _text(raw, "profile", where),
        None if subject is None else _text(raw, "subject", where),
        READ.one_of(raw, "judged", OF_CRASHES, where),
        READ.one_of(raw, "expected", ("holds", "fails"), where),
        allowed=None,
    )
    for name in _COUNTS:
        setattr(result, name, _count(raw, name, where))
    for name in _SETS:
        setattr(result, name, set(_numbers(raw, name, where)))
    for name in _COUNTERS:
        counts = READ.typed(raw, name, dict, where)
        known = OF_CRASHES if name == "violations" else ("prefix",)
        READ.keys(counts, known, f"{where}: {name}")
        setattr(result, name, Counter({key: _count(counts, key, where) for key in counts}))
    seconds = raw.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise READ.fail(where, f"seconds is {seconds!r:.50}, expected a number from 0 on")
    result.seconds = float(seconds)
    result.findings = [_finding(each, at) for each, at in _tables(raw, "findings", where)]
    result.errors = [printable(error) for error in READ.strings(raw, "errors", where)]
    return result


def _finding(raw: dict[str, Any], where: str) -> Finding:
    READ.keys(raw, ("kind", "plan", "crash", "position", "moment", "detail"), where)
    return Finding(
        _text(raw, "kind", where),
        _count(raw, "plan", where),
        _count(raw, "crash", where),
        Recipe(_count(raw, "position", where)),
        _text(raw, "moment", where),
        _text(raw, "detail", where),
    )


def _settled(raw: dict[str, Any], where: str) -> ExperimentVerdict:
    texts = ("question", "because", "leaves_open")
    READ.keys(raw, (*texts, "rule", "outcome", "clones", "trees", "in_profile"), where)
    question, because, leaves_open = (_text(raw, name, where) for name in texts)
    return ExperimentVerdict(
        READ.one_of(raw, "rule", tuple(RULES), where),
        question,
        READ.one_of(raw, "outcome", OUTCOMES, where),
        because,
        _count(raw, "clones", where),
        _count(raw, "trees", where),
        leaves_open,
    )


def _machine(raw: dict[str, Any], where: str) -> MacMachine:
    flags = ("solid_state", "encrypted")
    names = [each.name for each in fields(MacMachine)]
    READ.keys(raw, names, where)
    values: dict[str, Any] = {n: _text(raw, n, where) for n in names if n not in flags}
    for name in flags:
        if raw.get(name) is not None:
            READ.typed(raw, name, bool, where)
        values[name] = raw.get(name)
    return MacMachine(**values)


def _tables(raw: Mapping[str, Any], key: str, where: str) -> Sequence[tuple[dict[str, Any], str]]:
    """The tables of a list, each with its place in words."""
    found = READ.typed(raw, key, list, where)
    if len(found) > _MOST:
        raise READ.fail(where, f"{key} has {len(found)} entries; at most {_MOST} are read")
    tables = []
    for number, each in enumerate(found, start=1):
        at = f"{where}: {key}, number {number}"
        if not isinstance(each, dict):
            raise READ.fail(at, f"expected an object, found {each!r:.50}")
        tables.append((each, at))
    return tables


def _text(raw: Mapping[str, Any], key: str, where: str) -> str:
    return printable(READ.typed(raw, key, str, where))


def _count(raw: Mapping[str, Any], key: str, where: str) -> int:
    value = READ.count(raw, key, where)
    if value > _LARGEST:
        raise READ.fail(where, f"{key} is larger than any count can be")
    return value


def _numbers(raw: Mapping[str, Any], key: str, where: str) -> list[int]:
    found = READ.typed(raw, key, list, where)
    if len(found) > _MOST or not all(type(n) is int and 0 <= n <= _LARGEST for n in found):
        raise READ.fail(where, f"{key} has to list at most {_MOST} whole numbers from 0 on")
    return list(found)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _kind(raw: object) -> str:
    found = raw.get("kind") if isinstance(raw, dict) else raw
    return printable(f"{found!r:.60}")
