"""The box at the top of the page: which mode where, and what it costs. From rows alone.

A mode is advised where the model found no crash state that breaks a promise, and no crash image of
the real disk did; of those modes, the one that asks for least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from powercut_lab.latency.summary import Series, Summary
from powercut_lab.study import Cell, Data, ReportTable, Section

MODES: Final = ("unsafe", "atomic_nodirsync", "atomic_dirsync", "atomic_fullsync")
"""The mode that asks for least comes first."""

SIZE: Final = "paper"
MINUTE_S: Final = 60.0
WAY: Final = "lastgood:{}"


@frozen
class SavePlace:
    """A place to save: the profile that speaks for it, the disk that stands for it where one does.

    `anyway` is the mode there if none is advised.
    """

    title: str
    profile: str
    disk: str
    anyway: str = "atomic_dirsync"


PLACES: Final = (
    SavePlace("Linux, ext4 with its default options", "ext4-ordered", "ext4"),
    SavePlace("Linux, xfs", "xfs", "xfs"),
    SavePlace("Linux, btrfs", "btrfs", "btrfs"),
    SavePlace("another POSIX file system", "posix-minimal", ""),
    SavePlace("a Mac, APFS", "apfs", "apfs", "atomic_fullsync"),
)

NOT_PROMISED: Final = "not promised; the death of the program is survived"

COLUMNS: Final = (
    "where", "mode", "after a power cut", "a weaker mode loses", "a save (p50, p99)",
    "of a minute, at p99",
)  # fmt: skip


def advice_of(data: Data) -> Section | None:
    """The box; None where no row says anything of a mode."""
    verdicts = _verdicts(data.get("crash_model", ()))
    if not verdicts:
        return None
    costs = Summary.of(data)
    asked = {profile for _, profile in verdicts}
    places = [_row(place, verdicts, data, costs) for place in PLACES if place.profile in asked]
    table = ReportTable(
        "which-mode",
        "Which mode, where",
        "The least mode of lastgood under which no promise (P1 to P5) falls to a power cut: in the "
        "model within its bound, and on the disk's crash images where they were made. A save is "
        "the paper's group of 192 KiB; its cost is that of this machine's disk.",
        COLUMNS,
        tuple(places),
    )
    return Section("In one minute", tuple(_sentences(places)), (table,))


Verdicts = Mapping[tuple[str, str], Mapping[str, str]]


def _verdicts(rows: Sequence[Mapping[str, Cell]]) -> Verdicts:
    """The verdict on each property, by protocol and profile."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        key = str(row["protocol"]), str(row["profile"])
        found.setdefault(key, {})[str(row["property"])] = str(row["verdict"])
    return found


def _holds(mode: str, profile: str, verdicts: Verdicts) -> bool:
    found = verdicts.get((WAY.format(mode), profile), {})
    return bool(found) and set(found.values()) == {"holds"}


def _lost(mode: str, disk: str, data: Data) -> int:
    """The crash images of a disk after which an acknowledged group was gone or torn."""
    return sum(
        int(row["lost"]) + int(row["torn"])
        for row in data.get("crash_disks", ())
        if row["protocol"] == WAY.format(mode) and row["fs"] == disk
    )


def _row(place: SavePlace, verdicts: Verdicts, data: Data, costs: Summary) -> tuple[str, ...]:
    held = [
        mode
        for mode in MODES
        if _holds(mode, place.profile, verdicts) and not _lost(mode, place.disk, data)
    ]
    mode = held[0] if held else place.anyway
    after = "every promise is kept in the model" if held else NOT_PROMISED
    images = _images(mode, place.disk, data)
    if held and images:
        after += f", and on {images} crash images of a disk"
    cost, share = _cost(costs.at(place.disk, SIZE, WAY.format(mode)))
    return place.title, mode, after, _weaker(place, mode, verdicts, data), cost, share


def _images(mode: str, disk: str, data: Data) -> int:
    return sum(
        int(row["images"])
        for row in data.get("crash_disks", ())
        if row["protocol"] == WAY.format(mode) and row["fs"] == disk
    )


def _weaker(place: SavePlace, mode: str, verdicts: Verdicts, data: Data) -> str:
    """The losses of the next weaker mode there; a word for nothing weaker."""
    below = MODES[: MODES.index(mode)]
    if not below:
        return "none is weaker"
    found = verdicts.get((WAY.format(below[-1]), place.profile), {})
    weak = [f"{name} {found[name]}" for name in sorted(found) if found[name] != "holds"]
    lost = _lost(below[-1], place.disk, data)
    words = ", ".join(weak) or "nothing that was found"
    return f"{below[-1]}: {words}" + (f"; lost or torn on {lost} crash images" if lost else "")


def _cost(series: Series | None) -> tuple[str, str]:
    if series is None:
        return "not measured here", "not measured here"
    middle, most = series.quantile(0.5).value, series.quantile(0.99).value
    share = most / 1e6 / MINUTE_S
    return f"{middle / 1000:.1f} ms, {most / 1000:.1f} ms", f"{share:.3%}"


def _sentences(rows: Sequence[Sequence[str]]) -> list[str]:
    """A few words for each place."""
    found = []
    for where, mode, after, _, cost, share in rows:
        words = f"{where}: {mode}. After a power cut {after}."
        if not cost.startswith("not"):
            middle, most = cost.split(", ")
            words += f" A save takes {middle} at the median and {most} at p99: {share} of a minute."
        found.append(words.replace("cut not", "cut it is not"))
    return found
