"""Program: draws the pictures of docs/explanation.md.

python -m tools.pictures            writes them to docs/images/
python -m tools.pictures --out=DIR  writes them elsewhere
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bit_keras.network import arithmetic
from bit_keras.network.model import BiT
from bit_keras.rules.hyperrule import HyperRule

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def hyperrule() -> Figure:
    """The learning rate of the HyperRule's three lengths."""
    figure, (axes,) = _figure(1, width=7, height=4)
    for count in (1_000, 100_000, 1_000_000):
        rule = HyperRule(count, (375, 500))
        steps = np.unique(np.geomspace(1, rule.total_steps - 1, 2000).astype(int))
        mixup = f"MixUp {rule.mixup_alpha}" if rule.mixup_alpha else "no MixUp"
        rates = [rule.learning_rate(int(step)) for step in steps]
        axes.plot(steps, rates, label=f"{count:,} images: {rule.total_steps:,} updates, {mixup}")
    axes.set(xscale="log", yscale="log", xlabel="update", ylabel="learning rate", ylim=(2e-6, 6e-3))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center")
    return figure


def group_normalization() -> Figure:
    """Which channels of which images share mean and variance, for three normalizations."""
    images, channels, groups = 4, 8, 4
    row, column = np.indices((images, channels))
    shared = {
        "batch normalization": column,
        "layer normalization": row,
        "group normalization": row * groups + column // (channels // groups),
    }
    figure, all_axes = _figure(len(shared), height=2.4)
    for axes, (title, sets) in zip(all_axes, shared.items(), strict=True):
        # Neighbours differ: the colours of a map are taken in steps that share no factor with their number.
        axes.pcolormesh(7 * sets % 16, cmap="tab20", vmin=0, vmax=19, edgecolors="white", linewidth=2)
        axes.set(title=title, xlabel="channels", xticks=[], yticks=[], aspect="equal")
        axes.invert_yaxis()
    all_axes[0].set_ylabel("images of a batch")
    return figure


def weight_standardization() -> Figure:
    """Distributions of the weights of some filters, ordered by width, as trained and as the convolution uses them."""
    layer = BiT.from_preset("BiT-mini-R17x0.5").backbone.get_layer("block1_unit01_a_proj_standardized_conv2d")
    kernel = np.asarray(layer.kernel)
    by_width = np.argsort(kernel.std((0, 1, 2)))
    shown = by_width[np.linspace(0, len(by_width) - 1, 12).astype(int)]
    figure, all_axes = _figure(2, height=2.8)
    standardized = np.asarray(arithmetic.standardize(kernel, layer.epsilon, "float32"))
    for axes, title, values in zip(all_axes, ("as stored", "as used"), (kernel, standardized), strict=True):
        filters = values.reshape(-1, values.shape[-1])[:, shown]
        axes.violinplot(filters, showmeans=True, showextrema=False, widths=0.9)
        axes.set(title=f"kernel {title}", xlabel="filter", ylabel="weights", xticks=range(1, 13))
        axes.grid(axis="y", alpha=0.3)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "hyperrule": hyperrule,
    "group_normalization": group_normalization,
    "weight_standardization": weight_standardization,
}


def _figure(count: int, width: float = 9, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().savefig(folder / f"{name}.png", metadata={"Software": None})
        print(folder / f"{name}.png")


if __name__ == "__main__":
    main()
