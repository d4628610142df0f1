"""The plots of reports, without pyplot's global state; SVG text is the same for the same numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .stats import Interval

Curves: TypeAlias = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Lines by name: their x and y values."""
PALETTE = ("#1f6feb", "#e36209", "#2a9d58", "#9b5de5", "#e63946", "#0b7285", "#8d6e63")
_STYLE: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.edgecolor": "#c5ced8",
    "axes.labelcolor": "#5b6876",
    "xtick.color": "#5b6876",
    "ytick.color": "#1d2733",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "kalie",
}


def interval_chart(
    intervals: Mapping[str, Interval], metric: str, limit: tuple[float, float] = (0, 1)
) -> Figure:
    """One horizontal bar per name with its confidence interval, top to bottom in the given order.

    Args:
        intervals: by name.
        metric: label of the axis.
        limit: of the axis.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 0.7 + 0.36 * len(intervals)), layout="constrained")
        axes = figure.subplots()
        values = list(intervals.values())
        places = range(len(values))
        axes.barh(places, [item.value for item in values], color=PALETTE[0], alpha=0.85, height=0.62)
        # Rounding may put a bound a hair past the value; a whisker has no negative length.
        whiskers = [
            [max(0.0, item.value - item.low) for item in values],
            [max(0.0, item.high - item.value) for item in values],
        ]
        middles = [item.value for item in values]
        axes.errorbar(middles, places, xerr=whiskers, fmt="none", ecolor="#1d2733", capsize=3, lw=1.2)
        axes.set_yticks(places, list(intervals))
        axes.invert_yaxis()
        axes.set_xlim(*limit)
        axes.set_xlabel(metric)
        axes.grid(axis="x", color="#e3e8ee")
        axes.set_axisbelow(True)
    return figure


def line_chart(series: Curves, x_label: str, y_label: str) -> Figure:
    """One line per name.

    Args:
        series: by name, the x and the y values.
        x_label: of the x axis.
        y_label: of the y axis.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
        _draw(axes, series)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return figure


def line_panels(charts: Mapping[str, Curves], x_label: str) -> Figure:
    """Small charts of lines, two in a row.

    Args:
        charts: by title, the lines by name.
        x_label: of all x axes.
    """
    rows = (len(charts) + 1) // 2
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.5 * rows), layout="constrained")
        panels = figure.subplots(rows, 2, squeeze=False).ravel()
        for (title, series), axes in zip(charts.items(), panels, strict=False):
            _draw(axes, series)
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xlabel(x_label)
        for axes in panels[len(charts) :]:
            axes.set_visible(False)
    return figure


def _draw(axes: Axes, series: Curves) -> None:
    for (name, (x, y)), colour in zip(series.items(), PALETTE * len(series), strict=False):
        axes.plot(x, y, label=name, color=colour, lw=1.8)
    axes.grid(color="#e3e8ee")
    if len(series) > 1:
        axes.legend(frameon=False)


def figure_svg(figure: Figure) -> str:
    """A figure's `<svg>` element, without the XML header and without a date."""
    stream = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    text = stream.getvalue()
    # Size comes from the page; the view box keeps the shape.
    return re.sub(
        r'(<svg [^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r"\1\2", text[text.index("<svg") :], count=1
    )
