"""Print the table of all results of this experiment as Markdown: mean ± standard deviation over seeds."""

from pathlib import Path

from dmp_lightning.reporting.results import read_results
from dmp_lightning.reporting.tables import markdown_table
from dmp_lightning.summary import committed

HERE = Path(__file__).parent
ORDER = ("pre-trained, EMA", "mixture", "plain", "DMP", "full fine-tuning", "EMA weights")

if __name__ == "__main__":
    first = read_results(HERE / "results" / "dmp-1.json")
    features = next(iter(first.rows[0]["frechet"].items()))
    print(
        f"Base, raw weights: Fréchet distance ({features[0]}) {features[1]:.4g}, loss {first.metrics['base']['loss']:.5f}\n"
    )
    rows = committed(str(HERE / "results"))
    print(
        markdown_table(
            sorted(rows, key=lambda row: next(i for i, name in enumerate(ORDER) if row.label.startswith(name)))
        )
    )
