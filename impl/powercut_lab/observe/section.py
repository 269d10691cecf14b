"""The section of the report on observed saves: findings, timelines, and tables, from rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from powercut.report import timeline_svg
from powercut.report.timeline import TimelineSpan
from powercut_lab.observe.saves import ObservedSave, observed_saves
from powercut_lab.study import Data, Picture, ReportTable, Section

_DEFAULT: Final = "lastgood:atomic_dirsync"
_ON_ONE: Final = ("paper:atomic_dirsync", "lastgood:unsafe")
"""Beside the default on each file system, these are drawn on the first one."""

_SOURCES: Final = {
    "ptrace": "System calls are those that ptrace saw; its stops lengthen each of them.",
    "seam": "Calls are those of the library's disk seam: system calls could not be traced here.",
    "fs_usage": (
        "Calls and disk events are those of fs_usage, of the whole machine's disks. This was "
        "written after Apple's documents and was not run by its authors."
    ),
}
_DISK_NOTE: Final = (
    "The disk lies in memory and is recorded by the rig: order and belonging are those of the "
    "kernel, durations are not those of a drive."
)
_FUA_NOTE: Final = (
    "This disk has no FUA: where a file system writes a record that must be durable itself, a "
    "flush follows. A drive with FUA saves that flush."
)

Saves = Sequence[ObservedSave]
_Key = TypeVar("_Key")


def section_of(title: str, data: Data) -> Section:
    """All that the rows say; a section that says so where there are none. ValueError."""
    saves = observed_saves(data)
    if not saves:
        return Section(title, ("No save has been observed yet.",), ())
    items: list[Picture | ReportTable] = [_summary(saves)]
    for save in _drawn(saves):
        items.append(_picture(save))
        if save.costs and save.sees_disk:
            items.append(_syncs(save))
    return Section(title, tuple(_findings(saves)), tuple(items))


def _drawn(saves: Saves) -> Iterator[ObservedSave]:
    """The first run of the default mode on each file system, and of a few more on the first."""
    first = saves[0].fs
    for fs in dict.fromkeys(save.fs for save in saves):
        for subject in (_DEFAULT, *(_ON_ONE if fs == first else ())):
            yield from [s for s in saves if (s.fs, s.subject) == (fs, subject)][:1]


def _picture(save: ObservedSave) -> Picture:
    timeline = save.timeline
    caption = (
        "One save of the paper's group (128 KiB, 64 KiB and a small JSON) into a store that has "
        f"one already: {save.end_us / 1000:.1f} ms, downwards, on one clock. "
    )
    if save.sees_disk:
        caption += "An arrow leads from a sync to each flush that came while it ran. "
        caption += f"When it had returned, {_size(save.later)} were still to be written. "
    caption += _SOURCES.get(save.source, "")
    name = f"timeline-{save.fs}-{save.protocol}-{save.mode}"
    return Picture(name, timeline.title, caption, timeline.text, timeline_svg.draw(timeline))


def _syncs(save: ObservedSave) -> ReportTable:
    phases = {span.id: span.name for span in save.spans}
    rows = tuple(
        (
            f"{cost.sync.id} {cost.sync.name}",
            phases.get(cost.sync.belongs_to, ""),
            ", ".join(flush.id for flush in cost.flushes) or "none",
            str(len(cost.writes)),
            f"{cost.bytes / 1024:g}",
            f"{cost.sync.end - cost.sync.begin:.0f}",
        )
        for cost in save.costs
    )
    return ReportTable(
        f"syncs-{save.fs}-{save.protocol}-{save.mode}",
        f"Which flush belongs to which sync: {save.subject} on {save.fs}",
        "The flushes and block writes that reached the disk while each sync call ran, in the save "
        f"that is drawn above (run {save.run}).",
        ("sync call", "phase", "flushes", "block writes", "KiB written", "took µs"),
        rows,
        (_DISK_NOTE,),
    )


def _summary(saves: Saves) -> ReportTable:
    rows = []
    for key, group in _grouped(saves, lambda s: (s.fs, s.subject)).items():
        seen = [s for s in group if s.sees_disk]

        def over(count: Callable[[ObservedSave], float], of: Saves = seen) -> str:
            return _range([count(save) for save in of])

        rows.append(
            (
                " ".join(key),
                over(lambda s: sum(x.look == "sync" for x in s.spans), group),
                over(lambda s: len(s.requests("flush"))),
                over(lambda s: sum(not f.belongs_to for f in s.requests("flush"))),
                over(lambda s: sum(not cost.flushes for cost in s.costs)),
                over(lambda s: len(s.requests("write"))),
                over(lambda s: sum(w.bytes for w in s.requests("write")) / 1024),
                over(lambda s: sum(w.bytes for w in s.later) / 1024),
                str(len(group)),
            )
        )
    sources = dict.fromkeys(save.source for save in saves)
    return ReportTable(
        "observe-flushes",
        "Syncs, flushes and block writes of one save",
        "Counts of one save of the paper's group into a store that has one already; smallest to "
        "largest of the runs. The last bytes are those that a sync after the save wrote.",
        (
            "file system and mode",
            "sync calls",
            "flushes",
            "flushes outside a sync",
            "syncs without a flush",
            "block writes",
            "KiB written",
            "KiB left for later",
            "runs",
        ),
        tuple(rows),
        (*(_SOURCES.get(source, source) for source in sources), _DISK_NOTE, _FUA_NOTE),
    )


def _findings(saves: Saves) -> Iterator[str]:
    for fs, group in _grouped([s for s in saves if s.sees_disk], lambda s: s.fs).items():
        yield from _flushes_by_mode(fs, group)
        yield from _idle_syncs(fs, [s for s in group if s.subject == _DEFAULT])
    if not any(save.sees_disk for save in saves):
        yield "Block writes and flushes were not recorded here: phases and calls alone are shown."
    yield (
        "These timelines stand for the paper's figure 5, whose samples of iostat each second show "
        "no alignment with its saves. Its sixth figure is not described in its text."
    )


def _flushes_by_mode(fs: str, saves: Saves) -> Iterator[str]:
    by_subject = _grouped(saves, lambda s: s.subject)
    counts = {
        subject: _range([len(save.requests("flush")) for save in group])
        for subject, group in by_subject.items()
    }
    words = ", ".join(f"{count} with {subject}" for subject, count in counts.items())
    yield f"On {fs} a save has issued this many flushes when it returns: {words}."
    for subject, group in by_subject.items():
        if all(not save.requests("flush") for save in group):
            left = _range([sum(w.bytes for w in save.later) / 1024 for save in group])
            yield (
                f"On {fs}, {subject} returns when nothing was flushed and {left} KiB are still to "
                "be written."
            )


def _idle_syncs(fs: str, saves: Saves) -> Iterator[str]:
    """The syncs of the default mode that issued no flush in any run."""
    if not saves:
        return
    idle = [{cost.sync.name for cost in save.costs if not cost.flushes} for save in saves]
    always = [cost.sync.name for cost in saves[0].costs if all(cost.sync.name in i for i in idle)]
    if always:
        yield (
            f"On {fs} these syncs of {_DEFAULT} issued no flush in any run: "
            f"{', '.join(dict.fromkeys(always))}."
        )


def _grouped(saves: Saves, key: Callable[[ObservedSave], _Key]) -> dict[_Key, list[ObservedSave]]:
    found: dict[_Key, list[ObservedSave]] = {}
    for save in saves:
        found.setdefault(key(save), []).append(save)
    return found


def _range(counts: Sequence[float]) -> str:
    if not counts:
        return "not seen"
    low, high = min(counts), max(counts)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _size(spans: Sequence[TimelineSpan]) -> str:
    return f"{sum(span.bytes for span in spans) / 1024:g} KiB"
