"""The drawing: well-formed, complete, legible without colour, and inside of its own borders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from xml.etree import ElementTree as ET

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from powercut.report.timeline import Cut, Timeline
from powercut.report.timeline_svg import WIDTH, draw, spread
from tests.model.report.spans import NAMES, TIMELINES, a_save

SVG = "{http://www.w3.org/2000/svg}"


def drawn(timeline: Timeline) -> ET.Element:
    return ET.fromstring(draw(timeline))  # noqa: S314 - our own text


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in root.iter() if each.get("class") == name]


def heights(root: ET.Element) -> Iterator[tuple[float, float]]:
    """The upper and the lower edge of each shape that has them."""
    for each in root.iter():
        if each.tag == f"{SVG}rect":
            y = float(each.get("y", "0"))
            yield y, y + float(each.get("height", "0"))
        elif each.tag == f"{SVG}text":
            yield float(each.get("y", "0")) - 8, float(each.get("y", "0"))
        elif each.tag == f"{SVG}line":
            yield float(each.get("y1", "0")), float(each.get("y2", "0"))


@given(TIMELINES, NAMES)
def test_any_timeline_is_well_formed_and_stays_inside_its_borders(
    timeline: Timeline, title: str
) -> None:
    root = drawn(evolve(timeline, title=title))
    left, top, width, height = map(float, root.get("viewBox", "").split())

    assert (left, top, width) == (0, 0, WIDTH)
    assert all(low >= -1 and high <= height + 1 for low, high in heights(root))
    for each in root.iter(f"{SVG}rect"):
        x = float(each.get("x", "0"))
        assert x >= 0
        assert x + float(each.get("width", "0")) <= WIDTH + 0.1


@given(TIMELINES)
def test_each_flush_of_a_sync_has_an_arrow_and_each_sync_a_shade(timeline: Timeline) -> None:
    root = drawn(timeline)
    looks = [span.look for span in timeline.spans]
    owned = [s for s in timeline.spans if s.look == "flush" and s.belongs_to]

    assert len(of_class(root, "flush")) == looks.count("flush")
    assert len(of_class(root, "arrow")) == len(owned)
    assert len(of_class(root, "band")) == len(of_class(root, "sync")) == looks.count("sync")
    assert len(of_class(root, "write")) == looks.count("write")


def test_a_flush_is_drawn_on_the_shade_of_its_sync_and_an_early_write_on_none() -> None:
    timeline = a_save()
    root = drawn(timeline)
    bands = [
        (float(b.get("y", "0")), float(b.get("y", "0")) + float(b.get("height", "0")))
        for b in of_class(root, "band")
    ]
    flushes = [float(each.get("y1", "0")) for each in of_class(root, "flush")]
    writes = [float(each.get("y", "0")) + 1.5 for each in of_class(root, "write")]

    assert [sum(low <= y <= high for low, high in bands) for y in flushes] == [1, 1, 1]
    assert [sum(low <= y <= high for low, high in bands) for y in writes] == [0, 1]


def test_words_say_what_the_picture_shows() -> None:
    root = drawn(evolve(a_save(), text="Two syncs & a rest"))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")

    assert root.get("role") == "img"
    assert title is not None
    assert description is not None
    assert root.get("aria-labelledby", "").split() == [title.get("id"), description.get("id")]
    assert (title.text, description.text) == ("A save", "Two syncs & a rest")
    shown = {"".join(each.itertext()) for each in root.iter(f"{SVG}text")}
    assert {"write parts", "S2 fsync model.bin", "S4 fsync group", "F1", "F3"} <= shown


def test_it_needs_nothing_from_elsewhere_and_has_colours_for_the_dark() -> None:
    text = draw(a_save())
    style = text.partition("<style>")[2].partition("</style>")[0]
    light, dark = re.findall(r"\{(--[^{}]*)\}", style)

    assert not re.search(r"href|src|url\(|<script|@import", text)
    assert "prefers-color-scheme:dark" in style
    assert re.findall("--[a-z]+", light) == re.findall("--[a-z]+", dark)
    assert not set(re.findall("#[0-9a-f]+", light)) & set(re.findall("#[0-9a-f]+", dark))
    # Inside of HTML a rule without the class would change the page around it.
    rules = re.sub(r"@media[^{]*\{(.*?\})\}", r"\1", style)
    assert all(r.lstrip().startswith(".timeline") for r in re.findall(r"([^{}]+)\{", rules))


def test_a_cut_goes_through_all_lanes_and_bears_its_name() -> None:
    root = drawn(evolve(a_save(), cut=Cut(450, "power cut")))

    assert len(of_class(root, "cut")) == 1
    assert "power cut" in {"".join(each.itertext()) for each in root.iter(f"{SVG}text")}


def test_without_a_disk_the_lanes_have_the_width_for_themselves() -> None:
    timeline = a_save()
    calls = tuple(span for span in timeline.spans if span.lane != "disk")
    bars = of_class(drawn(evolve(timeline, lanes=("phases", "calls"), spans=calls)), "sync")

    assert min(float(bar.get("x", "0")) for bar in bars) > WIDTH - 30


@given(st.lists(st.floats(500, 600), max_size=40).map(sorted))
def test_labels_that_crowd_at_the_bottom_move_up_together(wanted: list[float]) -> None:
    places = spread(wanted, 12, 600)

    assert all(b - a >= 12 - 1e-6 for a, b in pairwise(places))
    assert all(place <= 600 for place in places)


@given(st.lists(st.floats(0, 500), max_size=40).map(sorted))
def test_labels_keep_their_order_and_their_distance(wanted: list[float]) -> None:
    places = spread(wanted, 12, 600)

    assert all(b - a >= 12 - 1e-6 for a, b in pairwise(places))
    assert all(place <= 600 for place in places)
    far_apart = all(b - a >= 12 for a, b in pairwise(wanted))
    assert not far_apart or places == wanted
