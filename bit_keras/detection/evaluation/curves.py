"""Figures of average precision: curves of precision and recall, and a bar per class."""

import numpy as np
from matplotlib.figure import Figure

from bit_keras.detection.evaluation.coco import Measures
from bit_keras.figures import drawing

_MOST_CURVES = 10  # classes with a curve of their own
_MOST_BARS = 40
_THRESHOLDS = {0: "0.50", 5: "0.75"}  # index of an IoU threshold: its text


def precision_recall(measures: Measures) -> Figure:
    """Plots precision against recall at IoU 0.50 and 0.75: the mean over the classes, and the classes with most boxes.

    A class without boxes has no curve.
    """
    classes = sorted(_defined(measures), key=lambda k: -measures.per_class[k]["boxes"])
    if not classes:
        return drawing.sentence("no boxes in the test images")
    shown = classes[:_MOST_CURVES]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (threshold, text) in zip(panels, _THRESHOLDS.items(), strict=True):
        precision = measures.precision[threshold]  # [recalls, K]
        for k in shown if len(classes) > 1 else ():
            name = drawing.drawn(measures.per_class[k]["class"])
            axes.plot(measures.recalls, precision[:, k], lw=1.2, alpha=0.8, label=name)
        mean = precision[:, classes].mean(axis=1)
        what = "all classes" if len(classes) > 1 else drawing.drawn(measures.per_class[classes[0]]["class"])
        axes.plot(measures.recalls, mean, color="black", lw=2.5, label=what)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", title=f"IoU {text}: average precision {mean.mean():.3f}")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("precision")
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize=8)
    for text in legend.get_texts():
        text.set(**drawing.literal())
    if len(classes) > len(shown):
        legend.set_title(f"{len(shown)} classes\nwith most boxes", {"size": 8})
    return figure


def class_ap(measures: Measures) -> Figure:
    """Draws a bar per class, the best at the top: average precision, and that at IoU 0.50; the worst if there are many.

    A class without boxes has no bar.
    """
    classes = sorted(_defined(measures), key=lambda k: measures.per_class[k]["AP"])  # from the bottom
    if not classes:
        return drawing.sentence("no boxes in the test images")
    shown = [measures.per_class[k] for k in classes[:_MOST_BARS]]
    figure = Figure(figsize=(8, 1.2 + 0.24 * len(shown)), layout="constrained")
    axes, places = figure.subplots(), range(len(shown))
    axes.barh(places, [row["AP50"] for row in shown], color="lightsteelblue", label="IoU 0.50 (in brackets)")
    axes.barh(places, [row["AP"] for row in shown], color="tab:blue", label="IoU 0.50 to 0.95")
    for place, row in enumerate(shown):
        axes.text(row["AP50"], place, f" {row['AP']:.3f} ({row['AP50']:.3f})", va="center", fontsize=8)
    names = [f"{drawing.drawn(row['class'])} ({row['boxes']:,})" for row in shown]
    axes.set_yticks(places, names, fontsize=8, **drawing.literal())
    title = "classes (boxes)" if len(shown) == len(classes) else f"the worst {len(shown)} of {len(classes):,} classes"
    axes.set(
        xlabel="average precision",
        xlim=(0, 1.16),
        xticks=np.arange(0, 1.1, 0.2),
        ylim=(-0.6, len(shown) - 0.4),
        title=title,
    )
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower right", ncols=2, fontsize=8)
    return figure


def _defined(measures: Measures) -> list[int]:
    """Returns the classes that have boxes."""
    return np.flatnonzero(~np.isnan(measures.precision).any(axis=(0, 1))).tolist()
