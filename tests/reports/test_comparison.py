"""How a report sorts runs: what is a seed of what, what is compared with what, and what is left out."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dmp_lightning.commands.cli import CONFIG_DIR, register_resolvers
from dmp_lightning.intervals import Interval, over_seeds
from dmp_lightning.metrics.moments import Counts
from dmp_lightning.reports.axes import build_axes
from dmp_lightning.reports.axis_chart import axis_chart
from dmp_lightning.reports.chart_rows import DISTANCE, LOSS, change_rows, gains_rows
from dmp_lightning.reports.comparison import build_lines
from dmp_lightning.reports.cost_chart import cost_chart
from dmp_lightning.reports.headline import headline, word
from dmp_lightning.reports.lines import Base, Line
from dmp_lightning.reports.markdown import markdown
from dmp_lightning.runs.records import read_folder
from dmp_lightning.runs.said import REPEATED, parts
from tests.reports.made import METRIC, make_runs, record, write


def sorted_runs(folder: Path) -> tuple[list[Base], list[Line], list[str]]:
    found = read_folder(folder)
    bases, lines = build_lines(found.runs, found.warnings)
    return bases, lines, found.warnings


def test_runs_that_differ_in_the_seed_alone_are_one_line(tmp_path: Path) -> None:
    (base,), lines, warnings = sorted_runs(make_runs(tmp_path))
    assert warnings == []
    assert base.distance is not None
    assert (base.name, base.distance.mean, base.parameters) == ("small", 20.0, 70000)
    found = {line.name: line for line in lines}
    assert found.keys() == {
        "mixture of prompts (DMP) · gate linear",
        "mixture of prompts (DMP) · gate topk",
        "plain prompt tuning",
        "full fine-tuning",
    }
    linear = found["mixture of prompts (DMP) · gate linear"]
    assert [run.seed for run in linear.runs] == [1, 2, 3]
    assert linear.change is not None
    assert linear.change.mean == -5
    alone = found["plain prompt tuning"].change
    assert alone == (-3.0, -4.0, -2.0)


def test_what_was_measured_otherwise_is_never_put_together(tmp_path: Path) -> None:
    write(tmp_path / "a.json", record("linear", 1, -4.0))
    write(tmp_path / "b.json", record("linear", 2, -4.0, evaluation={"samples": 4000}))
    write(tmp_path / "c.json", record("linear", 3, -4.0, backbone={"weights": "other.safetensors"}))
    bases, lines, _ = sorted_runs(tmp_path)
    assert sorted(base.measure for base in bases) == [
        "Fréchet distance (digits classifier), 4000 samples",
        "Fréchet distance (digits classifier), 500 samples",
        "Fréchet distance (digits classifier), 500 samples",
    ]
    assert [len(line.runs) for line in lines] == [1, 1, 1]
    assert {base.name for base in bases} == {"small", "other"}


def test_only_inceptions_distance_is_called_fid(tmp_path: Path) -> None:
    content = json.loads(json.dumps(record("linear", 1, -4.0)).replace("frechet_digits_classifier", "fid"))
    content["measure"]["too_few"] = ["fid"]
    write(tmp_path / "a.json", content)
    ((base,), _, _) = sorted_runs(tmp_path)
    assert base.measure == "FID †"  # of 500 samples and 2,048 features
    assert base.too_few


@pytest.mark.parametrize(("samples", "too_few"), [(64, True), (65, False)])
def test_a_distance_of_no_more_images_than_features_is_marked(tmp_path: Path, samples: int, too_few: bool) -> None:
    content = record("linear", 1, -4.0, evaluation={"samples": samples})
    content["measure"]["too_few"] = [METRIC] if Counts(samples, 1437, 64).too_few else []
    write(tmp_path / "a.json", content)
    bases, lines, _ = sorted_runs(tmp_path)
    assert bases[0].measure == "Fréchet distance (digits classifier)" + (" †" if too_few else "")
    assert word(lines[0]) == ("too few images" if too_few else "better")
    assert ("nothing is concluded" in " ".join(headline(bases, lines))) == too_few
    assert ("\n† No more samples" in markdown(lines, bases)) == too_few


def test_tables_and_plots_have_one_interval(tmp_path: Path) -> None:
    (_,), lines, _ = sorted_runs(make_runs(tmp_path))
    for line in lines:
        for quantity, found, changes in ((DISTANCE, line.change, line.changes), (LOSS, line.loss, line.losses)):
            assert found is not None
            (mean,) = [row for row in change_rows(line, quantity) if row["kind"] == "mean"]
            assert (mean["mean"], mean["low"], mean["high"]) == found
            assert found == over_seeds(changes)
        for index, row in enumerate(row for row in gains_rows(line) if row["kind"] == "mean"):
            strata = [run.final["loss_difference_by_stratum"] for run in line.runs]
            expected = over_seeds([Interval(*(part[end][index] for end in ("mean", "low", "high"))) for part in strata])
            assert expected is not None
            assert (row["mean"], row["low"], row["high"]) == expected


def test_the_same_config_and_seed_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a.json", record("linear", 1, -4.0))
    write(tmp_path / "b.json", record("linear", 1, -4.0, run_dir="elsewhere"))
    _, (line,), warnings = sorted_runs(tmp_path)
    assert [run.path.name for run in line.runs] == ["a.json"]
    assert warnings == [f"{tmp_path / 'b.json'} is left out: {tmp_path / 'a.json'} has the same config and seed."]


def test_axes_are_those_of_the_sweep(tmp_path: Path) -> None:
    _, lines, _ = sorted_runs(make_runs(tmp_path))
    axes = {axis.name: axis for axis in build_axes(lines)}
    assert axes["gate"].values == ["linear", "topk"]
    (series,) = axes["gate"].series
    assert [(value, line.change and line.change.mean) for value, line in series.points] == [
        ("linear", pytest.approx(-5)),
        ("topk", pytest.approx(0.1)),
    ]


def test_a_sweep_over_bases_is_compared_along_them(tmp_path: Path) -> None:
    for base in ("raw", "ema"):
        for gate in ("linear", "topk"):
            sweep = {"name": "table", "axes": {"base": base, "gate": gate}}
            backbone = {"weights": f"weights/{base}.safetensors", "model": {"input_size": 8, "patch_size": 2}}
            write(tmp_path / f"{base}-{gate}.json", record(gate, 1, -4.0, sweep=sweep, backbone=backbone))
    _, lines, _ = sorted_runs(tmp_path)
    axes = {(axis.name, axis.base): axis for axis in build_axes(lines)}
    assert {place: sorted(series.name for series in axis.series) for place, axis in axes.items()} == {
        ("base", ""): ["gate linear", "gate topk"],
        ("gate", "raw"): [""],
        ("gate", "ema"): [""],
    }
    assert {line.base.name for _, line in axes["gate", "ema"].series[0].points} == {"ema"}
    title = axis_chart(axes["gate", "ema"], DISTANCE, "plot")
    assert title is not None
    assert title.title == "gate, from ema: Fréchet distance"


def test_an_axis_tells_what_changes_along_it(tmp_path: Path) -> None:
    for gate, rate in (("linear", 0.3), ("topk", 0.1)):
        recipe = {"max_steps": 200, "learning_rates": {"prompts": rate}}
        sweep = {"name": "gates", "axes": {"gate": gate}}
        write(tmp_path / f"{gate}.json", record(gate, 1, -4.0, sweep=sweep, recipe=recipe))
    _, lines, _ = sorted_runs(tmp_path)
    (axis,) = build_axes(lines)
    assert axis.settings == ["gate.top_k", "rate of prompts"]


def test_seconds_and_memory_are_of_one_kind_of_machine(tmp_path: Path) -> None:
    alike, mixed = record("linear", 1, -4.0), record("topk", 1, -4.0)
    write(tmp_path / "a.json", alike)
    write(tmp_path / "b.json", record("linear", 2, -5.0))
    write(tmp_path / "c.json", mixed)
    elsewhere = record("topk", 2, -5.0)
    elsewhere["machine"] = {"platform": "Linux", "cpus": 16, "device": "cuda:0"}
    write(tmp_path / "d.json", elsewhere)
    (base,), (linear, topk), _ = sorted_runs(tmp_path)
    assert linear.seconds is not None
    assert (linear.machine, linear.seconds.mean, linear.memory and linear.memory.mean) == ("cpu, 2 CPUs", 12.0, 900.0)
    assert (topk.machine, topk.seconds, topk.memory) == ("", None, None)
    chart = cost_chart(base, [linear, topk], "seconds", "plot", "")
    assert chart is not None
    assert {row["line"] for row in chart.spec["data"]["values"]} == {"base small", linear.name}


def test_without_a_sweep_there_are_no_axes(tmp_path: Path) -> None:
    write(tmp_path / "linear.json", record("linear", 1, -4.0))
    write(tmp_path / "topk.json", record("topk", 1, -4.0))
    _, lines, _ = sorted_runs(tmp_path)
    assert len(lines) == 2
    assert build_axes(lines) == []


def test_damaged_files_are_named_and_others_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "good.json", record("linear", 1, -4.0))
    write(tmp_path / "no_record.json", {"some": "thing"})
    write(tmp_path / "begun.json", {"schema": 1, "config": {}})
    write(tmp_path / "old.json", {"schema": 0})
    (tmp_path / "half.json").write_text('{"schema": 1, "na')
    (tmp_path / "good.safetensors").write_bytes(b"nothing")
    found = read_folder(tmp_path)
    assert [run.path.name for run in found.runs] == ["good.json"]
    assert len(found.warnings) == 2
    assert any("half.json" in text for text in found.warnings)
    assert any("old.json" in text for text in found.warnings)


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no results"):
        read_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        read_folder(tmp_path / "none")


def test_what_is_left_out_of_a_config_stands_elsewhere_by_default() -> None:
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        config = compose("train")
    for key, source in REPEATED.items():
        assert OmegaConf.select(config, key) == OmegaConf.select(config, source)
    config.run_dir = "runs/here"  # it is Hydra's to say
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    said = parts({str(key): value for key, value in plain.items()})
    assert (said.method["method"], said.method["method.gate"]) == ("DMP", "LinearGate")
    assert {key.partition(".")[0] for key in said.base} == {"backbone", "diffusion"}
    assert {"data.train", "features", "sampler.steps", "evaluation.samples", "trainer.precision"} <= said.measure.keys()
    assert not (said.base | said.measure | said.method).keys() & REPEATED.keys()


def test_values_below_an_axis_are_broken_between_words_alone() -> None:
    _, lines, _ = sorted_runs(Path(__file__).parents[2] / "experiments/gate_type/results/digits")
    (axis,) = build_axes(lines)
    chart = axis_chart(axis, DISTANCE, "gate")
    assert chart is not None
    labels = {row["x"] for row in chart.spec["data"]["values"]}
    assert labels == {"hard", "linear", "linear_\nmean", "mlp", "none", "sigmoid", "topk", "uniform"}


def test_series_that_share_a_plot_differ_in_colour_or_shape() -> None:
    _, lines, _ = sorted_runs(Path(__file__).parents[2] / "experiments/main_table/results/digits")
    (axis,) = [axis for axis in build_axes(lines) if axis.name == "base"]
    chart = axis_chart(axis, DISTANCE, "base")
    assert chart is not None
    assert len(chart.legend) == 20
    assert len({(colour, shape) for _, colour, shape in chart.legend}) == 20


def test_runs_of_equal_seconds_are_seeds_of_one_whatever_their_steps() -> None:
    _, lines, _ = sorted_runs(Path(__file__).parents[2] / "experiments/equal_seconds/results/digits")
    assert len(lines) == 10
    for line in lines:
        steps = {run.record.config["recipe"]["max_steps"] for run in line.runs}
        assert len(line.runs) == 3
        assert (steps == {1_000}) == (line.axes["method"] == "dmp")
