from pathlib import Path

import numpy as np
from jaxtyping import Bool
from matplotlib.colors import to_rgb
from PIL import Image

from dmp_lightning.reports.figures import (
    COLOURS,
    gates_figure,
    learning_curves_figure,
    loss_difference_figure,
    samples_figure,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def where(path: Path, colour: tuple[float, ...], tolerance: int = 2) -> Bool[np.ndarray, "H W"]:
    """The pixels of a picture that have that colour."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (abs(pixels - np.array(colour)) <= tolerance).all(-1)


def patches(mask: Bool[np.ndarray, "H W"], axis: int) -> int:
    """How many separate stretches of the pixels there are along an axis."""
    line = mask.any(axis).astype(int)
    return int((np.diff(np.concatenate([[0], line])) == 1).sum())


def plain(count: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8)[:, None, None], (count, 3, 16, 16)).copy()


def test_each_sample_stands_above_its_successor(tmp_path: Path) -> None:
    path = samples_figure(plain(14, RED), plain(14, BLUE), tmp_path / "new" / "samples.png")
    before, after = where(path, RED), where(path, BLUE)
    assert patches(before, axis=0) == patches(after, axis=0) == 12
    assert patches(before, axis=1) == patches(after, axis=1) == 2
    assert abs(before.sum() / after.sum() - 1) < 0.02
    assert (before.any(0) == after.any(0)).mean() > 0.98
    assert np.flatnonzero(before.any(1))[0] < np.flatnonzero(after.any(1))[0]


def test_a_caption_stands_below_its_sample(tmp_path: Path) -> None:
    captions = ["", "red $ apple", "", "a very long caption that takes several lines and more", "", ""]
    path = samples_figure(plain(6, RED), plain(6, BLUE), tmp_path / "samples.png", captions)
    blue, dark = where(path, BLUE), where(path, (0, 0, 0), 90)
    bottom = np.flatnonzero(blue.any(1))[-1]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], blue[bottom - 3].astype(int), [0]])))
    below = [bool(dark[bottom + 8 :, left:right].any()) for left, right in edges.reshape(-1, 2)]
    assert below == [bool(caption) for caption in captions]


def test_a_grey_sample_is_drawn_as_it_is(tmp_path: Path) -> None:
    image = np.full((1, 8, 8), 255, np.uint8)
    image[0, 4:, :4] = 100
    drawn = where(samples_figure(image, np.zeros_like(image), tmp_path / "samples.png"), (100,) * 3)
    black = where(tmp_path / "samples.png", (0,) * 3)
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.sum(0) > 10)
    square = black[rows[-1] + 1 :]
    assert abs(columns[0] - np.flatnonzero(square.sum(0) > 30)[0]) <= 1
    assert abs(2 * len(columns) - (square.sum(0) > 30).sum()) <= 4


def test_the_heaviest_gate_is_yellow_in_its_block_and_timestep(tmp_path: Path) -> None:
    weights = np.zeros((3, 10, 4))
    weights[1, 7, 3] = 1.0
    path = gates_figure(weights, np.arange(0, 1000, 100), [0, 2, 4], tmp_path / "gates.png")
    heavy, light = where(path, (253, 231, 37)), where(path, (68, 1, 84))
    panels = np.flatnonzero(np.diff(light.sum(0) > 50))
    assert len(panels) >= 6
    left, right = panels[2], panels[3]
    cell = heavy[:, left : right + 1]
    rows, columns = np.flatnonzero(cell.any(1)), np.flatnonzero(cell.any(0))
    assert cell.sum() > 100
    assert abs(columns.mean() / (right - left) - 0.75) < 0.03
    # The last of four prompts is the topmost quarter.
    tall = np.flatnonzero(light.any(1))
    assert rows.mean() < tall[0] + 0.25 * (tall[-1] - tall[0])


def test_gates_that_are_all_alike_look_alike(tmp_path: Path) -> None:
    weights = np.full((2, 5, 4), 0.25) + np.random.default_rng(0).normal(0, 1e-8, (2, 5, 4))
    path = gates_figure(weights, np.arange(5) * 200, [0, 1], tmp_path / "gates.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    panels = pixels[:, : int(0.7 * pixels.shape[1])].reshape(-1, 3)
    coloured = panels[panels.max(1) - panels.min(1) > 50]
    assert len(coloured) > 0.3 * len(panels)
    assert (coloured.max(0) - coloured.min(0)).max() <= 4


def test_the_loss_difference_is_drawn_with_its_zero_and_its_band(tmp_path: Path) -> None:
    timesteps = np.array([100.0, 300.0, 500.0, 700.0, 900.0])
    path = loss_difference_figure(
        timesteps, np.full(5, -2.0), np.full(5, -3.0), np.full(5, -1.0), tmp_path / "difference.png"
    )
    line = where(path, tuple(255 * part for part in to_rgb(COLOURS[0])))
    band = where(path, tuple(255 * (0.75 + 0.25 * part) for part in to_rgb(COLOURS[0])), tolerance=4)
    middle = np.flatnonzero(band.sum(1) > 300)
    dashed = np.flatnonzero(where(path, (0, 0, 0)).sum(1) > 300)
    assert abs(np.flatnonzero(line.sum(1) > 300).mean() - middle.mean()) < 3
    assert dashed[0] < middle[0]
    assert 0.4 < (middle[0] - dashed[0]) / (middle[-1] - middle[0]) < 0.6


def test_each_curve_has_its_colour_and_falls_as_its_metric_does(tmp_path: Path) -> None:
    steps = np.array([0, 100, 200, 300])
    curves = {"patched": np.array([[4.0, 3, 2, 1], [4.2, 3.2, 2.2, 1.2]]), "frozen": np.full((1, 4), 4.0)}
    path = learning_curves_figure(steps, curves, "distance", tmp_path / "curve.png")
    patched, frozen = (where(path, tuple(255 * part for part in to_rgb(colour))) for colour in COLOURS[:2])
    left, right = (np.flatnonzero(patched[:, part].any(1)).mean() for part in (slice(150, 200), slice(960, 1010)))
    assert right > left + 200
    assert (frozen.sum(1) > 500).any()
