"""Take the records of a sweep's runs into a folder of results, without the paths of this machine.

python experiments/collect.py RUNS RESULTS

Each run's results.json becomes RESULTS/NAME.json, NAME being its folder's; that of seed 1 takes its evidence along, for
reports.
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def collect(runs: Path, results: Path) -> int:
    """Copy the records, and return how many."""
    results.mkdir(parents=True, exist_ok=True)
    found = sorted(runs.glob("*/results.json"))
    for record in found:
        name = record.parent.name
        text = record.read_text(encoding="utf-8").replace(f"{ROOT}/", "")
        (results / f"{name}.json").write_text(text, encoding="utf-8")
        if record.parent.name.endswith("seed-1") or "seed-1+" in name:
            shutil.copy(record.with_name("evidence.safetensors"), results / f"{name}.safetensors")
    return len(found)


if __name__ == "__main__":
    print(f"{collect(Path(sys.argv[1]), Path(sys.argv[2]))} records in {sys.argv[2]}")
