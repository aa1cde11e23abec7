"""The report command: what it writes, checked against the records, and what it says of mistakes."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmp_lightning.commands.report import make_report
from dmp_lightning.report import with_folder
from tests.configs import config
from tests.reports.made import BASE, CHANGES, make_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_runs(tmp_path_factory.mktemp("report") / "runs")


@pytest.fixture(scope="module")
def report(runs: Path) -> Path:
    return make_report(config(f"dir={runs}", name="report"))


def test_csv_has_one_line_a_run_with_its_numbers(report: Path, runs: Path) -> None:
    rows = list(csv.DictReader((report / "report.csv").open()))
    assert len(rows) == sum(map(len, CHANGES.values())) + 1  # and the frozen run
    for row in rows:
        record = json.loads(Path(row["path"]).read_text())
        assert float(row["distance"]) == record["metrics"]["final"]["frechet_digits_classifier"]
        assert int(row["seed"]) == record["seeds"]["training"]
        assert int(row["trained_parameters"]) == record["method"]["parameters"]
        if record["method"]["parameters"]:
            assert float(row["loss_difference"]) == record["metrics"]["final"]["loss_difference"]["mean"]
            assert float(row["change_high"]) == record["metrics"]["final"]["frechet_digits_classifier_change"]["high"]
    assert {row["axis: gate"] for row in rows} == {"linear", "topk", ""}


def test_markdown_has_mean_deviation_and_interval_of_each_line(report: Path) -> None:
    lines = (report / "report.md").read_text().splitlines()
    (linear,) = (line for line in lines if line.startswith("| + mixture of prompts (DMP) · gate linear"))
    _, _, seeds, distance, change, over, loss, parameters, *_ = (cell.strip() for cell in linear.split("|"))
    assert seeds == "3"
    assert distance == "15.0 ± 1.0"
    assert change == "−5.0 [−7.7, −2.3]"  # of the seeds 4.30 / sqrt(3), of each run 1: the root of both squared
    assert over == "3 seeds, and samples"
    assert loss == "−0.0050 [−0.0075, −0.0025]"
    assert parameters == "2,000 (2.86%)"
    (tuning,) = (line for line in lines if line.startswith("| + plain prompt tuning"))
    assert "| −3.0 [−4.0, −2.0] | samples, one seed |" in tuning
    assert f"| **small** (frozen) | – | {BASE:.4g} |" in "\n".join(lines)
    assert any("Out of &lt;memory&gt;." in line for line in lines)
    assert lines[lines.index("## Evaluated at full length") + 4 :][:2] == [
        "| base | 20.5 | 0.01 |",
        "| patched | 15.25 | 0.008 |",
    ]


def test_the_headline_counts_intervals_and_claims_no_more(report: Path) -> None:
    headline = (report / "report.md").read_text().split("\n\n")[1]
    assert headline.startswith("Of 4 trained lines on 1 base, ")
    assert "for 2 (better), above for 1 (worse), and for 1 the interval holds zero" in headline
    assert "1 line has one seed only" in headline


@pytest.mark.slow
def test_every_plot_is_a_png(report: Path) -> None:
    linked = {part.split(")")[0] for part in (report / "report.md").read_text().split("](")[1:]}
    assert len(linked) >= 6
    pictures = {str(path.relative_to(report)) for path in (report / "figures").iterdir()}
    assert linked <= pictures
    for name in linked:
        pixels = np.asarray(Image.open(report / name).convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10, name


def test_the_page_needs_no_other_file_and_escapes_what_it_is_told(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert "Out of &lt;memory&gt;." in page
    assert "</script><b>" not in page
    assert 'src="http' not in page
    assert "url(http" not in page


def test_a_folder_may_be_named_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "gate=mlp,it's"
    folder.mkdir()
    assert with_folder(["runs/digits", "output=out"]) == ["dir='runs/digits'", "output=out"]
    assert with_folder([str(folder)]) == [f"dir='{tmp_path}/gate=mlp,it\\'s'"]
    assert config(*with_folder([str(folder)]), name="report").dir == str(folder)
    assert with_folder(["dir=runs"]) == ["dir=runs"]
    assert with_folder(["--help"]) == ["--help"]
    assert with_folder([]) == []


def test_a_mistake_ends_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dmp_lightning.report", "nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == "error: There is no folder nowhere: name one that holds runs, such as runs/digits.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_needed_and_one_with_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Name the folder of the runs"):
        make_report(config(name="report"))
    with pytest.raises(FileNotFoundError, match="holds no results"):
        make_report(config(f"dir={tmp_path}", name="report"))
    assert list(tmp_path.iterdir()) == []


def test_the_dashboard_is_made_of_the_same_records(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "dmp_lightning.commands.dashboard.build_dashboard", lambda *given: asked.append(given) or ["there"]
    )
    make_report(config("wandb=me/mine", f"output={tmp_path}", name="report"))
    assert asked == [("me/mine", [], tmp_path / "dashboard.json")]
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    monkeypatch.setattr("dmp_lightning.commands.report.find_spec", lambda name: None if name == "altair" else "there")
    with pytest.raises(ValueError, match=r"A report needs altair: pip install 'dmp-lightning\[report\]'"):
        make_report(config(f"dir={runs}", name="report"))


def test_records_of_other_measurements_show_their_numbers(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "experiments/gate_learned/results/digits"
    lines = (make_report(config(f"dir={source}", f"output={tmp_path}", name="report")) / "report.md").read_text()
    distance = json.loads((source / "raw-1.json").read_text())["metrics"]["averaged"]["frechet_digits_classifier"]
    assert f"| averaged | {distance:.5g} |" in lines
