"""Draw the learning curve of the base from the CSV logs in results/, one for each seed."""

import csv
from pathlib import Path

import numpy as np

from dmp_lightning.reports.figures import learning_curves_figure

HERE = Path(__file__).parent
METRIC = "val/frechet_digits_classifier"


def curve(path: Path) -> dict[int, float]:
    """The Fréchet distance after each number of steps, without the random weights at the start."""
    rows = csv.DictReader(path.open())
    return {int(row["step"]) + 1: float(row[METRIC]) for row in rows if row[METRIC] and int(row["step"]) > 0}


if __name__ == "__main__":
    curves = [curve(path) for path in sorted((HERE / "results").glob("seed*.csv"))]
    steps = sorted(curves[0])
    values = np.array([[seed[step] for step in steps] for seed in curves])
    label = "averaged weights"
    metric = "Fréchet distance (digits classifier)"
    learning_curves_figure(np.array(steps), {label: values}, metric, HERE / "figures" / "learning_curve.png")
    for step, column in zip(steps, values.T, strict=True):
        print(f"{step:6d} steps: {column.mean():.4f} ± {column.std(ddof=1):.4f}")
