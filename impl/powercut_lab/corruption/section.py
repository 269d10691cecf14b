"""The section of the report: findings, tables and figures, from rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from powercut_lab.corruption.changes import UNREADABLE
from powercut_lab.corruption.figures import missed_figure, paper_figure
from powercut_lab.corruption.group_runs import AT_REST, BEFORE_DIGEST, BEFORE_WRITE
from powercut_lab.corruption.paper_values import TABLE_4, TORCH_VERSION
from powercut_lab.corruption.raw import INJECTIONS, LAYERS, PAPER_FILES
from powercut_lab.corruption.tally import (
    KINDS,
    LAYER_WORDS,
    Kind,
    Rows,
    controls,
    count_of,
    effective,
    missed_alone,
    no_ops,
    noticed,
    of_series,
    series,
    with_interval,
)
from powercut_lab.study import Cell, Data, Figure, Picture, ReportTable, Section

_ACCEPTED: Final = (
    "An accepted injection struck a byte that no content depends on, such as the time in the "
    "paper's COMMIT.json."
)
_FILES_OF_A_GROUP: Final = (
    "The parts are model.safetensors (128 KiB), optim.npz (64 KiB) and rng.json. The file hash is "
    "that of the manifest's lines, whether or not the manifest is intact."
)
_MOMENTS_OF_A_GROUP: Final = (
    "Before the write: between the digest and the disk. Before the digest: in the memory of the "
    "training program."
)
_RECORD_OF_A_FILE: Final = (
    "The manifest of a single file is its sidecar. Swapped: another checkpoint has its name. "
    "Stale: the sidecar is that of another checkpoint."
)
_MOMENTS_OF_A_FILE: Final = (
    "Damage before the write leaves the same bytes as damage at rest: the sidecar is of the intact "
    "file."
)
_OF_GROUPS: Final = (_FILES_OF_A_GROUP, _MOMENTS_OF_A_GROUP)
_OF_FILES: Final = (_RECORD_OF_A_FILE, _MOMENTS_OF_A_FILE)
_HARMFUL: Final = "damaged bytes"


def corruption_section(title: str, data: Data) -> Section:
    """Everything that the rows can say; what was not run is left out."""
    files, injections = data.get(PAPER_FILES.name, ()), data.get(INJECTIONS.name, ())
    items: list[ReportTable | Figure | Picture] = []
    findings: list[str] = []
    if files:
        findings += _paper_findings(files)
        items += [table_4(files), paper_figure(files)]
    if injections:
        findings += _layer_findings(injections)
        items += [_by_mode(injections)]
        for kind in KINDS:
            if rows := [row for row in injections if kind.test(row)]:
                items += [_noticed_table(kind, rows), _missed_table(kind, rows)]
        if any((row["fault"], row["moment"]) == ("bit flip", AT_REST) for row in injections):
            items.append(missed_figure(injections))
        if count_of(no_ops(injections)):
            items.append(_no_op_table(injections))
    return Section(title, tuple(findings), tuple(items))


def table_4(files: Rows) -> ReportTable:
    """Table 4 of the paper: ours, from a run, beside what the paper prints."""
    versions = ", ".join(sorted({str(row["torch"]) for row in files}))
    rows = []
    for fault, printed in TABLE_4.items():
        ours = [row for row in files if (row["fault"], row["crash"]) == (fault, "none")]
        real = ours if fault == "none" else [row for row in ours if row["effective"] == 1]
        idle = [row for row in ours if row not in real]
        rows.append(
            (
                fault,
                *_detected(real),
                f"{printed.detected}/{printed.files}",
                str(printed.load_error),
                str(printed.digest_mismatch),
                str(printed.file_sha_mismatch),
            )
        )
        if idle:
            rows.append((f"{fault}, no byte changed", *_detected(idle), *(4 * ("—",))))
    seeds = len({row["seed"] for row in files})
    return ReportTable(
        "table-4",
        "Single files of torch.save: damage that the guard detects (table 4)",
        f"The paper's network, seeds ({seeds} of 10) and generator; torch {versions} here, torch "
        f"{TORCH_VERSION} in the paper. Injections that changed no byte have a row of their own; "
        "shares have the Wilson interval of 95 %.",
        (
            "fault", "files", "detected", "load error", "digest mismatch",
            "file SHA mismatch", "paper: detected", "paper: load error", "paper: digest mismatch",
            "paper: file SHA mismatch",
        ),
        tuple(rows),
        tuple(_paper_no_ops(files)),
    )  # fmt: skip


def _detected(rows: Rows) -> tuple[str, ...]:
    checks = ("load_error", "digest_mismatch", "file_sha_mismatch")
    found = with_interval(_sum(rows, "detected"), len(rows))
    return (str(len(rows)), found, *(str(_sum(rows, check)) for check in checks))


def _sum(rows: Rows, column: str) -> int:
    return sum(int(row[column]) for row in rows)


def _paper_no_ops(files: Rows) -> Iterator[str]:
    for row in files:
        if row["fault"] != "none" and row["effective"] == 0:
            yield (
                f"No-op: {row['fault']} with seed {row['seed']}, epoch {row['epoch']}, offset "
                f"{row['offset']}, length {row['length']} of {row['size_bytes']} bytes changed no "
                "byte."
            )


def _paper_findings(files: Rows) -> Iterator[str]:
    flips = [row for row in files if row["fault"] == "bitflip" and row["effective"] == 1]
    loaded = [row for row in flips if row["load_error"] == 0]
    only_hash = [row for row in loaded if row["digest_mismatch"] == 0]
    wrong = len(loaded) - len(only_hash)
    yield (
        f"Of {len(flips)} single-bit flips in files of torch.save, {len(loaded)} loaded without "
        f"any error: {wrong} with wrong weights, {len(only_hash)} with all weights intact."
    )
    ranges = [row for row in files if row["fault"] == "zerorange"]
    real = [row for row in ranges if row["effective"] == 1]
    if len(real) < len(ranges):
        yield (
            f"{len(ranges) - len(real)} of {len(ranges)} zero ranges changed no byte; the guard "
            f"detected {_sum(real, 'detected')} of the other {len(real)}."
        )


def _layer_findings(injections: Rows) -> Iterator[str]:
    later = [row for row in effective(injections) if row["moment"] != BEFORE_DIGEST]
    wrong = [row for row in later if row["outcome"] == _HARMFUL]
    yield (
        f"Of {count_of(later)} effective injections at rest or before the write, "
        f"{count_of(wrong)} led to damaged bytes being handed out."
    )
    early = [row for row in effective(injections) if row["moment"] == BEFORE_DIGEST]
    if early:
        wrong = [row for row in early if row["outcome"] == _HARMFUL]
        yield (
            f"Damage in memory, before the digest is taken, is vouched for: {count_of(wrong)} of "
            f"{count_of(early)} such groups were handed out as valid. Only digests of the "
            "tensors that were taken before can tell."
        )
    plain = controls(injections)
    false = count_of(row for row in plain if row["found"] == 1)
    yield f"False positives among controls: {with_interval(false, count_of(plain))}."
    lost = [row for row in effective(injections) if row["fault"] == UNREADABLE]
    if lost:
        found = count_of(row for row in lost if row["found"] == 1)
        yield f"Unreadable blocks (btrfs, EIO) that were noticed: {found} of {count_of(lost)}."


def _by_mode(injections: Rows) -> ReportTable:
    rows = []
    for subject, mode in dict.fromkeys((str(r["subject"]), str(r["mode"])) for r in injections):
        mine = [row for row in injections if (row["subject"], row["mode"]) == (subject, mode)]
        real = effective(mine)
        late = [row for row in real if row["moment"] in (AT_REST, BEFORE_WRITE)]
        early = [row for row in real if row["moment"] == BEFORE_DIGEST]
        plain = controls(mine)
        rows.append(
            (
                f"{subject}:{mode}",
                with_interval(count_of(r for r in late if r["found"] == 1), count_of(late)),
                str(count_of(r for r in late if r["outcome"] == _HARMFUL)),
                str(count_of(r for r in late if r["outcome"] == "older")),
                str(count_of(r for r in late if r["outcome"] in ("newest", "accepted"))),
                with_interval(count_of(r for r in early if r["found"] == 1), count_of(early)),
                str(count_of(no_ops(mine))),
                with_interval(count_of(r for r in plain if r["found"] == 1), count_of(plain)),
            )
        )
    return ReportTable(
        "corruption-by-mode",
        "What each mode makes of damage",
        "Effective injections of all faults. Rejected: the reader did not hand out the newest "
        "group, or the guard rejected the file. Shares have Wilson intervals of 95 %.",
        (
            "protocol and mode", "rejected, at rest or before the write",
            "damaged bytes handed out",
            "fell back to the older group", "accepted: the content is intact",
            "rejected, before the digest", "no-ops", "false positives among controls",
        ),
        tuple(rows),
        (_ACCEPTED,),
    )  # fmt: skip


def _noticed_table(kind: Kind, rows: Rows) -> ReportTable:
    lines = []
    for pair in series(rows):
        all_of_it = of_series(rows, pair)
        name = f"{pair[1]}, {pair[0]}"
        lines.append((name, *_noticed(effective(all_of_it))))
        if idle := no_ops(all_of_it):
            lines.append((f"{name}, no byte changed", *_noticed(idle)))
    return ReportTable(
        f"noticed-by-layer-{_slug(kind)}",
        f"Detection by layer: {kind.name}",
        "How many injections each layer noticed, by its own word, over all modes.",
        ("fault", "injections", *(LAYER_WORDS[each] for each in LAYERS), "rejected"),
        tuple(lines),
        (
            "A digest of tensors cannot be had of what does not load: a load error stands there.",
            *(_OF_FILES if kind.name.startswith("single") else _OF_GROUPS),
        ),
    )


def _noticed(rows: Rows) -> tuple[str, ...]:
    cells = [noticed(rows, layer) for layer in LAYERS]
    found = count_of(row for row in rows if row["found"] == 1)
    return (str(count_of(rows)), *("—" if c is None else str(c) for c in cells), str(found))


def _missed_table(kind: Kind, rows: Rows) -> ReportTable:
    lines = []
    for pair in series(rows):
        real = effective(of_series(rows, pair))
        cells = [missed_alone(real, layer) for layer in LAYERS]
        shown = ("—" if cell is None else with_interval(*cell) for cell in cells)
        lines.append((f"{pair[1]}, {pair[0]}", *shown))
    return ReportTable(
        f"missed-by-layer-{_slug(kind)}",
        f"What each layer alone would have missed: {kind.name}",
        "Effective injections that a reader with this one layer would have taken for intact, with "
        "the Wilson interval of 95 %. Shapes and digests of tensors include the load that they "
        "need.",
        ("fault", *(f"{LAYER_WORDS[each]} alone" for each in LAYERS)),
        tuple(lines),
    )


def _no_op_table(injections: Rows) -> ReportTable:
    lines: dict[tuple[str, str, str], int] = {}
    for row in no_ops(injections):
        key = (f"{row['subject']}:{row['mode']}", f"{row['fault']}, {row['moment']}", _place(row))
        lines[key] = lines.get(key, 0) + int(row["count"])
    return ReportTable(
        "corruption-no-ops",
        "Injections that changed no byte",
        "They are counted nowhere else.",
        ("protocol and mode", "fault", "where", "number"),
        tuple((*key, str(count)) for key, count in lines.items()),
    )


def _place(row: Mapping[str, Cell]) -> str:
    return str(row["where"]) or "not noted"


def _slug(kind: Kind) -> str:
    return kind.name.replace(" ", "-").replace(".", "")


__all__: Sequence[str] = ("corruption_section", "table_4")
