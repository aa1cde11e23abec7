"""Print a Markdown table for each base: the base, then mean ± standard deviation over seeds of what was trained.

python experiments/regimes/table.py [RESULTS]
"""

import sys
from dataclasses import replace
from pathlib import Path

from dmp_lightning.commands.summary import committed
from dmp_lightning.reports.tables import markdown_table, rows_of
from dmp_lightning.runs.record import read_results

if __name__ == "__main__":
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        first = read_results(min(folder.iterdir()))
        base = rows_of(first, f"committed: experiments/{first.name}")[0]
        print(markdown_table([replace(base, label=folder.name), *committed(str(folder))]))
