"""The claims of experiments/: their sweeps compose, have names of their own, and what has a record is not run again."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import OmegaConf
from scipy.stats import ttest_rel

from dmp_lightning.commands.checks.acting import check_acting, keys_of
from dmp_lightning.commands.checks.values import check_values
from dmp_lightning.commands.trust.trusted import check_targets
from tests.configs import config

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CLAIMS = (
    "search",
    "main_table",
    "equal_seconds",
    "gate_type",
    "beyond_paper",
    "prompt_count",
    "injection_depth",
    "balance_position",
    "condition_init",
    "training_length",
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """experiments/run.py, as `python experiments/run.py` finds it."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import run

    yield run
    for name in ("run", "claims"):
        sys.modules.pop(name)


def composed(run: ModuleType, claim: str, data: str, number: int):
    cell = list(run.CLAIMS[claim](data))[number]
    swept = ("hydra.sweep", "seed=", f"{cell.turning}=")
    words = [word for word in run.command(claim, data, cell, ["1"])[2:] if not word.startswith(swept)]
    return cell, config(*words, "run_dir=runs/test")


@pytest.mark.parametrize("data", ["digits", "fashion_mnist"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_cells_compose_and_have_names_of_their_own(run: ModuleType, claim: str, data: str) -> None:
    cells = list(run.CLAIMS[claim](data))
    assert len({cell.name for cell in cells}) == len(cells)
    assert len({json.dumps([cell.axes, cell.overrides]) for cell in cells}) == len(cells)
    for number in range(0, len(cells), 9):
        cell, found = composed(run, claim, data, number)
        check_targets(found)
        check_values(found, "train")
        check_acting([found], "train", [*keys_of(cell.overrides), cell.turning])
        OmegaConf.resolve(found)
        assert found.sweep.name == claim
        assert dict(found.sweep.axes) == cell.axes
        assert found.recipe.validate_every == found.recipe.max_steps
        assert found.name == ("digits" if data == "digits" else "fashion_mnist_latents")


def test_all_claims_are_known(run: ModuleType) -> None:
    assert tuple(run.CLAIMS) == CLAIMS


def test_a_method_has_the_rate_of_the_lowest_loss(run: ModuleType) -> None:
    (cell,) = [cell for cell in run.CLAIMS["main_table"]("digits") if cell.name == "raw/constant/last/full_finetune"]
    assert "recipe.learning_rates.backbone=0.0006" in cell.overrides  # the lowest of experiments/search


def test_seeds_with_a_record_are_done(run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    cell = next(run.CLAIMS["gate_type"]("digits"))
    assert run.seeds_left("gate_type", "digits", cell) == ["1", "2", "3"]
    record = run.record_of("gate_type", "digits", cell, "2")
    record.parent.mkdir(parents=True)
    shutil.copy(EXPERIMENTS / "gate_type/results/digits" / f"{cell.name}-2.json", record)
    assert run.seeds_left("gate_type", "digits", cell) == ["1", "3"]
    assert run.seeds_left("gate_type", "digits", cell, again=True) == ["1", "2", "3"]
    searched = next(run.CLAIMS["search"]("digits"))
    assert run.seeds_left("search", "digits", searched) == []
    assert run.seeds_left("search", "digits", searched, again=True) == ["0"]


def test_what_the_search_found_is_what_its_records_say(run: ModuleType) -> None:
    told = {
        (cell, rate): run.read_results(run.SEARCHED.with_suffix("") / cell / f"{rate}.json").metrics["final"][
            "loss_difference"
        ]["mean"]
        for cell, losses in run.searched().items()
        for rate in losses
    }
    assert len(told) == 190
    assert told == {(cell, rate): loss for cell, losses in run.searched().items() for rate, loss in losses.items()}


@pytest.mark.slow
def test_gates_are_measured_of_patches_alone(tmp_path: Path) -> None:
    command = [sys.executable, str(EXPERIMENTS / "gate_learned/measure.py"), "digits"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    remedy = "python experiments/run.py main_table digits --only annealed/last/dmp --again"
    assert done.stderr.strip().splitlines()[-1].endswith(remedy)


@pytest.mark.slow
def test_the_table_compares_seed_by_seed() -> None:
    results = EXPERIMENTS / "gate_type/results/digits"

    def distances(gate: str) -> list[float]:
        records = [json.loads((results / f"{gate}-{seed}.json").read_text()) for seed in (1, 2, 3)]
        return [record["metrics"]["final"]["frechet_digits_classifier"] for record in records]

    command = [sys.executable, str(EXPERIMENTS / "table.py"), str(results), "--against", "none"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (row,) = [line.split(" | ") for line in printed.splitlines() if line.startswith("| sigmoid ")]
    test = ttest_rel(distances("sigmoid"), distances("none"))
    interval = test.confidence_interval(0.95)
    difference = sum(distances("sigmoid")) / 3 - sum(distances("none")) / 3
    expected = f"{difference:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]".replace("-", "−")
    assert row[6] == expected
    (own,) = [line.split(" | ") for line in printed.splitlines() if line.startswith("| none ")]
    assert own[6].strip() == ""


def test_what_another_claim_has_run_with_the_same_settings_is_taken(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    kept = tmp_path / "main_table/results/digits"
    shutil.copytree(EXPERIMENTS / "main_table/results/digits/raw", kept / "raw")
    cells = {cell.name: cell for cell in run.CLAIMS["training_length"]("digits")}
    run.take_over("training_length", "digits", [cells["raw/lora/250"], cells["raw/lora/1000"], cells["ema/lora/1000"]])
    results = tmp_path / "training_length/results/digits"
    assert {str(path.relative_to(results)) for path in results.rglob("*.*")} == {
        *(f"raw/lora/1000-{seed}.json" for seed in (1, 2, 3)),
        "raw/lora/1000-1.safetensors",
    }
    taken, own = (
        json.loads(path.read_text())
        for path in (results / "raw/lora/1000-2.json", kept / "raw/annealed/last/lora-2.json")
    )
    assert (taken.pop("sweep"), taken.pop("axes")) == ("training_length", cells["raw/lora/1000"].axes)
    assert (own.pop("sweep"), own.pop("axes")["schedule"]) == ("main_table", "annealed")
    assert taken | {"checksum": None} == own | {"checksum": None}
