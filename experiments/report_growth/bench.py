"""What a report costs: `python experiments/report_growth/bench.py`, about ten minutes on 2 busy cores.

CPU time of a report of 250, 500 and 1,000 made records in several shapes: reading, comparing, writing the texts, and
the PNG files. Each report is made in a process of its own. Writes `results/growth.json` and prints the table.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from made import SHAPES, make
from rich.console import Console
from rich.table import Table

from dmp_lightning.reports.report import build_report
from dmp_lightning.reports.written import draw, texts
from dmp_lightning.runs.record import provenance
from dmp_lightning.runs.records import read_folder

HERE = Path(__file__).parent
COUNTS = (250, 500, 1000)
PARTS = ("read", "compare", "texts", "pictures")


def measure(name: str, count: int) -> dict[str, float]:
    """CPU milliseconds a record of each part, and the size of the page in MB."""
    with tempfile.TemporaryDirectory() as place:
        folder, output = make(Path(place, "runs"), count, SHAPES[name]), Path(place, "report")
        output.mkdir()
        times = [time.process_time()]
        records = read_folder(folder)
        times.append(time.process_time())
        report = build_report(records, "made")
        times.append(time.process_time())
        for file, text in texts(report):
            (output / file).write_text(text, encoding="utf-8")
        times.append(time.process_time())
        draw(report, output / "figures")
        times.append(time.process_time())
        spent = [1000 * (after - before) / count for before, after in pairwise(times)]
        found = dict(zip(PARTS, spent, strict=True)) | {"all": sum(spent)}
        return found | {"page_mb": (output / "report.html").stat().st_size / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="of records")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of growth.json")
    arguments = parser.parse_args()
    table = Table(title="CPU milliseconds a record")
    for column in ("records", "of them", *PARTS, "all", "page, MB"):
        table.add_column(column, justify="left" if column == "records" else "right")
    measured: dict[str, dict[int, dict[str, float]]] = {}
    for name in SHAPES:
        for count in arguments.counts:
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                found = alone.apply(measure, (name, count))
            measured.setdefault(name, {})[count] = found
            table.add_row(name, f"{count:,}", *[f"{value:.1f}" for value in found.values()])
    Console(width=120).print(table)
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {"measured": measured, "load": os.getloadavg()} | provenance("cpu")
    (arguments.out / "growth.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
