"""The figures of the report: the paper's latency CDF, the phases, and the share of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.ticker import NullFormatter

from powercut_lab.latency import protocols, tables
from powercut_lab.latency.meter import PHASE_WORDS, PHASES
from powercut_lab.latency.report_tables import MODES, PAPER, counts, number, size_words
from powercut_lab.latency.summary import INTERVALS_S, Summary, share_of_training
from powercut_lab.study import Figure

_COLUMNS: Final = 2
_MARKS: Final = {
    "unsafe": "o", "atomic_nodirsync": "s", "atomic_dirsync": "^", "atomic_fullsync": "x",
}  # fmt: skip
_HATCHES: Final = ("", "//", "..", "xx", "\\\\", "++")
_DATA: Final = (tables.SAMPLES.name,)
_INTERVALS_S: Final = np.geomspace(min(INTERVALS_S), max(INTERVALS_S), 40)


def all_figures(summary: Summary) -> Iterator[Figure]:
    """Every figure that there are rows for."""
    if PAPER in summary.sizes:
        yield _cdf(summary)
        yield _stacks(summary)
    if summary.ways(summary.sizes[0], protocols.OURS) if summary.sizes else ():
        yield _shares(summary)


def _grid(fig: Any, count: int, **shared: Any) -> list[Any]:
    """So many axes in two columns, and none that is empty."""
    fig.set_layout_engine("constrained")
    rows = -(-count // _COLUMNS)
    axes = list(np.ravel(fig.subplots(rows, min(count, _COLUMNS), squeeze=False, **shared)))
    for spare in axes[count:]:
        spare.remove()
    return axes[:count]


def _logarithmic(axis: Any, set_scale: Any) -> None:
    """A logarithmic axis with plain numbers at powers of ten only: others would overlap."""
    set_scale("log")
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _height_in(count: int, row_in: float) -> float:
    return 1.0 + row_in * -(-count // _COLUMNS)


def _style(way: str) -> dict[str, Any]:
    """A colour and a mark for each mode; a solid line for the library's, dotted for the paper's."""
    protocol, _, mode = way.partition(":")
    number_of = list(_MARKS).index(mode)
    return {
        "color": f"C{number_of}",
        "marker": _MARKS[mode],
        "linestyle": "-" if protocol == "lastgood" else ":",
        "markersize": 4,
    }


def _medians(summary: Summary) -> str:
    """The p50 of each mode on each disk in words."""
    sentences = []
    for disk in summary.disks:
        found = [(way, summary.at(disk, PAPER, way)) for way in summary.ways(PAPER, MODES)]
        words = [
            f"{way} {number(series.quantile(0.5).value / 1000)} ms"
            for way, series in found
            if series
        ]
        sentences.append(f"Median on {disk}: {', '.join(words)}.")
    return " ".join(sentences)


def _cdf(summary: Summary) -> Figure:
    def draw(fig: Any) -> None:
        axes = _grid(fig, len(summary.disks), sharey=True)
        for axis, disk in zip(axes, summary.disks, strict=True):
            for way in summary.ways(PAPER, MODES):
                series = summary.at(disk, PAPER, way)
                if series is None:
                    continue
                taken = np.sort(np.asarray(series.walls_us)) / 1000
                shares = np.arange(1, len(taken) + 1) / len(taken)
                every = max(1, len(taken) // 6)
                axis.plot(taken, shares, label=way, markevery=every, **_style(way))
            _logarithmic(axis.xaxis, axis.set_xscale)
            axis.set_xlabel(f"{disk}: save, ms")
            axis.set_ylabel("share of saves")
        _legend(fig, axes)

    return Figure(
        "latency-cdf",
        "How long a save takes (the paper's figure 1)",
        f"The share of saves of {size_words(PAPER)} that took no longer, on each disk; "
        f"{counts(summary, PAPER)} samples a line, all ways in turns. Logarithmic in time.",
        _medians(summary),
        draw,
        _DATA,
        height_in=_height_in(len(summary.disks), 2.1),
    )


def _legend(fig: Any, axes: Sequence[Any]) -> None:
    """One legend below all axes."""
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small"
    )


def _stacks(summary: Summary) -> Figure:
    ways = summary.ways(PAPER, MODES)

    def draw(fig: Any) -> None:
        axes = _grid(fig, len(summary.disks), sharey=True)
        for axis, disk in zip(axes, summary.disks, strict=True):
            found = [(way, summary.at(disk, PAPER, way)) for way in ways]
            known = [(way, series) for way, series in found if series is not None]
            left = np.zeros(len(known))
            for index, phase in enumerate(PHASES):
                means = np.array([series.mean_us(phase) / 1000 for _, series in known])
                axis.barh(
                    [way for way, _ in known], means, left=left, label=PHASE_WORDS[phase],
                    color=f"C{index}", hatch=_HATCHES[index], linewidth=0.3,
                )  # fmt: skip
                left += means
            axis.set_xlabel(f"{disk}: mean, ms")
            axis.tick_params(axis="y", labelsize="small")
        axes[0].invert_yaxis()
        _legend(fig, axes)

    return Figure(
        "latency-phases",
        "Where the time of a save goes",
        f"Mean milliseconds of each phase of a save of {size_words(PAPER)}, one thread, on each "
        f"disk; {counts(summary, PAPER)} samples a bar. Each disk has a scale of its own.",
        " ".join(
            f"On {disk}, of the mean save, syncs are {_sync_share(summary, disk) or 'nothing'}."
            for disk in summary.disks
        ),
        draw,
        _DATA,
        height_in=_height_in(len(summary.disks), 2.0),
    )


def _sync_share(summary: Summary, disk: str) -> str:
    found = {way: summary.sync_share(disk, PAPER, way) for way in summary.ways(PAPER, MODES)}
    return ", ".join(f"{100 * share:.0f} % ({way})" for way, share in found.items() if share)


def _shares(summary: Summary) -> Figure:
    disk = summary.disks[0]
    sizes = [size for size in summary.sizes if summary.at(disk, size, protocols.OURS[0])]
    sizes = sizes or summary.sizes[:1]

    def draw(fig: Any) -> None:
        axes = _grid(fig, len(sizes), sharey=True)
        for axis, size in zip(axes, sizes, strict=True):
            for way in summary.ways(size, protocols.OURS):
                series = summary.at(disk, size, way)
                if series is None:
                    continue
                for at, line in ((0.5, "-"), (0.99, "--")):
                    took = series.quantile(at).value
                    shares = [100 * share_of_training(took, each) for each in _INTERVALS_S]
                    look = {**_style(way), "linestyle": line}
                    axis.plot(
                        _INTERVALS_S, shares, label=f"{way}, p{100 * at:.0f}", markevery=8, **look
                    )
            _logarithmic(axis.xaxis, axis.set_xscale)
            _logarithmic(axis.yaxis, axis.set_yscale)
            axis.set_xlabel(f"seconds between saves\n{size_words(size)}")
            axis.set_ylabel("share of time, %")
        _legend(fig, axes)

    return Figure(
        "latency-share",
        "What each mode costs a training run",
        f"The share of all time that saves take on the disk `{disk}`, by the seconds of training "
        "between two of them; solid at the p50 of a save, dashed at its p99. Both axes are "
        "logarithmic.",
        _share_words(summary, disk, sizes),
        draw,
        _DATA,
        height_in=_height_in(len(sizes), 2.4),
    )


def _share_words(summary: Summary, disk: str, sizes: Sequence[str]) -> str:
    words = []
    for size in sizes:
        for way in summary.ways(size, protocols.OURS):
            series = summary.at(disk, size, way)
            if series is not None:
                share = 100 * share_of_training(series.quantile(0.5).value, 60.0)
                words.append(f"{way} with {size_words(size)} {share:.2g} %")
    return f"At one save a minute, at the median: {', '.join(words)}."
