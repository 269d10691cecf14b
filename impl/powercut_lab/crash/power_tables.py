"""Tables of power cuts: the verdicts of the model, real disks, and how a group is lost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from powercut.simulation.oracle import OF_CRASHES, PROPERTIES
from powercut_lab.crash.summaries import Rows, as_share, distinct, number, protocols_in, text
from powercut_lab.study import ReportTable

NOT_ASKED: Final = "not run"
_LEGEND: Final = (
    "“holds” speaks for every crash state within the bound.",
    "“not refuted”: the search was cut off, and what it had seen until then breaks nothing.",
    "“unknown”: the answer hangs on what nobody has measured of that file system.",
)
_WORDS: Final = ("fails", "unknown", "not refuted")


def model_table(rows: Rows) -> ReportTable:
    """The verdicts: a row for each protocol, a column for each profile."""
    profiles = distinct(rows, "profile")
    lines = [
        (protocol, *(model_cell(rows, protocol, profile) for profile in profiles))
        for protocol in protocols_in(rows)
    ]
    states = sum(_states(rows, each, profile) for each, profile in _questions(rows))
    bounds = distinct(rows, "bound")
    return ReportTable(
        "crash-model",
        "Power cuts in the model: verdicts by file system",
        f"Every power-loss state of every history within a bound, {states:,} crash states in all. "
        f"Bound: {' | '.join(bounds)}. In brackets: crash states looked at.",
        ("Protocol", *profiles),
        tuple(lines),
        (*_LEGEND, *(f"{name}: {PROPERTIES[name]}." for name in OF_CRASHES)),
    )


def _questions(rows: Rows) -> set[tuple[str, str]]:
    return {(text(row, "protocol"), text(row, "profile")) for row in rows}


def _states(rows: Rows, protocol: str, profile: str) -> int:
    """The crash states that were looked at for one protocol under one profile."""
    own = [r for r in rows if (text(r, "protocol"), text(r, "profile")) == (protocol, profile)]
    return max((number(row, "represented") for row in own), default=0)


def model_cell(rows: Rows, protocol: str, profile: str) -> str:
    """The verdicts of one protocol under one profile, the worst first."""
    own = [r for r in rows if (text(r, "protocol"), text(r, "profile")) == (protocol, profile)]
    if not own:
        return NOT_ASKED
    groups = {word: [text(r, "property") for r in own if r["verdict"] == word] for word in _WORDS}
    said = [f"{word} {' '.join(names)}" for word, names in groups.items() if names]
    return f"{', '.join(said) or 'holds'} ({_states(rows, protocol, profile):,})"


def disk_table(rows: Rows) -> ReportTable:
    """Losses of recoveries from real crash images: a row for each protocol."""
    disks = distinct(rows, "fs")
    lines = []
    for protocol in protocols_in(rows):
        cells = []
        for fs in disks:
            own = [r for r in rows if (text(r, "protocol"), text(r, "fs")) == (protocol, fs)]
            images = sum(number(row, "images") for row in own)
            lost, torn = (sum(number(row, name) for row in own) for name in ("lost", "torn"))
            cells.append(f"{as_share(lost, images)}; {torn} torn" if own else NOT_ASKED)
        lines.append((protocol, *cells))
    images = sum(number(row, "images") for row in rows)
    sums = {
        name: sum(number(row, name) for row in rows)
        for name in ("outside", "disagree", "refused", "hung")
    }
    odd = (
        f"{sums['outside']} images held a tree that the model does not have; in "
        f"{sums['disagree']} recovery answered otherwise than on the model's disk; "
        f"{sums['refused']} did not mount; {sums['hung']} were not done in time."
    )
    return ReportTable(
        "crash-disks",
        "Power cuts on real disks: images in which an acknowledged group was lost",
        f"Two saves of each protocol, recorded block by block on each file system; {images} crash "
        "images were mounted and the production code recovered from each. Parts of some bytes, "
        "not the paper's group. Lost of images, with the 95 % Wilson interval in per cent of these "
        "images, which are spread over the recording and not drawn by the odds of a real cut.",
        ("Protocol", *disks),
        tuple(lines),
        (odd,),
    )


def story_tables(rows: Rows) -> Iterator[ReportTable]:
    """The story of a lost group: the smallest counterexample of each protocol that was asked."""
    for protocol in protocols_in(rows):
        own = [row for row in rows if text(row, "protocol") == protocol]
        profile = text(own[0], "profile")
        lines = list(story_lines(own))
        name = protocol.replace(":", "-")
        yield ReportTable(
            f"crash-story-{name}",
            f"How {protocol} loses an acknowledged group",
            f"The smallest counterexample that the model gives under the profile {profile}: one "
            "save of one small part. Paths are below /ckpt/run.",
            ("Line", "What happens"),
            tuple((str(count), line) for count, line in enumerate(lines, start=1)),
        )


def story_lines(rows: Rows) -> Iterator[str]:
    """The lines of one counterexample; calls on one path stand on one line."""
    lines = [(text(row, "what"), _short(text(row, "text"))) for row in rows]
    for (what, path), group in groupby(lines, key=lambda line: (line[0], _subject(*line))):
        texts = [each for _, each in group]
        if what == "call":
            yield f"{', '.join(each.split(' ')[0] for each in texts)} {path}"
        elif what == "remedy":
            which = ", ".join(texts)
            yield f"Each of these alone, before the save returns, would have kept it: {which}."
        elif what == "lost":
            yield from (f"Lost: {each.removesuffix(': lost')}." for each in texts)
        else:
            yield from (each[0].upper() + each[1:].rstrip(".") + "." for each in texts)


def _subject(what: str, line: str) -> str:
    """The paths of a call; calls that share them are told in one line."""
    _, _, paths = line.partition(" ")
    return paths.replace(" ", " to ") if what == "call" else ""


def _short(line: str) -> str:
    return line.replace("/ckpt/run/", "")
