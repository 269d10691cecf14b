"""The tables of the report, from the samples alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from powercut_lab import statistics
from powercut_lab.latency import disks, protocols, tables
from powercut_lab.latency.meter import PHASE_WORDS, PHASES
from powercut_lab.latency.paper_values import (
    POINT_WORDS,
    POINTS,
    PRINTED_ON,
    TABLE_1_S,
    TABLE_2_PERCENT,
)
from powercut_lab.latency.summary import INTERVALS_S, Summary, base_of, share_of_training
from powercut_lab.statistics import Interval
from powercut_lab.study import ReportTable

NOTHING: Final = "\N{EN DASH}"
PAPER: Final = tables.PAPER_GROUP.name
DIVIDED: Final = "paper:{}, process time / 40 (biased)"
_MEDIAN: Final = 0.5
MODES: Final = (*protocols.OURS, *protocols.PAPERS)
_PROCESS_NOTE: Final = (
    "The last rows repeat the paper's way of timing: the time of a whole Python process by its 40 "
    "groups. The start of the interpreter is in it."
)
_FULLSYNC_NOTE: Final = (
    "Where the system has no stronger sync than fsync, as on Linux, `atomic_fullsync` makes the "
    "calls of `atomic_dirsync`: what differs between the two rows is noise."
)
_PHASES_NOTE: Final = (
    "`write` is what the calls take that make, fill and close files and make directories, `digest` "
    "what the steps that do so take beside: hashing, copies, manifests."
)
_BRACKETS: Final = "In brackets: the 95 % bootstrap interval."


def size_words(size: str) -> str:
    """A size of group for people."""
    return "the paper's group (192 KiB)" if size == PAPER else f"groups of {size}"


def number(value: float) -> str:
    """Three digits, and no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.3g}"


def interval_ms(found: Interval | None) -> str:
    """An interval that was measured in microseconds, in milliseconds."""
    if found is None:
        return NOTHING
    value, low, high = (number(each / 1000) for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def interval_percent(ratio: Interval | None) -> str:
    """An overhead: a ratio less one, in percent."""
    if ratio is None:
        return NOTHING
    value, low, high = (f"{100 * (each - 1):+.0f}" for each in (ratio.value, ratio.low, ratio.high))
    return f"{value} [{low}, {high}]"


def percent(share: float) -> str:
    """A share in percent, with two digits that count."""
    if 100 * share >= 10:
        return f"{100 * share:.0f} %"
    return f"{100 * share:.2g} %" if 100 * share >= 0.001 else "under 0.001 %"


def all_tables(summary: Summary) -> Iterator[ReportTable]:
    """Every table that there are rows for."""
    if PAPER in summary.sizes:
        for at in POINTS:
            yield _table_1(summary, at)
        yield _table_2(summary)
        yield _paired(summary)
        yield _phases(summary)
    for size in summary.sizes:
        if size != PAPER:
            yield _size(summary, size)
    for size in summary.sizes[:1] + summary.sizes[1:][-1:]:
        yield _share(summary, size)
    if disks.DELAYED.name in summary.disks:
        yield _flushes(summary)
    if summary.disks:
        yield _disks(summary)


def counts(summary: Summary, size: str) -> str:
    """The number of samples of each way with a size: "40", or "15 to 40" where disks differ."""
    found = {len(each.rows) for (_, its, _), each in summary.series.items() if its == size}
    return f"{min(found)}" if len(found) == 1 else f"{min(found)} to {max(found)}"


def _table_1(summary: Summary, at: float) -> ReportTable:
    word = POINT_WORDS[at]
    index = POINTS.index(at)
    rows: list[tuple[str, ...]] = []
    for way in summary.ways(PAPER):
        if way == protocols.PROBE:
            continue
        found = [summary.at(disk, PAPER, way) for disk in summary.disks]
        cells = [interval_ms(each.quantile(at)) if each else NOTHING for each in found]
        rows.append((way, NOTHING, *cells))
    for mode, printed in TABLE_1_S.items():
        samples = [summary.process_us(disk, mode) for disk in summary.disks]
        cells = [interval_ms(statistics.quantile(us, at)) if us else NOTHING for us in samples]
        rows.append((DIVIDED.format(mode), number(1000 * printed[index]), *cells))
    return ReportTable(
        f"latency-{word}",
        f"Milliseconds a save, {word} (the paper's Table 1)",
        f"The {word} of a save of {size_words(PAPER)}, in milliseconds, on each disk; "
        f"{counts(summary, PAPER)} samples a cell, all ways in turns. {_BRACKETS}",
        ("way of saving", PRINTED_ON, *summary.disks),
        tuple(rows),
        (
            _PROCESS_NOTE,
            _FULLSYNC_NOTE,
            *(_what_others_do(summary) if at == _MEDIAN else ()),
        ),
    )


def _what_others_do(summary: Summary) -> list[str]:
    found = set(summary.ways(PAPER))
    return [
        f"`{way.name}`: {way.gives}." for way in protocols.WAYS if way.gives and way.name in found
    ]


def _over_base(
    summary: Summary, cell: Callable[[str, str, str], str]
) -> Iterator[tuple[str, list[str]]]:
    """Each mode but `unsafe` with a cell for each disk."""
    for way in summary.ways(PAPER, MODES):
        if way != base_of(way):
            yield way, [cell(disk, way, base_of(way)) for disk in summary.disks]


def _table_2(summary: Summary) -> ReportTable:
    rows: list[tuple[str, ...]] = []
    for at in POINTS:

        def cell(disk: str, way: str, base: str, at: float = at) -> str:
            return interval_percent(summary.overhead(disk, PAPER, way, base, at))

        for way, cells in _over_base(summary, cell):
            rows.append((f"{way}, {POINT_WORDS[at]}", NOTHING, *cells))
    for index, at in enumerate(POINTS):
        for mode, printed in TABLE_2_PERCENT.items():
            cells = [_process_overhead(summary, disk, mode, at) for disk in summary.disks]
            label = f"{DIVIDED.format(mode)}, {POINT_WORDS[at]}"
            rows.append((label, f"{printed[index]:+.1f}", *cells))
    return ReportTable(
        "latency-overhead",
        "Overhead against `unsafe`, in percent (the paper's Table 2)",
        "A quantile of each mode by the same quantile of the unsafe mode of its own protocol, less "
        f"one; {size_words(PAPER)}, {counts(summary, PAPER)} rounds. {_BRACKETS} Rounds are drawn "
        "whole, as both took turns in each.",
        ("mode and quantile", PRINTED_ON, *summary.disks),
        tuple(rows),
    )


def _process_overhead(summary: Summary, disk: str, mode: str, at: float) -> str:
    base, other = summary.process_us(disk, "unsafe"), summary.process_us(disk, mode)
    if not base or len(base) != len(other):
        return NOTHING
    return interval_percent(statistics.quantile_ratio(base, other, at))


def _paired(summary: Summary) -> ReportTable:
    def cell(disk: str, way: str, base: str) -> str:
        found = summary.paired(disk, PAPER, way, base)
        if found is None:
            return NOTHING
        value, low, high = map(number, (found.ratio.value, found.ratio.low, found.ratio.high))
        p = "p < 0.001" if found.p_value < 0.001 else f"p = {found.p_value:.2g}"
        return f"{value} [{low}, {high}], {p}"

    return ReportTable(
        "latency-paired",
        "How many times as long as `unsafe`, round by round",
        "The median over rounds of a save's time by that of the unsafe mode of the same protocol "
        f"in the same round; {size_words(PAPER)}. {_BRACKETS} p: Wilcoxon's signed-rank test.",
        ("mode", *summary.disks),
        tuple((way, *cells) for way, cells in _over_base(summary, cell)),
    )


def _phases(summary: Summary) -> ReportTable:
    rows = []
    for disk in summary.disks:
        for way in summary.ways(PAPER, MODES):
            if (found := summary.at(disk, PAPER, way)) is not None:
                means = [found.mean_us(phase) / 1000 for phase in PHASES]
                rows.append((f"{disk}: {way}", *map(number, means), number(sum(means))))
    return ReportTable(
        "latency-phase-means",
        "Where the time goes: mean milliseconds of each phase",
        f"One thread, {size_words(PAPER)}; {counts(summary, PAPER)} samples. The phases add up to "
        "the whole save.",
        ("disk and mode", *PHASE_WORDS.values(), "whole"),
        tuple(rows),
        (_PHASES_NOTE,),
    )


def _size(summary: Summary, size: str) -> ReportTable:
    rows = []
    for way in summary.ways(size):
        if way == protocols.PROBE:
            continue
        cells = []
        for disk in summary.disks:
            found = summary.at(disk, size, way)
            if found is None:
                cells.append(NOTHING)
                continue
            tail = number(found.quantile(0.99).value / 1000)
            cells.append(f"{interval_ms(found.quantile(_MEDIAN))}; p99 {tail}")
        rows.append((way, *cells))
    return ReportTable(
        f"latency-size-{size.replace(' ', '-')}",
        f"Milliseconds a save of {size}",
        f"p50 and p99 of a save of {size_words(size)}, in milliseconds; {counts(summary, size)} "
        f"samples a cell, all ways in turns. {_BRACKETS}",
        ("way of saving", *summary.disks),
        tuple(rows),
    )


def _share(summary: Summary, size: str) -> ReportTable:
    rows = []
    for disk in summary.disks:
        for way in summary.ways(size, protocols.OURS):
            if (found := summary.at(disk, size, way)) is not None:
                cells = [_shares(found.quantile, seconds) for seconds in INTERVALS_S]
                rows.append((f"{disk}: {way}", *cells))
    return ReportTable(
        f"latency-share-{size.replace(' ', '-')}",
        f"The share of training that saves take: {size_words(size)}",
        "One save after each interval of training, which waits for it: the share of all time that "
        f"a save takes, at its p50 and its p99; {counts(summary, size)} samples.",
        ("disk and mode", *(f"each {word}" for word in INTERVALS_S.values())),
        tuple(rows),
    )


def _shares(quantile: Callable[[float], Interval], seconds: float) -> str:
    shares = [share_of_training(quantile(at).value, seconds) for at in (_MEDIAN, 0.99)]
    return f"{percent(shares[0])}; p99 {percent(shares[1])}"


def flush_us(summary: Summary) -> float | None:
    """The time of a flush on the disk of known latency: the p50 of the least that asks for one."""
    probe = summary.at(disks.DELAYED.name, PAPER, protocols.PROBE)
    return probe.sync_quantile(_MEDIAN).value if probe else None


def _flushes(summary: Summary) -> ReportTable:
    one = flush_us(summary)
    rows = []
    for way in summary.ways(PAPER):
        found = summary.at(disks.DELAYED.name, PAPER, way)
        if found is None or way in protocols.UNDIVIDED:
            continue
        waited = found.sync_quantile(_MEDIAN)
        flushes = f"{waited.value / one:.1f}" if one else NOTHING
        rows.append((way, interval_ms(waited), flushes))
    return ReportTable(
        "latency-flushes",
        f"How many flushes a save waits for, where each takes {disks.FLUSH_S * 1000:g} ms",
        f"p50 of the milliseconds that a save of {size_words(PAPER)} waits in fsync calls, on "
        f"{disks.DELAYED.about}, and the same by what one flush took there "
        f"({number((one or 0) / 1000)} ms, measured).",
        ("way of saving", "ms waited for syncs", "in flushes"),
        tuple(rows),
    )


def _disks(summary: Summary) -> ReportTable:
    rows = []
    for name in summary.disks:
        probes = [summary.at(name, size, protocols.PROBE) for size in summary.sizes]
        probe = next((each for each in probes if each), None)
        about = disks.BY_NAME[name].about if name in disks.BY_NAME else NOTHING
        flush = interval_ms(probe.sync_quantile(_MEDIAN)) if probe else NOTHING
        rows.append((name, summary.file_systems.get(name) or "unknown", about, flush))
    return ReportTable(
        "latency-disks",
        "The disks",
        f"The last column is the p50 of `{protocols.PROBE}`, in milliseconds: one block in place "
        f"and one sync, the least that a disk can be asked for. {_BRACKETS}",
        ("disk", "file system", "what it is", "one flush, ms"),
        tuple(rows),
    )


def joined(words: Sequence[str]) -> str:
    """Words for a sentence: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
