"""The figures of this experiment, drawn from rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from powercut_lab.corruption.group_runs import AT_REST
from powercut_lab.corruption.paper_values import TABLE_4, UNSAFE_RUNS
from powercut_lab.corruption.raw import INJECTIONS, LAYERS, PAPER_FILES
from powercut_lab.corruption.tally import (
    KINDS,
    LAYER_WORDS,
    Rows,
    effective,
    missed_alone,
    of_series,
)
from powercut_lab.statistics import share
from powercut_lab.study import Cell, Figure

_HATCHES: Final = ("", "///", "...", "xxx", "\\\\\\")


def paper_figure(files: Rows) -> Figure:
    """Figure 4 of the paper: the share of files that the guard rejects, run by run."""
    bars = list(_runs(files).items())
    said = ", ".join(f"{name}: {count} of {of}" for name, (count, of) in bars)

    def draw(fig: Any) -> None:
        axes = fig.subplots()
        for number, (name, (count, of)) in enumerate(bars):
            found = share(count, of)
            style = 1 if name.startswith("unsafe") else 0
            axes.bar(
                number, 100 * found.value, color=f"C{style}", hatch=_HATCHES[style],
                edgecolor=_edge(), linewidth=0.5, zorder=2,
            )  # fmt: skip
            errors = [[100 * (found.value - found.low)], [100 * (found.high - found.value)]]
            axes.errorbar(number, 100 * found.value, errors, fmt="none", ecolor="C7", capsize=3)
        places = [(n, _printed(name)) for n, (name, _) in enumerate(bars)]
        axes.plot(
            [n for n, _ in places], [100 * value for _, value in places], color="C3", marker="D",
            markerfacecolor="none", linestyle="none", label="printed by the paper", zorder=3,
        )  # fmt: skip
        axes.set_xticks(range(len(bars)), [name.replace(" ", "\n") for name, _ in bars])
        axes.set_ylabel("files rejected (%)")
        axes.set_ylim(0, 108)
        _legend_above(axes, 1)

    return Figure(
        "corruption-rate",
        "Files that the guard rejects, by run (figure 4)",
        "Single files of torch.save: four faults in files that are written atomically, and the "
        "unsafe runs, each cut off in the middle of its first, middle or last file. Bars are of "
        "injections that changed a byte, with Wilson intervals of 95 %.",
        f"Bars of the share of rejected files. {said}.",
        draw,
        (PAPER_FILES.name,),
    )


def _runs(files: Rows) -> dict[str, tuple[int, int]]:
    """Rejected files and all files of each run; of a fault only those whose bytes changed."""
    found = {}
    for fault in TABLE_4:
        rows = [row for row in files if (row["fault"], row["crash"]) == (fault, "none")]
        real = [row for row in rows if fault == "none" or row["effective"] == 1]
        if real:
            found[fault] = sum(int(row["detected"]) for row in real), len(real)
    for crash in UNSAFE_RUNS:
        rows = [row for row in files if row["crash"] == crash]
        if rows:
            found[f"unsafe {crash}"] = sum(int(row["detected"]) for row in rows), len(rows)
    return found


def _printed(run: str) -> float:
    if run in TABLE_4:
        return TABLE_4[run].detected / TABLE_4[run].files
    damaged, files = UNSAFE_RUNS[run.removeprefix("unsafe ")]
    return damaged / files


def missed_figure(injections: Rows) -> Figure:
    """The share of single-bit flips at rest that each layer alone misses, by kind of checkpoint."""
    shares = _missed_flips(injections)
    said = "; ".join(
        f"{kind}: " + ", ".join(f"{LAYER_WORDS[layer]} {c} of {n}" for layer, (c, n) in by.items())
        for kind, by in shares.items()
    )

    def draw(fig: Any) -> None:
        axes = fig.subplots()
        width = 0.8 / max(1, len(shares))
        for number, (kind, by) in enumerate(shares.items()):
            for place, layer in enumerate(LAYERS):
                if layer not in by:
                    continue
                found = share(*by[layer])
                at = place + (number - (len(shares) - 1) / 2) * width
                errors = [[100 * (found.value - found.low)], [100 * (found.high - found.value)]]
                axes.bar(
                    at, 100 * found.value, width, yerr=errors, capsize=1.5, color=f"C{number}",
                    hatch=_HATCHES[number], edgecolor=_edge(), linewidth=0.5,
                    error_kw={"ecolor": "C7", "elinewidth": 1},
                )  # fmt: skip
            axes.bar(
                0, 0, color=f"C{number}", hatch=_HATCHES[number], edgecolor=_edge(), label=kind
            )
        axes.set_xticks(range(len(LAYERS)), [LAYER_WORDS[layer] for layer in LAYERS])
        axes.set_xlim(-0.6, len(LAYERS) - 0.4)
        axes.set_ylabel("bit flips missed (%)")
        axes.set_ylim(0, 108)
        _legend_above(axes, 3)

    return Figure(
        "missed-bit-flips",
        "Single-bit flips that each layer alone would have missed",
        "Effective flips of one bit at rest, by kind of checkpoint, with Wilson intervals of "
        "95 %. A layer without a bar missed none, or is not there: single files and the paper's "
        "groups have no chunks.",
        f"Bars of the share of missed bit flips. {said}.",
        draw,
        (INJECTIONS.name,),
    )


def _edge() -> Any:
    """The colour of lines in the style that is in force; hatches take it as well."""
    from matplotlib import rcParams

    return rcParams["axes.edgecolor"]


def _legend_above(axes: Any, columns: int) -> None:
    """The legend above the axes, where it covers no bar."""
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, fontsize="small",
        frameon=False,
    )  # fmt: skip


def _missed_flips(injections: Rows) -> Mapping[str, Mapping[str, tuple[int, int]]]:
    found = {}
    for kind in KINDS:
        rows: list[Mapping[str, Cell]] = [row for row in injections if kind.test(row)]
        flips = effective(of_series(rows, (AT_REST, "bit flip")))
        by = {layer: missed_alone(flips, layer) for layer in LAYERS}
        if known := {layer: value for layer, value in by.items() if value is not None}:
            found[kind.name] = known
    return found
