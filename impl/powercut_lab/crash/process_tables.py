"""Tables of processes that died: table 3 with recovery judged, the reasons, the kills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from powercut_lab.crash.crash_points import (
    BEFORE_COMMIT,
    BEFORE_MANIFEST,
    MANIFEST_PARTIAL,
    NO_CRASH,
    POINTS,
    SHORT_COMMITTED,
)
from powercut_lab.crash.groups import GROUPS_A_RUN, RUNS
from powercut_lab.crash.kills import DISK_CALL, SYSTEM_CALL
from powercut_lab.crash.summaries import (
    Rows,
    as_share,
    counts_by,
    distinct,
    number,
    protocols_in,
    text,
)
from powercut_lab.study import ReportTable

PRINTED: Final[Mapping[tuple[str, str], str]] = {
    ("paper:atomic_dirsync", NO_CRASH): "400/400 [99.0, 100]",
    ("paper:unsafe", SHORT_COMMITTED): "0/400 [0, 1.0], called after_model",
    ("paper:unsafe", BEFORE_MANIFEST): "0/10 [0, 27.8]",
    ("paper:unsafe", MANIFEST_PARTIAL): "0/10 [0, 27.8]",
    ("paper:unsafe", BEFORE_COMMIT): "0/10 [0, 27.8]",
}
"""Table 3 of the paper as printed: the share of groups in flight that its scan found valid."""

_NOTES: Final = (
    "The paper judged the group in flight, which no protocol can save before its last step.",
    f"“{SHORT_COMMITTED}” is no crash: it is what the paper's code does at after_model.",
    "The group that was cut short is acknowledged, so it counts as not returned.",
    "Nothing can bring it back; recovery must hand out the one before it.",
)

_COLUMNS: Final = (
    "Mode and point", "Trials", "Newest acknowledged group returned", "What is returned is whole",
    "The next process goes on from it", "Group in flight valid (the paper's measure)",
    "The paper printed",
)  # fmt: skip


def hook_tables(rows: Rows) -> Iterator[ReportTable]:
    """Table 3 for each protocol: a row for each mode and point."""
    for name in ("paper", "lastgood"):
        own = [row for row in rows if text(row, "protocol").startswith(f"{name}:")]
        if own:
            yield _hook_table(name, own)


def _hook_table(name: str, rows: Rows) -> ReportTable:
    whose = "the paper's protocol" if name == "paper" else "lastgood"
    runs = len({number(row, "seed") for row in rows})
    trials = max(each.trials for each in counts_by(rows, "protocol", "point").values())
    # The paper printed nothing on ours.
    width = len(_COLUMNS) if name == "paper" else len(_COLUMNS) - 1
    return ReportTable(
        f"crash-points-{name}",
        f"Table 3 with recovery judged: {whose}",
        f"A group is 128 KiB of model, 64 KiB of optimizer and a small JSON. {runs} runs of "
        f"{trials // runs} groups (the paper: {RUNS} of {GROUPS_A_RUN}); each "
        "trial is a process that recovers, saves and is killed by SIGKILL in the group that "
        "follows; its successor finds the store as it was left. Counts with 95 % Wilson intervals "
        "in per cent.",
        _COLUMNS[:width],
        tuple(line[:width] for line in _hook_rows(rows)),
        (*_NOTES, *_places(rows)),
    )


def _places(rows: Rows) -> Iterator[str]:
    """A sentence for each point: where it is, for which modes if not for all."""
    for point in POINTS:
        own = [row for row in rows if row["point"] == point]
        places = distinct(own, "where")
        for where in places:
            modes = [
                p.partition(":")[2] for p in protocols_in([r for r in own if r["where"] == where])
            ]
            of = f" of {', '.join(modes)}" if len(places) > 1 else ""
            yield f"{point}{of}: {where}."


def _hook_rows(rows: Rows) -> Iterator[tuple[str, ...]]:
    counts = counts_by(rows, "protocol", "point")
    for protocol in protocols_in(rows):
        for point in POINTS:
            if (found := counts.get((protocol, point))) is None:
                continue
            yield (
                f"{protocol.partition(':')[2]}, {point}",
                str(found.trials),
                as_share(found.kept, found.trials),
                as_share(found.whole, found.returned),
                as_share(found.next_kept, found.trials),
                as_share(found.in_flight_ok, found.trials),
                PRINTED.get((protocol, point), ""),
            )


def reason_table(rows: Rows) -> ReportTable:
    """The reasons of the scan on the group in flight, by mode and point."""
    reasons = distinct(rows, "reason")
    counts = counts_by(rows, "protocol", "point", "reason")
    lines = []
    for protocol in protocols_in(rows):
        for point in POINTS:
            cells = [counts.get((protocol, point, reason)) for reason in reasons]
            if any(cells):
                shown = [str(each.trials) if each else "" for each in cells]
                lines.append((f"{protocol}, {point}", *shown))
    return ReportTable(
        "crash-reasons",
        "Why the group in flight was rejected",
        "The note of the protocol's own scan on the group in flight, in the paper's words; trials.",
        ("Mode and point", *reasons),
        tuple(lines),
        ("“not_there”: the process died before it had made a directory for the group.",)
        if "not_there" in reasons
        else (),
    )


def kill_table(rows: Rows) -> ReportTable:
    """The deaths at every call, by protocol and level."""
    counts = counts_by(rows, "protocol", "level")
    lines = []
    for protocol in protocols_in(rows):
        for level in (DISK_CALL, SYSTEM_CALL):
            if (found := counts.get((protocol, level))) is None:
                continue
            lines.append(
                (
                    f"{protocol}, {level}",
                    str(found.died),
                    str(found.trials - found.kept),
                    str(found.returned - found.whole),
                    str(found.trials - found.next_kept),
                    str(found.in_flight_ok),
                )
            )
    return ReportTable(
        "crash-kills",
        "SIGKILL at every call",
        "A store holds two acknowledged groups; a process recovers, saves a third and is killed "
        "before one call of its own, each call in turn. “Disk call”: every call of the protocol to "
        "the file system from the beginning of the save to the end of the process, and the middle "
        "of each write. “System call”: every call to the kernel that may change files, of the "
        "whole process, by ptrace(2). Every call is tried, none is drawn: no intervals.",
        (
            "Protocol and level", "Deaths", "Acknowledged group lost", "Torn group handed out",
            "Next process did not go on", "Group in flight survived",
        ),
        tuple(lines),
    )  # fmt: skip
