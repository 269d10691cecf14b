"""The layers of one save joined on one clock: phases, calls, and the requests of the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import evolve, frozen

from powercut.report.timeline import REQUESTS, Look, TimelineSpan, joined, numbered
from powercut_lab.observe.save_program import Told, ToldStep
from powercut_rig.system.ptrace import WatchedCall

PHASES, CALLS, DISK = "phases", "calls", "writes and flushes"
LATER: Final = "later"
"""The owner of a request that came when the save had returned."""

SYNC_CALLS: Final = frozenset(
    {"fsync", "fdatasync", "sync", "syncfs", "fsync_dir", "full_sync_dir", "F_FULLFSYNC"}
)
"""The calls that return when something is durable, as the layers below name them."""

_PHASE_OF: Final = {
    "mkdir": "write", "create": "write", "write": "write", "fsync": "sync",
    "fsync_dir": "sync dir:", "full_sync_dir": "full sync:", "rename": "rename",
}  # fmt: skip
_RECORDS: Final = frozenset({"MANIFEST", "MANIFEST.json", "COMMIT.json"})


@frozen
class DiskRequest:
    """A write or a flush that reached the disk below the file system."""

    is_flush: bool
    at_ns: int
    bytes: int = 0
    offset_bytes: int = 0


def join_layers(
    told: Told, calls: Sequence[WatchedCall] | None, requests: Iterable[DiskRequest], store: str
) -> tuple[TimelineSpan, ...]:
    """All layers of a save, in microseconds since it began; calls outside of it are left out.

    Without `calls`, those of the disk seam stand in: one for each step.
    """
    spans = [*phases(told)]
    spans += seam_calls(told) if calls is None else system_calls(told, calls, store)
    spans += disk_requests(told, requests)
    return with_later(joined(numbered(spans)), microseconds(told, told.end_ns))


def with_later(spans: Iterable[TimelineSpan], end_us: float) -> tuple[TimelineSpan, ...]:
    """The spans, with the requests that came when the save had returned marked as `LATER`."""
    return tuple(
        evolve(span, belongs_to=LATER) if span.look in REQUESTS and span.begin > end_us else span
        for span in spans
    )


def microseconds(told: Told, at_ns: int) -> float:
    """The microseconds from the begin of the save to a moment, to a tenth."""
    return round((at_ns - told.begin_ns) / 1000, 1)


def phases(told: Told) -> Iterator[TimelineSpan]:
    """Steps of one kind on parts, or on one record, that follow each other, as one phase.

    A close belongs to what is before it: it waits for nothing.
    """
    contents = {step.path: step.content for step in told.steps if step.content}
    run: list[ToldStep] = []
    for step in told.steps:
        if step.name == "close" and run:
            continue
        if run and _phase_key(run[-1], contents) != _phase_key(step, contents):
            yield _phase(told, run, contents)
            run = []
        run.append(step)
    if run:
        yield _phase(told, run, contents)


def _phase_key(step: ToldStep, contents: dict[str, str]) -> tuple[str, str]:
    """The name that two steps of one phase share; a new directory goes with the first write."""
    content = contents.get(step.path, "")
    kind = _PHASE_OF.get(step.name, step.name)
    if content in _RECORDS:
        return kind, content
    if step.name in ("fsync_dir", "full_sync_dir"):
        return kind, step.path
    return kind, ""


def _phase(told: Told, run: Sequence[ToldStep], contents: dict[str, str]) -> TimelineSpan:
    kind = _PHASE_OF.get(run[0].name, run[0].name)
    names = list(dict.fromkeys(filter(None, (contents.get(step.path) for step in run))))
    if names:
        what = names[0] if len(names) == 1 else "parts"
    else:
        what = "group" if run[0].path else "store"
    begin, end = (microseconds(told, at) for at in (run[0].begin_ns, run[-1].end_ns))
    return TimelineSpan("", PHASES, "phase", f"{kind} {what}", begin, end)


def seam_calls(told: Told) -> Iterator[TimelineSpan]:
    """The calls of the disk seam: one for each step."""
    for step in told.steps:
        begin, end = (microseconds(told, at) for at in (step.begin_ns, step.end_ns))
        name = f"{step.name} {step.content or _short(step.path)}"
        yield TimelineSpan("", CALLS, look_of_call(step.name), name, begin, end)


def system_calls(told: Told, calls: Iterable[WatchedCall], store: str) -> Iterator[TimelineSpan]:
    """The system calls that ran within the save, each named with its file below the store.

    A file with a temporary name goes by that of its part; a rename by its new name.
    """
    contents = {
        step.path.rpartition("/")[2]: step.content
        for step in told.steps
        if step.content and step.name == "write"
    }
    for call in calls:
        if call.begin_ns < told.begin_ns or call.end_ns > told.end_ns:
            continue
        begin, end = (microseconds(told, at) for at in (call.begin_ns, call.end_ns))
        files = [_short(path, store) for path in call.file.split(" to ")]
        name = f"{call.name} {contents.get(files[-1], files[-1])}"
        yield TimelineSpan("", CALLS, look_of_call(call.name), name, begin, end, max(call.bytes, 0))


def look_of_call(name: str) -> Look:
    """A sync, or another call."""
    return "sync" if name in SYNC_CALLS else "call"


def disk_requests(told: Told, requests: Iterable[DiskRequest]) -> Iterator[TimelineSpan]:
    """The requests from the begin of the save on, up to when a sync after it was done."""
    for each in requests:
        if not told.begin_ns <= each.at_ns <= told.quiet_ns:
            continue
        at = microseconds(told, each.at_ns)
        look: Look = "flush" if each.is_flush else "write"
        yield TimelineSpan("", DISK, look, look, at, at, each.bytes, each.offset_bytes)


def _short(path: str, store: str = "") -> str:
    """A file's name; the group's directory and the store by these words."""
    below = path.removeprefix(store).strip("/")
    if not below:
        return "store"
    return below.rpartition("/")[2] if "/" in below else "group"
