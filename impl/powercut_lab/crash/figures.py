"""Figures: the paper's figure 2 with recovery judged, and its figure 3."""

from __future__ import annotations

from typing import Any, Final

from powercut_lab.crash.crash_points import POINTS
from powercut_lab.crash.summaries import PERCENT, Rows, counts_by, distinct, protocols_in
from powercut_lab.crash.tables import HOOKS
from powercut_lab.figure_style import HATCHES
from powercut_lab.statistics import share
from powercut_lab.study import Figure

_MARKERS: Final = "osD^vPX*"

_ROOM: Final = 0.8
_PANELS: Final = (
    ("in_flight_ok", "group in flight\nvalid (%)"),
    ("kept", "newest acknowledged\nreturned (%)"),
)


def ok_rate_figure(rows: Rows) -> Figure:
    """Figure 2: the rate as the paper took it, and below it the rate that matters."""
    protocols = protocols_in(rows)
    return Figure(
        "crash-ok-rate",
        "Groups that are there after a crash (the paper's figure 2)",
        "Above as the paper judged: is the group valid whose save was cut off. Below: is the "
        "newest acknowledged group returned. 95 % Wilson intervals.",
        _rates_in_words(rows),
        lambda fig: _draw_rates(fig, rows, protocols),
        (HOOKS.name,),
        height_in=5.4,
    )


def _rates_in_words(rows: Rows) -> str:
    counts = counts_by(rows, "point")
    return " ".join(
        f"{point}: group in flight valid in {c.in_flight_ok} of {c.trials} trials, newest "
        f"acknowledged group returned in {c.kept}."
        for point in POINTS
        if (c := counts.get((point,))) is not None
    )


def _draw_rates(fig: Any, rows: Rows, protocols: list[str]) -> None:
    _lay_out(fig)
    counts = counts_by(rows, "protocol", "point")
    panels = fig.subplots(len(_PANELS), 1, sharex=True)
    for axes, (name, label) in zip(panels, _PANELS, strict=True):
        for series, protocol in enumerate(protocols):
            offset = _ROOM * ((series + 0.5) / len(protocols) - 0.5)
            places, values, low, high = [], [], [], []
            for place, point in enumerate(POINTS):
                if (found := counts.get((protocol, point))) is None:
                    continue
                rate = share(getattr(found, name), found.trials)
                places.append(place + offset)
                values.append(PERCENT * rate.value)
                low.append(PERCENT * max(0.0, rate.value - rate.low))
                high.append(PERCENT * max(0.0, rate.high - rate.value))
            axes.errorbar(
                places, values, yerr=(low, high), fmt=_MARKERS[series % len(_MARKERS)],
                color=f"C{series}", markersize=4, capsize=2, linewidth=1, label=protocol,
            )  # fmt: skip
        axes.set_ylabel(label)
        axes.set_ylim(-5, 105)
    panels[-1].set_xticks(range(len(POINTS)), [p.replace(", ", ",\n") for p in POINTS])
    panels[-1].tick_params(axis="x", labelrotation=20)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)


def _lay_out(fig: Any) -> None:
    """Make room for a legend outside the axes, where the report does not do so itself."""
    if fig.get_layout_engine() is None:
        fig.set_layout_engine("constrained")


def reason_figure(rows: Rows) -> Figure:
    """Figure 3: the reasons for which the group in flight was rejected, by mode."""
    crashed = [row for row in rows if row["reason"] != "valid"]
    counts = counts_by(crashed, "protocol", "reason")
    said = " ".join(f"{p}: {reason} {c.trials}." for (p, reason), c in counts.items())
    return Figure(
        "crash-why-rejected",
        "Why the group in flight was rejected (the paper's figure 3)",
        "The note of the protocol's own scan on the group in flight, over all points; trials.",
        said,
        lambda fig: _draw_reasons(fig, crashed),
        (HOOKS.name,),
    )


def _draw_reasons(fig: Any, rows: Rows) -> None:
    counts = counts_by(rows, "protocol", "reason")
    protocols, reasons = protocols_in(rows), distinct(rows, "reason")
    _lay_out(fig)
    axes = fig.subplots()
    left = [0] * len(protocols)
    for series, reason in enumerate(reasons):
        widths = [
            found.trials if (found := counts.get((protocol, reason))) else 0
            for protocol in protocols
        ]
        axes.barh(
            protocols, widths, left=left, label=reason, color=f"C{series}",
            hatch=HATCHES[series % len(HATCHES)], linewidth=0.5,
        )  # fmt: skip
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("trials")
    fig.legend(loc="outside upper center", ncols=2)
