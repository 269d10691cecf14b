"""The findings, in sentences that are computed from the rows; the paper's conclusions, judged.

Each verdict follows a rule that is written here: on which disks an interval lies where the paper's
conclusion would have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from powercut_lab import statistics
from powercut_lab.latency import disks
from powercut_lab.latency.paper_values import TABLE_1_S, TABLE_2_PERCENT
from powercut_lab.latency.report_tables import (
    PAPER,
    flush_us,
    joined,
    number,
    percent,
    size_words,
)
from powercut_lab.latency.summary import Summary, share_of_training
from powercut_lab.statistics import Interval

_MEDIAN, _TAIL = 0.5, 0.99
_MINUTE_S: Final = 60.0
NEGLIGIBLE: Final = 0.01
"""A share of all time below which a cost is called small: a hundredth."""

_OURS_DIRS, _OURS_FILES = "lastgood:atomic_dirsync", "lastgood:atomic_nodirsync"
_THEIR_DIRS, _THEIR_FILES = "paper:atomic_dirsync", "paper:atomic_nodirsync"


def all_findings(summary: Summary) -> tuple[str, ...]:
    """The sentences that there are rows for."""
    if not summary.disks:
        return ()
    makers: tuple[Callable[[Summary], Iterator[str]], ...] = (
        _measured,
        _cost,
        _flushes,
        _against_paper,
        _peers,
        _bias,
        _conclusions,
    )
    return tuple(sentence for make in makers for sentence in make(summary))


def _measured(summary: Summary) -> Iterator[str]:
    saves = sum(len(each.rows) for each in summary.series.values())
    yield (
        f"{saves:,} saves were timed one by one, in process, on {joined(summary.disks)}; all ways "
        "of saving took turns."
    )


def _cost(summary: Summary) -> Iterator[str]:
    """One save a minute in the strongest mode that is told apart here."""
    for size in summary.sizes:
        found = [(disk, summary.at(disk, size, _OURS_DIRS)) for disk in summary.disks]
        words = []
        for disk, series in found:
            if series is not None:
                at = [series.quantile(each).value for each in (_MEDIAN, _TAIL)]
                share = percent(share_of_training(at[1], _MINUTE_S))
                words.append(
                    f"{number(at[0] / 1000)} ms on {disk} (p99 {number(at[1] / 1000)} ms: {share} "
                    "of the time at one save a minute)"
                )
        if words:
            yield f"A save of {size_words(size)} in atomic_dirsync takes {joined(words)}."


def _flushes(summary: Summary) -> Iterator[str]:
    one = flush_us(summary)
    if not one:
        return
    words = []
    for way in summary.ways(PAPER, (_OURS_FILES, _OURS_DIRS, _THEIR_FILES, _THEIR_DIRS)):
        series = summary.at(disks.DELAYED.name, PAPER, way)
        if series is not None:
            words.append(f"{series.sync_quantile(_MEDIAN).value / one:.1f} in {way}")
    yield (
        f"Where one flush takes {number(one / 1000)} ms, a save of {size_words(PAPER)} waits for "
        f"as long as so many flushes: {joined(words)}."
    )


def _against_paper(summary: Summary) -> Iterator[str]:
    """The library beside the paper's protocol, in the strongest mode that both have."""
    words = []
    for disk in summary.disks:
        found = summary.paired(disk, PAPER, _OURS_DIRS, _THEIR_DIRS)
        if found is not None:
            words.append(f"{_bracketed(found.ratio)} on {disk}")
    if words:
        yield (
            "A save of the library in atomic_dirsync, which also syncs the directory above, takes "
            f"so many times as long as the paper's in its own: {joined(words)}."
        )


def _peers(summary: Summary) -> Iterator[str]:
    disk = summary.disks[0]
    names = ("torch.save", "torch.save + fsync", "safetensors", "PyTorch DCP")
    for size in summary.sizes:
        words = []
        for way in summary.ways(size, names):
            found = summary.paired(disk, size, _OURS_DIRS, way)
            if found is not None:
                words.append(f"{_bracketed(found.ratio)} of {way}")
        if words:
            yield (
                f"On {disk}, with {size_words(size)}, lastgood:atomic_dirsync takes so many times "
                f"as long as others, which sync less or nothing: {joined(words)}."
            )


def _bias(summary: Summary) -> Iterator[str]:
    """The paper's way of timing, beside the same saves timed inside."""
    for disk in summary.disks:
        outside = {mode: summary.process_us(disk, mode) for mode in TABLE_1_S}
        inside = {mode: summary.inside_us(disk, mode) for mode in TABLE_1_S}
        if not all(map(len, outside.values())):
            continue
        by = {mode: statistics.quantile(us, _MEDIAN).value for mode, us in outside.items()}
        own = {mode: statistics.quantile(us, _MEDIAN).value for mode, us in inside.items()}
        if not by["unsafe"] or not own["unsafe"]:
            continue
        start = 1 - own["unsafe"] / by["unsafe"]
        overheads = [
            f"{100 * (times['atomic_nodirsync'] / times['unsafe'] - 1):+.0f} %"
            for times in (by, own)
        ]
        yield (
            f"Timed as the paper does it, a whole process by its groups, {percent(max(0, start))} "
            f"of an unsafe save on {disk} is the start of Python; that makes the overhead of its "
            f"atomic_nodirsync {overheads[0]} instead of {overheads[1]}."
        )


def _conclusions(summary: Summary) -> Iterator[str]:
    """One paragraph: which of the paper's conclusions stand here, which do not, and why."""
    flushing = [disk for disk in summary.disks if disk != disks.TMPFS.name]
    parts = [
        *_more_than_unsafe(summary, flushing),
        *_as_printed(summary, flushing),
        *_tail(summary, flushing),
        *_recommendation(summary, flushing),
    ]
    if parts:
        yield f"The paper's conclusions here: {' '.join(parts)}"


def _more_than_unsafe(summary: Summary, flushing: Sequence[str]) -> Iterator[str]:
    """Stands where the interval of the paired ratio lies above 1."""
    found = {disk: summary.paired(disk, PAPER, _THEIR_FILES, "paper:unsafe") for disk in flushing}
    ratios = {disk: each.ratio for disk, each in found.items() if each is not None}
    if ratios:
        yield _verdict(
            "that syncing each file costs more than not to",
            {disk: ratio.low > 1 for disk, ratio in ratios.items()},
            f"the median save takes {_listed(ratios)} times as long as an unsafe one",
        )


def _as_printed(summary: Summary, flushing: Sequence[str]) -> Iterator[str]:
    """Stands where the printed overheads of both modes lie in our intervals at the median."""
    ways = {_THEIR_FILES: TABLE_2_PERCENT["atomic_nodirsync"][0]}
    ways[_THEIR_DIRS] = TABLE_2_PERCENT["atomic_dirsync"][0]
    found = {way: _overheads(summary, flushing, way, "paper:unsafe", _MEDIAN) for way in ways}
    both = [disk for disk in flushing if all(disk in each for each in found.values())]
    if not both:
        return
    holds = {
        disk: all(found[way][disk].low <= 1 + printed / 100 <= found[way][disk].high
                  for way, printed in ways.items())
        for disk in both
    }  # fmt: skip
    words = [
        f"{' and '.join(_percent_more(found[way][disk].value) for way in ways)} on {disk}, where "
        f"{percent(summary.sync_share(disk, PAPER, _THEIR_DIRS) or 0.0)} of the latter is syncs"
        for disk in both
    ]
    printed = " and ".join(f"{each:+.1f} %" for each in ways.values())
    yield _verdict(
        f"that atomic_nodirsync and atomic_dirsync cost {printed} at the median",
        holds,
        f"with each save timed alone they cost {'; '.join(words)}{_as_counted(summary)}",
    )


def _as_counted(summary: Summary) -> str:
    """The same overheads by whole processes, where those were timed."""
    for disk in summary.disks:
        us = {mode: summary.process_us(disk, mode) for mode in TABLE_1_S}
        if all(map(len, us.values())):
            middle = {mode: statistics.quantile(each, _MEDIAN).value for mode, each in us.items()}
            more = [_percent_more(middle[mode] / middle["unsafe"]) for mode in TABLE_2_PERCENT]
            return f"; counted by whole processes {' and '.join(more)} on {disk}"
    return ""


def _percent_more(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %"


def _tail(summary: Summary, flushing: Sequence[str]) -> Iterator[str]:
    """Stands where the p99 of one sync more is longer, beyond its interval."""
    ratios = _overheads(summary, flushing, _THEIR_DIRS, _THEIR_FILES, _TAIL)
    if ratios:
        printed = TABLE_1_S["atomic_dirsync"][2] / TABLE_1_S["atomic_nodirsync"][2]
        yield _verdict(
            f"that the directory sync makes the slowest saves slower, {printed:.1f} times there,",
            {disk: ratio.low > 1 for disk, ratio in ratios.items()},
            f"the p99 is {_listed(ratios)} times as long with it, and a p99 of ten samples is "
            "little but the slowest of them",
        )


def _recommendation(summary: Summary, flushing: Sequence[str]) -> Iterator[str]:
    """Stands where directory syncs, at their p99, take more than a hundredth of the time."""
    took: dict[str, float] = {}
    for disk in flushing:
        series = summary.at(disk, PAPER, _OURS_DIRS)
        if series is not None:
            took[disk] = series.phase_quantile("dirsync", _TAIL).value
    if took:
        most = max(took, key=lambda disk: took[disk])
        shares = [percent(share_of_training(took[most], each)) for each in (_MINUTE_S, 1.0)]
        yield _verdict(
            "that atomic_nodirsync is the mode for ordinary production, as it is cheaper",
            {disk: share_of_training(us, _MINUTE_S) > NEGLIGIBLE for disk, us in took.items()},
            f"the directory syncs of a save take {number(took[most] / 1000)} ms at their p99 on "
            f"{most}, where they take most: {shares[0]} of the time at one save a minute, "
            f"{shares[1]} at one a second; without them a power cut may take a group that was "
            "acknowledged",
        )


def _overheads(
    summary: Summary, among: Sequence[str], way: str, base: str, at: float
) -> dict[str, Interval]:
    found = {disk: summary.overhead(disk, PAPER, way, base, at) for disk in among}
    return {disk: ratio for disk, ratio in found.items() if ratio is not None}


def _verdict(conclusion: str, holds: dict[str, bool], why: str) -> str:
    """A sentence: a conclusion, on which disks it stands, and the numbers."""
    yes = [disk for disk, stands in holds.items() if stands]
    no = [disk for disk, stands in holds.items() if not stands]
    if not no:
        verdict = "stands"
    elif not yes:
        verdict = "does not stand"
    else:
        verdict = f"stands on {joined(yes)} and not on {joined(no)}"
    return f"{conclusion[:1].upper()}{conclusion[1:]} {verdict}: {why}."


def _bracketed(ratio: Interval) -> str:
    return f"{number(ratio.value)} [{number(ratio.low)}, {number(ratio.high)}]"


def _listed(ratios: dict[str, Interval]) -> str:
    return joined([f"{_bracketed(ratio)} ({disk})" for disk, ratio in ratios.items()])
