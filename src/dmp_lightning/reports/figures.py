"""Pictures of a run as PNG files; colours are told apart without colour vision (Okabe and Ito; viridis)."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmp_lightning.files import replacing
from dmp_lightning.reports.pictures import in_colour, scale_of, tiled

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
COLUMNS, COLUMNS_OF_CAPTIONS = 12, 8
LETTERS, LINES = 15, 3  # of a caption below its samples


def samples_figure(
    before: UInt8[np.ndarray, "N *pixels"],
    after: UInt8[np.ndarray, "N *pixels"],
    path: str | Path,
    captions: Sequence[str] = (),
) -> Path:
    """Samples before and after, each pair from the same noise, one above the other.

    Args:
        before, after: (N, H, W) grey or (N, 3, H, W) colour, 0 to 255. captions: of the samples, drawn below them.
    """
    columns = min(COLUMNS_OF_CAPTIONS if captions else COLUMNS, len(before))
    bands, edge = math.ceil(len(before) / columns), max(1, before.shape[-1] // 16)
    figure = Figure(figsize=(0.9 + 0.75 * columns, 0.5 + (2.1 if captions else 1.65) * bands), layout="constrained")
    figure.suptitle("Samples from the same noise, before and after")
    for band in range(bands):
        part = slice(band * columns, (band + 1) * columns)
        mosaic = np.concatenate([tiled(in_colour(images[part]), columns, edge) for images in (before, after)])
        axes = figure.add_subplot(bands, 1, band + 1)
        axes.imshow(mosaic, interpolation="nearest")
        height = len(mosaic)
        axes.set_yticks([height / 4 - 0.5, 3 * height / 4 - 0.5], ["before", "after"])
        said = [_wrapped(caption) for caption in captions[part]]
        axes.set_xticks((np.arange(len(said)) + 0.5) * mosaic.shape[1] / columns - 0.5, said, fontsize=6)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return _save(figure, path)


def _wrapped(caption: str) -> str:
    return "\n".join(textwrap.wrap(caption, LETTERS, max_lines=LINES, placeholder="…")).replace("$", r"\$")


def gates_figure(
    weights: Float[np.ndarray, "L S P"], timesteps: Num[np.ndarray, " S"], blocks: Sequence[int], path: str | Path
) -> Path:
    """The gate's weight of each prompt at each timestep: one heat map a block, all on one scale.

    Args:
        weights: of the L injected blocks, at S timesteps (at least two), for P prompts.
        timesteps: increasing. blocks: the L indices of the blocks.
    """
    columns = min(len(blocks), 6)
    rows = math.ceil(len(blocks) / columns)
    figure = Figure(figsize=(1.4 + 1.9 * columns, 1.0 + 1.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(blocks) :]:
        axes.set_visible(False)
    low, high = scale_of(weights)
    for axes, block, plane in zip(grid.flat, blocks, weights, strict=False):
        image = axes.pcolormesh(timesteps, np.arange(plane.shape[1]), plane.T, vmin=low, vmax=high, shading="nearest")
        axes.set_title(f"block {block}", fontsize="medium")
    figure.colorbar(image, ax=grid, label="weight", aspect=12 * rows)
    figure.suptitle("Weights of the gate")
    figure.supxlabel("timestep (0 is clean)")
    figure.supylabel("prompt")
    return _save(figure, path)


def loss_difference_figure(
    timesteps: Float[np.ndarray, " S"],
    difference: Float[np.ndarray, " S"],
    low: Float[np.ndarray, " S"],
    high: Float[np.ndarray, " S"],
    path: str | Path,
) -> Path:
    """Difference of the validation loss from the base's at each timestep, with its 95% band; below zero is better.

    Args:
        timesteps: centres of the strata. difference, low, high: paired loss minus the base's, and its interval's ends.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", linewidth=1, linestyle="--")
    axes.fill_between(timesteps, low, high, color=COLOURS[0], alpha=0.25, linewidth=0, label="95% interval")
    axes.plot(timesteps, difference, color=COLOURS[0], marker="o", markersize=4, label="mean")
    axes.set_title("Validation loss minus the base's, same images and noises")
    axes.set_ylabel("difference (below 0 is better)")
    axes.set_xlabel("timestep (0 is clean)")
    axes.legend(frameon=False)
    return _save(_plain(figure, axes), path)


def learning_curves_figure(
    steps: Int[np.ndarray, " S"], curves: dict[str, Float[np.ndarray, "_ S"]], metric: str, path: str | Path
) -> Path:
    """A metric over training: the mean over seeds drawn thick, and each seed thin.

    Args:
        steps: at which it was measured. curves: by label, the values (seeds, S). metric: its name and unit.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for index, (label, values) in enumerate(curves.items()):
        colour, seeds = COLOURS[index % len(COLOURS)], len(values)
        if seeds > 1:
            axes.plot(steps, values.T, color=colour, linewidth=0.8, alpha=0.5)
            label = f"{label}, mean of {seeds} seeds"
        axes.plot(steps, values.mean(0), color=colour, linewidth=2.2, label=label, marker="os^Dv*P"[index % 7])
    axes.set_title(f"{metric} over training")
    axes.set_ylabel(metric)
    axes.set_xlabel("step")
    axes.legend(frameon=False)
    return _save(_plain(figure, axes), path)


def _plain(figure: Figure, axes: Axes) -> Figure:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, linewidth=0.6)
    return figure


def _save(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return path
