"""What a report costs, and what is drawn of a large one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dmp_lightning.reports.drawn import COSTS, LINES, SEEDS
from dmp_lightning.reports.report import Report, build_report
from dmp_lightning.reports.written import texts
from dmp_lightning.runs.records import read_folder
from tests.reports.made import record, write

BENCH = Path(__file__).parents[2] / "experiments/report_growth"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The records of the benchmark."""
    monkeypatch.syspath_prepend(str(BENCH))
    import made

    yield made
    sys.modules.pop("made")


def report_of(folder: Path) -> Report:
    return build_report(read_folder(folder), "made")


def test_of_many_lines_those_that_fell_most_are_drawn_and_the_report_says_so(made: ModuleType, tmp_path: Path) -> None:
    report = report_of(made.make(tmp_path, 40, made.Shape(evidence=True)))
    fallen = sorted(report.lines, key=lambda line: line.changes[0].mean)[:LINES]
    assert {line.id for line, _ in report.gains_charts} == {line.id for line in fallen}
    for drawn in (report.gallery.samples, report.gallery.gates):
        assert len(drawn) == LINES
    told = dict(texts(report))
    for text in (told["report.html"], told["report.md"]):
        assert f"are shown for {LINES} of 40 lines, on each base those whose distance fell most" in text
    assert len(told["report.csv"].splitlines()) == 41


def test_each_base_has_its_share_and_plots_of_cost_end(made: ModuleType, tmp_path: Path) -> None:
    report = report_of(made.make(tmp_path, 44, made.Shape(on_base=2, swept=True)))
    assert len({line.base.id for line, _ in report.gains_charts}) == LINES  # the better line of the first bases
    assert len(report.cost_charts) == COSTS
    assert any(f"{COSTS} plots of quality against cost are drawn" in warning for warning in report.warnings)
    assert any("Plots are drawn along the first 20 of 22 axes" in warning for warning in report.warnings)
    assert len(report.axis_charts) == 40  # of the distance and of the loss


def test_of_many_seeds_the_first_are_drawn_thin_and_the_mean_is_over_all(tmp_path: Path) -> None:
    for seed in range(SEEDS + 2):
        write(tmp_path / f"{seed}.json", record("linear", seed, -1.0 if seed < SEEDS else -100.0))
    ((_, chart),) = report_of(tmp_path).gains_charts
    rows = chart.spec["data"]["values"]
    assert {row["seed"] for row in rows if row["kind"] == "seed"} == set(map(str, range(SEEDS)))
    assert next(row["mean"] for row in rows if row["kind"] == "mean") == pytest.approx(-0.0016 * 20.8)
    assert chart.note == f"Thin: the first {SEEDS} of {SEEDS + 2} seeds."


def test_a_report_of_few_leaves_nothing_out(made: ModuleType, tmp_path: Path) -> None:
    report = report_of(made.make(tmp_path, LINES, made.Shape()))
    assert len(report.gains_charts) == LINES
    assert report.warnings == []


@pytest.mark.slow
def test_a_report_costs_at_most_20_ms_a_record_and_grows_in_proportion(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "bench.py"), "--counts", "250", "1000", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    for name, found in json.loads((tmp_path / "growth.json").read_text())["measured"].items():
        small, large = found["250"], found["1000"]
        assert large["all"] < 20, name
        assert large["read"] + large["compare"] < 1.5 * (small["read"] + small["compare"]), name
        assert large["page_mb"] < 10, name
