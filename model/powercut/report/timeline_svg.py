"""A timeline drawn as SVG: time runs down, lanes stand side by side, as in a sequence diagram.

So a picture is narrow: it can be read on a telephone and on a wide screen.  Shapes tell the kinds
apart, not colours alone: a sync is a full bar with a shade behind all that came while it ran, a
flush a thick line with an arrow from its sync, a write a thin bar whose length says its bytes.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from attrs import frozen

from powercut.report.timeline import REQUESTS, Look, Timeline, TimelineSpan

WIDTH: Final = 460
_SHOWN_WIDTH: Final = 640
_AXIS: Final = 34
_BAR: Final = 10
_DISK: Final = 98
_ARROWS: Final = 20
_NUMBERS: Final = 24  # room for the ids of flushes
_TOP: Final = 54
_BOTTOM: Final = 14
_GAP: Final = 12  # between two labels
_SMALLEST: Final = 240
_RECORD: Final = 7  # the height of a record
_LETTER: Final = 6.2  # the width of a letter, about
_TICKS: Final = 8
_NOT_IN_XML: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LEAST_BYTES, _MOST_DOUBLINGS = 512, 11

_STYLE: Final = """
.timeline{--ink:#1b1f24;--paper:#fff;--soft:#57606a;--line:#c3cbd4;--band:#e6ebf1;--fill:#9fb0c3;
--sync:#0b3d91;--flush:#a3260b;--torn:#b35900}
@media (prefers-color-scheme:dark){.timeline{--ink:#e6edf3;--paper:#0d1117;--soft:#9aa4ae;
--line:#3d444d;--band:#1d2733;--fill:#54657a;--sync:#79b8ff;--flush:#ff9b85;--torn:#ffb757}}
.timeline .paper{fill:var(--paper)}.timeline text{font:11px system-ui,sans-serif;fill:var(--ink)}
.timeline .soft,.timeline .tick text{fill:var(--soft);font-size:10px}
.timeline .tick line{stroke:var(--line);stroke-width:.5}.timeline .band{fill:var(--band)}
.timeline .lead{stroke:var(--soft);stroke-width:.5;fill:none}
.timeline .phase{fill:var(--fill);stroke:var(--ink);stroke-width:.6}
.timeline .call{fill:var(--paper);stroke:var(--ink);stroke-width:.6}
.timeline .sync{fill:var(--sync)}.timeline .write{fill:var(--fill);stroke:var(--ink);
stroke-width:.4}.timeline .flush{stroke:var(--flush);stroke-width:2.2}
.timeline .arrow{stroke:var(--flush);stroke-width:1;fill:var(--flush)}
.timeline .lost{fill:none;stroke:var(--flush);stroke-dasharray:2 1.5}
.timeline .torn{fill:none;stroke:var(--torn)}.timeline .rest{fill:var(--torn)}
.timeline .after{fill:none;stroke:var(--soft);stroke-width:.5;stroke-dasharray:1 2}
.timeline .cut{stroke:var(--flush);stroke-width:1.6;stroke-dasharray:6 3}
""".replace("\n", "")

_WORDS: Final[dict[Look, str]] = {
    "phase": "phase", "call": "call", "sync": "sync", "flush": "flush",
    "write": "write: longer is more", "lost": "lost", "torn": "torn", "after": "not issued yet",
}  # fmt: skip


@frozen
class _Page:
    """The places of things: the timeline's begin and end, the plot's height, the lanes' places."""

    begin: float
    end: float
    height: float
    bars: dict[str, float]
    left: dict[str, float]
    disk_x: float

    def y(self, at: float) -> float:
        return _TOP + (at - self.begin) / (self.end - self.begin) * self.height


def draw(timeline: Timeline) -> str:
    """The timeline as one `<svg>` that needs nothing else and can stand inside of HTML."""
    page = _page(timeline)
    total = page.height + _TOP + _BOTTOM
    name = f"timeline-{zlib.crc32(repr(timeline).encode()):08x}"
    text = timeline.text or _in_words(timeline)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="timeline" role="img" '
        f'aria-labelledby="{name}-t {name}-d" viewBox="0 0 {WIDTH} {_n(total)}" '
        f'width="{_SHOWN_WIDTH}" height="{_n(total * _SHOWN_WIDTH / WIDTH)}" '
        'style="max-width:100%;height:auto">'
    )
    parts = [
        head,
        f'<title id="{name}-t">{_escaped(timeline.title)}</title>',
        f'<desc id="{name}-d">{_escaped(text)}</desc><style>{_STYLE}</style>',
        f'<rect class="paper" width="{WIDTH}" height="{_n(total)}"/>',
        *_legend(timeline),
        *_bands(timeline, page),
        *_axis(timeline, page),
        *_headings(timeline, page),
        *(shape for span in timeline.spans for shape in _shape(span, page)),
        *_labels(timeline, page),
        *_flush_numbers(timeline, page),
        *_cut(timeline, page),
        "</svg>",
    ]
    return "".join(parts)


def _page(timeline: Timeline) -> _Page:
    begin = min((span.begin for span in timeline.spans), default=0.0)
    begin = min(begin, 0.0) if timeline.unit == "us" else begin
    end = max((span.end for span in timeline.spans), default=0.0)
    if timeline.cut is not None:
        begin, end = min(begin, timeline.cut.at), max(end, timeline.cut.at)
    end = end if end > begin else begin + 1
    disk = _disk_lane(timeline)
    labelled = [lane for lane in timeline.lanes if lane != disk]
    right = WIDTH - (_DISK + _ARROWS if disk else 6)
    letters = {lane: _letters(timeline, lane) for lane in labelled}
    bars, left = {}, {}
    x = float(_AXIS)
    for lane in labelled:
        left[lane] = x + 4
        x += (right - _AXIS) * letters[lane] / sum(letters.values())
        bars[lane] = x - _BAR
    most = max((sum(s.lane == lane for s in timeline.spans) for lane in labelled), default=0)
    records = _RECORD * (end - begin) if timeline.unit == "record" else 0
    height = max(_SMALLEST, (most + 1) * _GAP * 1.3, records)
    return _Page(begin, end, height, bars, left, WIDTH - _DISK)


def _letters(timeline: Timeline, lane: str) -> int:
    """The letters of the longest label of a lane, within bounds: its share of the width."""
    longest = max((len(_label(s)) for s in timeline.spans if s.lane == lane), default=0)
    return min(max(longest, 10), 24) + 3


def _label(span: TimelineSpan) -> str:
    return f"{span.id} {span.name}" if span.look == "sync" else span.name


def _disk_lane(timeline: Timeline) -> str | None:
    """The last lane, where nothing but requests of a disk is in it."""
    last = timeline.lanes[-1] if len(timeline.lanes) > 1 else None
    others = any(s.lane == last and s.look not in REQUESTS for s in timeline.spans)
    return None if others else last


def _legend(timeline: Timeline) -> Iterator[str]:
    x, y = 6.0, 13
    seen = {span.look for span in timeline.spans}
    for look, words in _WORDS.items():
        if look not in seen:
            continue
        if x + 20 + len(words) * _LETTER > WIDTH:
            x, y = 6.0, y + 14
        swatch = (
            f'<path class="flush" d="M{_n(x)} {y - 4}h14"/>'
            if look == "flush"
            else f'<rect class="key {look}" x="{_n(x)}" y="{y - 8}" width="14" height="8"/>'
        ).replace('class="flush"', 'class="key flush"')
        yield f'{swatch}<text x="{_n(x + 18)}" y="{y}">{_escaped(words)}</text>'
        x += 30 + len(words) * _LETTER


def _bands(timeline: Timeline, page: _Page) -> Iterator[str]:
    """A shade from each sync to the right edge: what lies on it came while the sync ran."""
    for span in timeline.spans:
        if span.look == "sync" and span.lane in page.bars:
            x, y = page.bars[span.lane], page.y(span.begin)
            height = max(page.y(span.end) - y, 1)
            yield (
                f'<rect class="band" x="{_n(x)}" y="{_n(y)}" width="{_n(WIDTH - x)}" '
                f'height="{_n(height)}"/>'
            )


def _axis(timeline: Timeline, page: _Page) -> Iterator[str]:
    step = _step(page.end - page.begin)
    if timeline.unit == "record":
        step = max(step, 1)
    in_ms = timeline.unit == "us" and step >= 100
    unit = ("ms" if in_ms else "µs") if timeline.unit == "us" else "record"
    yield f'<text class="soft" x="2" y="{_TOP - 10}">{unit}</text>'
    at = math.ceil(page.begin / step) * step
    while at <= page.end:
        y = page.y(at)
        shown = f"{at / 1000:g}" if in_ms else f"{at:g}"
        yield (
            f'<g class="tick"><line x1="{_AXIS - 8}" x2="{WIDTH}" y1="{_n(y)}" y2="{_n(y)}"/>'
            f'<text x="{_AXIS - 10}" y="{_n(y + 3)}" text-anchor="end">{shown}</text></g>'
        )
        at += step


def _step(length: float) -> float:
    """A round step that gives at most `_TICKS` of them."""
    power: float = 10.0 ** math.floor(math.log10(length / _TICKS))
    return next(power * n for n in (1, 2, 5, 10) if length / (power * n) <= _TICKS)


def _headings(timeline: Timeline, page: _Page) -> Iterator[str]:
    y = _TOP - 10
    for lane in timeline.lanes:
        if lane in page.bars:
            yield f'<text class="soft" x="{_n(page.bars[lane] + _BAR)}" y="{y}" '
            yield f'text-anchor="end">{_escaped(lane)}</text>'
        else:
            yield f'<text class="soft" x="{_n(page.disk_x)}" y="{y}">{_escaped(lane)}</text>'


def _shape(span: TimelineSpan, page: _Page) -> Iterator[str]:
    y = page.y(span.begin)
    tip = f"<title>{_escaped(_tip(span))}</title>"
    if span.lane in page.bars:
        height = max(page.y(span.end) - y, 1.5)
        yield (
            f'<rect class="{span.look}" x="{_n(page.bars[span.lane])}" y="{_n(y)}" '
            f'width="{_BAR}" height="{_n(height)}">{tip}</rect>'
        )
    elif span.look == "flush":
        x = page.disk_x
        yield f'<line class="flush" x1="{_n(x)}" x2="{WIDTH - _NUMBERS}" y1="{_n(y)}" '
        yield f'y2="{_n(y)}">{tip}</line>'
        if span.belongs_to:
            yield (
                f'<path class="arrow" d="M{_n(x - _ARROWS)} {_n(y)}H{_n(x - 5)}'
                f'm0 -2.5l4 2.5l-4 2.5z"/>'
            )
    else:
        yield from _write(span, page.disk_x, y, tip)


def _write(span: TimelineSpan, x: float, y: float, tip: str) -> Iterator[str]:
    doublings = math.log2(max(span.bytes, _LEAST_BYTES) / _LEAST_BYTES)
    most = _DISK - _NUMBERS - 8
    width = 8 + most * min(doublings / _MOST_DOUBLINGS, 1)
    yield (
        f'<rect class="{span.look}" x="{_n(x)}" y="{_n(y - 1.5)}" width="{_n(width)}" '
        f'height="3">{tip}</rect>'
    )
    if span.look == "torn":
        yield f'<rect class="rest" x="{_n(x)}" y="{_n(y - 1.5)}" width="{_n(width / 2)}" '
        yield 'height="3"/>'


def _tip(span: TimelineSpan) -> str:
    words = f"{span.id} {span.name}".strip()
    if span.bytes:
        words += f", {span.bytes} B"
        words += f" at {span.offset_bytes}" if span.look in REQUESTS else ""
    if span.look in ("lost", "torn", "after"):
        words += f", {span.look}"
    return f"{words}, for {span.belongs_to}" if span.belongs_to else words


def _labels(timeline: Timeline, page: _Page) -> Iterator[str]:
    for lane, bar in page.bars.items():
        spans = sorted((s for s in timeline.spans if s.lane == lane), key=lambda s: s.begin)
        wanted = [page.y(span.begin) + 8 for span in spans]
        places = spread(wanted, _GAP, page.height + _TOP + _BOTTOM - 4)
        for span, place in zip(spans, places, strict=True):
            shown = _shortened(_label(span), int((bar - 8 - page.left[lane]) / _LETTER))
            yield f'<text x="{_n(bar - 8)}" y="{_n(place)}" text-anchor="end">'
            yield f"{_escaped(shown)}</text>"
            yield (
                f'<path class="lead" d="M{_n(bar - 6)} {_n(place - 4)}L{_n(bar - 1)} '
                f'{_n(page.y(span.begin) + 0.7)}"/>'
            )


def _flush_numbers(timeline: Timeline, page: _Page) -> Iterator[str]:
    flushes = sorted((s for s in timeline.spans if s.look == "flush"), key=lambda s: s.begin)
    flushes = [span for span in flushes if span.lane not in page.bars]
    wanted = [page.y(span.begin) + 3 for span in flushes]
    for span, place in zip(flushes, spread(wanted, 9, page.height + _TOP + 10), strict=True):
        yield f'<text class="soft" x="{WIDTH - _NUMBERS + 3}" y="{_n(place)}">'
        yield f"{_escaped(span.id)}</text>"


def _cut(timeline: Timeline, page: _Page) -> Iterator[str]:
    if timeline.cut is not None:
        y = page.y(timeline.cut.at)
        yield f'<line class="cut" x1="{_AXIS}" x2="{WIDTH}" y1="{_n(y)}" y2="{_n(y)}"/>'
        yield f'<text x="{WIDTH - 2}" y="{_n(y - 3)}" text-anchor="end">'
        yield f"{_escaped(timeline.cut.name)}</text>"


def spread(wanted: Sequence[float], gap: float, lowest: float) -> list[float]:
    """Places for labels in order, `gap` apart or more, each near the wanted one.

    None is below `lowest`, where there is room for all of them above it.
    """
    places: list[float] = []
    for want in wanted:
        places.append(max(want, places[-1] + gap) if places else want)
    limit = lowest
    for n in range(len(places) - 1, -1, -1):
        places[n] = min(places[n], limit)
        limit = places[n] - gap
    return places


def _in_words(timeline: Timeline) -> str:
    counts = {lane: sum(s.lane == lane for s in timeline.spans) for lane in timeline.lanes}
    return "; ".join(f"{lane}: {count}" for lane, count in counts.items()) + "."


def _shortened(label: str, most: int) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _escaped(text: str) -> str:
    """Text for XML, which some characters cannot stand in at all."""
    return escape(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _n(number: float) -> str:
    return f"{number:.1f}".rstrip("0").rstrip(".")
