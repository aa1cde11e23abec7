"""Print the table of all results of this experiment as Markdown: mean ± standard deviation over seeds."""

from dataclasses import replace
from pathlib import Path

from dmp_lightning.commands.summary import committed
from dmp_lightning.reports.tables import markdown_table, rows_of
from dmp_lightning.runs.record import read_results

RESULTS = Path(__file__).parent / "results"

if __name__ == "__main__":
    base = rows_of(read_results(RESULTS / "dmp-1.json"), "dmp-1.json")[0]
    rows = [replace(base, label="pre-trained, raw weights"), *committed(str(RESULTS))]
    print(markdown_table(rows))
