"""Medians and ranges over several seeds, in tables and plots."""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes


def in_percent(fractions: Sequence[float]) -> str:
    """Returns "median (minimum to maximum)" of fractions in [0, 1], in percent."""
    low, median, high = (100 * value for value in (min(fractions), statistics.median(fractions), max(fractions)))
    return f"{median:.1f} ({low:.1f} to {high:.1f})"


def plot(axes: Axes, values: Mapping[float, Sequence[float]], style: str, **options) -> None:
    """Plots the medians against the keys, with the range from minimum to maximum shaded.

    Args:
        axes: to draw on; the horizontal axis is meant to be logarithmic (`set_log_ticks`).
        values: {position on the horizontal axis: one value per seed}.
        style: format string of matplotlib, such as "o-".
        **options: passed on to `Axes.plot`, such as `label`.
    """
    keys = sorted(values)
    (line,) = axes.plot(keys, [statistics.median(values[key]) for key in keys], style, ms=4, **options)
    lows, highs = ([choose(values[key]) for key in keys] for choose in (min, max))
    axes.fill_between(keys, lows, highs, color=line.get_color(), alpha=0.12, linewidth=0)


def set_log_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    """Makes the horizontal axis logarithmic, with only these ticks, and draws a grid."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
