"""The looks of figures: a style for light pages and one for dark, legible without colour."""

from __future__ import annotations

import io
from typing import Any, Final, Literal

from powercut_lab.study import Figure

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")

HATCHES: Final = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oooo", "----")
"""Fillings by series, beside the colours: bars take theirs by number."""

# The palette of Okabe and Ito, made for the colour-blind; its black and yellow by theme.
_COLOURS: Final[dict[Theme, tuple[str, ...]]] = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#8A6D00", "#000000"),
    "dark": ("#56B4E9", "#E69F00", "#2FC79A", "#E3A6C7", "#7FA8FF", "#F0E442", "#FFFFFF"),
}
_DASHES: Final = ("-", "--", "-.", ":", (0, (3, 1, 1, 1)), (0, (6, 2)), (0, (1, 3)))
_INK: Final[dict[Theme, str]] = {"light": "#1b1f24", "dark": "#e6edf3"}
_GRID: Final[dict[Theme, str]] = {"light": "#c4cad1", "dark": "#3d444d"}


def style(theme: Theme) -> dict[str, Any]:
    """The settings of matplotlib for a theme."""
    from cycler import cycler

    colours = _COLOURS[theme]
    ink = _INK[theme]
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        "axes.prop_cycle": cycler(color=colours) + cycler(linestyle=_DASHES),
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.framealpha": 0.0,
        "legend.fontsize": 8,
        "font.family": "sans-serif",
        "font.size": 9,
        "grid.color": _GRID[theme],
        "grid.linewidth": 0.5,
        "hatch.color": ink,
        "hatch.linewidth": 0.6,
        "patch.edgecolor": ink,
        "svg.fonttype": "none",  # text stays text
        **dict.fromkeys(inked, ink),
    }


def svg_of(figure: Figure, theme: Theme) -> str:
    """The figure as SVG: the same bytes for the same data, style and version of matplotlib."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    settings: Any = {**style(theme), "svg.hashsalt": figure.name}
    with mpl.rc_context(settings):
        canvas = Canvas(figsize=(figure.width_in, figure.height_in))
        figure.draw(canvas)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None, "Title": figure.title})
    return out.getvalue()
