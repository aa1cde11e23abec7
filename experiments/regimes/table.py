"""Print a Markdown table for each base: the base, then mean ± standard deviation over seeds of what was trained."""

from dataclasses import replace
from pathlib import Path

from dmp_lightning.reporting.results import read_results
from dmp_lightning.reporting.tables import Row, markdown_table
from dmp_lightning.summary import committed

if __name__ == "__main__":
    for folder in sorted((Path(__file__).parent / "results").iterdir()):
        first = read_results(min(folder.iterdir()))
        base = replace(Row(**first.rows[0]), label=folder.name, origin=f"committed: experiments/{first.name}")
        print(markdown_table([base, *committed(str(folder))]))
