"""Run what has no result yet of a claim (see claims.py), and take the records into its folder.

python experiments/run.py CLAIM DATA [--jobs N] [--only TEXT] [--again]     # from the root of the project

Runs are in CLAIM/runs/DATA and go on where they were; seeds whose record is in CLAIM/results/DATA are done, wherever
they ran, and what another claim has run with the same settings is taken from there. Records go there without the paths
of this machine; that of seed 1 takes its evidence along, for reports. Those of `search` become one table of losses by
rate, too. With `--again`, all is run here, whatever has a record, and the records of these runs take their place.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from claims import CLAIMS, EXPERIMENT, HERE, SEARCHED, Cell, searched
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tqdm import tqdm

from dmp_lightning.commands.cli import CONFIG_DIR, register_resolvers
from dmp_lightning.files import read_json
from dmp_lightning.runs.record import Results, read_results, write_results
from dmp_lightning.runs.record import record_of as record_of_file
from dmp_lightning.runs.said import Parts, parts

ROOT = HERE.resolve().parent
SEEDS = ("1", "2", "3")


def settings(data: str, cell: Cell) -> list[str]:
    """The overrides of the runs of a value, besides those that say where they belong."""
    return [
        *EXPERIMENT[data],
        "controls=null",
        "logger=csv",
        "recipe.validate_every=${recipe.max_steps}",
        *cell.overrides,
    ]


def command(claim: str, data: str, cell: Cell, seeds: list[str]) -> list[str]:
    """The sweep of one value, as it is typed."""
    axes = [f"+sweep.axes.{axis}='{value}'" for axis, value in cell.axes.items()]
    return [
        *("-m", "dmp_lightning.train", "+sweep=seeds", f"sweep.name={claim}", *axes, *settings(data, cell)),
        f"seed={','.join(seeds)}",
        f"hydra.sweep.dir='{runs(claim, data, cell)}'",
        f"hydra.sweep.subdir='{cell.turning.rpartition('.')[2]}-${{{cell.turning}}}'",
    ]


def runs(claim: str, data: str, cell: Cell) -> str:
    """The folder of the seeds of one value."""
    return f"experiments/{claim}/runs/{data}/{cell.name}"


def record_of(claim: str, data: str, cell: Cell, seed: str) -> Path:
    """The file of the record among the results."""
    return HERE / claim / "results" / data / f"{cell.name}-{seed}.json"


def seeds_left(claim: str, data: str, cell: Cell, again: bool = False) -> list[str]:
    """Those that have no record, or all."""
    if again:
        return ["0"] if claim == "search" else list(SEEDS)
    if claim == "search":
        return [] if cell.name in searched() else ["0"]
    return [seed for seed in SEEDS if not record_of(claim, data, cell, seed).exists()]


def known(data: str) -> Iterator[tuple[str, Parts, Path]]:
    """Seed, settings and file of each record that a claim has."""
    for claim in CLAIMS:
        for path in sorted((HERE / claim / "results" / data).rglob("*-?.json")):
            record = read_results(path)
            said = Parts(record.base.settings, record.measure.settings, record.method.settings)
            yield path.stem[-1], said, path


def take_over(claim: str, data: str, cells: list[Cell]) -> None:
    """Take the records of what other claims have run with the same settings, in the place that it has here.

    Their commands stay those that made them.
    """
    left = {cell.name: seeds for cell in cells if (seeds := seeds_left(claim, data, cell))}
    others = list(known(data)) if left else []
    register_resolvers()
    for cell in (cell for cell in cells if cell.name in left):
        with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            config = OmegaConf.to_container(compose("train", [*settings(data, cell), "run_dir=."]), resolve=True)
        mine = parts(json.loads(json.dumps(config).replace(f"{ROOT}/", "")))
        for seed in left[cell.name]:
            twin = next((path for other, theirs, path in others if other == seed and theirs == mine), None)
            if twin is not None:
                record = replace(read_results(twin), sweep=claim, axes=cell.axes)
                write(record, twin.with_suffix(".safetensors"), record_of(claim, data, cell, seed))


def run(claim: str, data: str, cell: Cell, again: bool) -> int:
    """Run what is left of a value, with the output in a file beside it, and return the exit code."""
    seeds = seeds_left(claim, data, cell, again)
    if not seeds:
        return 0
    folder = ROOT / runs(claim, data, cell)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("a", encoding="utf-8") as log:
        arguments = [sys.executable, *command(claim, data, cell, seeds)]
        return subprocess.run(arguments, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT).returncode


def records(claim: str, data: str, cell: Cell) -> Iterator[tuple[str, Path]]:
    """The seed, or the rate of a search, and the record of each run that is done."""
    for path in sorted((ROOT / runs(claim, data, cell)).glob("*/results.json")):
        yield path.parent.name.partition("-")[2], path


def write(record: Results, evidence: Path, target: Path) -> None:
    """Put a record among the results, that of seed 1 with its evidence."""
    write_results(record, target)
    if target.stem.endswith("-1"):
        shutil.copy(evidence, target.with_suffix(".safetensors"))


def collect(claim: str, data: str, cells: list[Cell]) -> None:
    """Copy what is done into the results of the claim."""
    for cell in cells:
        for seed, path in records(claim, data, cell):
            write(here(path), path.with_name("evidence.safetensors"), record_of(claim, data, cell, seed))


def here(path: Path) -> Results:
    """A record with paths from the root of the project."""
    return record_of_file(json.loads(json.dumps(read_json(path)).replace(f"{ROOT}/", "")))


def collect_search(cells: list[Cell]) -> None:
    """Copy the records, which go by rate, and write the paired loss difference at each rate."""
    losses = searched()
    for cell in cells:
        for value, path in records("search", "digits", cell):
            losses.setdefault(cell.name, {})[value] = read_results(path).metrics["final"]["loss_difference"]["mean"]
            write(
                here(path),
                path.with_name("evidence.safetensors"),
                SEARCHED.with_suffix("") / cell.name / f"{value}.json",
            )
    SEARCHED.parent.mkdir(parents=True, exist_ok=True)
    SEARCHED.write_text(json.dumps(losses, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=CLAIMS)
    parser.add_argument("data", choices=EXPERIMENT)
    parser.add_argument("--jobs", type=int, default=1, help="sweeps at once; each computes with one thread")
    parser.add_argument("--only", default="", help="a text in the names of the values to run")
    parser.add_argument("--again", action="store_true", help="run here what has a record, too")
    given = parser.parse_args()
    if given.claim == "search" and given.data != "digits":
        parser.error("rates are searched on the digits alone: python experiments/run.py search digits")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cells = [cell for cell in CLAIMS[given.claim](given.data) if given.only in cell.name]
    if not given.again and given.claim not in (
        "search",
        "equal_seconds",
    ):  # of the latter, the seconds of this machine are the result
        take_over(given.claim, given.data, cells)
    with ThreadPoolExecutor(given.jobs) as pool:
        ended = pool.map(lambda cell: run(given.claim, given.data, cell, given.again), cells)
        failed = [cell.name for cell, code in zip(cells, tqdm(ended, total=len(cells)), strict=True) if code]
    if given.claim == "search":
        collect_search(list(CLAIMS["search"](given.data)))
    else:
        collect(given.claim, given.data, cells)
    if failed:
        print(f"Failed: {', '.join(failed)}. output.log in their folders says why.", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
