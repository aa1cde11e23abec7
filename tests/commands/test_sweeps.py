"""Sweeps: their configs on every experiment, and what they do with what is there, what fails and what was stopped."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from dmp_lightning.commands.cli import CONFIG_DIR, register_resolvers
from dmp_lightning.commands.earlier import earlier_metrics
from dmp_lightning.commands.sweeps import Ended, conclude, job_dir
from dmp_lightning.runs.record import read_results
from hydra_plugins.dmp_lightning_sweepers import GridSweeper
from tests.configs import SMALL, random_base
from tests.processes import command
from tests.reports.made import record, write

SWEEPS = {  # runs of each seed
    "balance": 5,
    "condition": 3,
    "gate_type": 8,
    "init": 3,
    "injection_depth": 6,
    "methods": 7,
    "paper_table": 4,
    "position": 2,
    "prompt_count": 5,
    "seeds": 1,
}
EXPERIMENTS = [[], ["+experiment=ffhq_dit_l2"], ["+experiment=fashion_mnist_latents"]]


@pytest.fixture
def hydra_state():
    """`${hydra:...}` reads a config that is global to the process."""
    Plugins.instance()  # its configs, registered once a process, have to be there afterwards
    before = Singleton.get_state()
    yield
    Singleton.set_state(before)


def composed(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        found = compose("train", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(found)
    return found


def jobs_of(sweep: DictConfig, *arguments: str) -> list[list[str]]:
    """The overrides of each job, as Hydra's sweeper finds them."""
    texts = [f"{key}={value}" for key, value in sweep.hydra.sweeper.params.items()]
    return BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([*texts, *arguments]), None)[0]


def test_all_sweeps_are_known() -> None:
    assert {path.stem for path in Path(CONFIG_DIR, "sweep").glob("[!_]*.yaml")} == SWEEPS.keys()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=["digits", "ffhq", "latents"])
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_composes_on_any_experiment(name: str, experiment: list[str], hydra_state: None) -> None:
    sweep = composed(*experiment, f"+sweep={name}")
    assert (sweep.hydra.mode, sweep.resume) == (RunMode.MULTIRUN, "auto")
    assert sweep.hydra.sweep.dir == f"runs/{sweep.name}/sweep-{name}"
    jobs = jobs_of(sweep)
    assert len(jobs) == len({tuple(job) for job in jobs}) == 3 * SWEEPS[name]
    places = set()
    for job in [job for job in jobs if "seed=1" in job][:: 1 if not experiment else 100]:
        one = composed(*experiment, f"+sweep={name}", *job, "run_dir=run")
        places.add(json.dumps(OmegaConf.to_container(one.sweep.axes, resolve=True)))
        OmegaConf.resolve(one.method)
    if not experiment:
        assert len(places) == SWEEPS[name]  # each run knows where on the axis it stands


def test_the_command_line_beats_the_sweep(hydra_state: None) -> None:
    sweep = composed("+sweep=gate_type")
    jobs = jobs_of(sweep, "seed=1,2", "gate=linear", "recipe.max_steps=7")
    assert [set(job) for job in jobs] == [{f"seed={seed}", "gate=linear", "recipe.max_steps=7"} for seed in (1, 2)]
    renamed = composed("+sweep=gate_type", "sweep.name=mine", "resume=null")
    assert (renamed.hydra.sweep.dir, renamed.resume) == ("runs/digits/sweep-mine", None)


def test_the_paper_table_is_as_in_the_paper(hydra_state: None) -> None:
    sweep = composed("+sweep=paper_table", "recipe.ema_decay=0.9")
    assert composed("+sweep=paper_table").recipe.ema_decay is None
    assert sweep.recipe.ema_decay == 0.9
    rows = [job[-1] for job in jobs_of(sweep) if "seed=1" in job]
    assert rows == [f"method={name}" for name in ("frozen", "full_finetune", "prompt_tuning", "dmp")]


def test_a_folder_is_named_by_what_its_job_is() -> None:
    axes = {"seed": "1,2,3", "method.prompt_count": "1"}
    plain = ["seed=1", "method.prompt_count=2.0", "+sweep=prompt_count", "launcher=joblib", "logger.csv.path=x"]
    assert job_dir(4, plain, axes, "a sweep") == "method.prompt_count-2.0+seed-1"
    assert job_dir(4, plain[::-1], axes, "a sweep") == job_dir(0, plain, axes, "a sweep")
    assert job_dir(4, [*plain, "+recipe.a=1"], axes, "a sweep") == "method.prompt_count-2.0+seed-1+recipe.a-1"
    assert job_dir(4, plain, None, None) == "4"
    taken = OverridesParser.create().parse_override(
        f"patch=runs/{job_dir(4, plain, axes, 'a sweep')}/patch.safetensors"
    )
    assert not taken.is_sweep_override()
    nasty = [f"backbone.weights=/a/../{'b' * 300}/{end}" for end in "cd"]
    names = [job_dir(0, [text], axes, "a sweep") for text in nasty]
    assert len(set(names)) == 2
    assert all(len(name) <= 200 and "/" not in name for name in names)


@pytest.mark.parametrize("launcher", ["local", "joblib", "slurm", "ray"])
def test_a_sweep_has_its_folder_on_any_launcher(launcher: str, hydra_state: None) -> None:
    found = composed("+sweep=position", f"launcher={launcher}").hydra.sweep.dir
    assert Path(found).relative_to(Path.cwd() if launcher == "ray" else ".") == Path("runs/digits/sweep-position")
    plain = Path(composed(f"launcher={launcher}").hydra.sweep.dir)
    assert plain.parent == Path(found).parent
    assert plain.name.startswith("multirun-")


def typed_axes(*arguments: str) -> list[str]:
    groups = {"gate": ["linear", "mlp"], "method": ["dmp", "lora"]}
    context = SimpleNamespace(config_loader=SimpleNamespace(get_group_options=lambda key: groups.get(key, [])))
    sweeper: Any = SimpleNamespace(params={"gate": "linear,mlp", "seed": "1,2,3"}, hydra_context=context)
    return GridSweeper._typed_axes(sweeper, list(arguments))


def test_what_is_typed_is_an_axis_too() -> None:
    given = ["seed=1,2", "gate=linear", "method=dmp,lora", "+method.condition=timestep,log_snr", "recipe.max_steps=7"]
    assert typed_axes(*given) == [
        "++sweep.axes.method=${hydra:runtime.choices.method}",
        "++sweep.axes.condition=${method.condition}",
    ]
    for key in ("logger=csv,wandb_csv", "+experiment=a,b", "trainer.devices=1,2"):
        with pytest.raises(ValueError, match="cannot be an axis of a sweep: start one sweep for each value"):
            typed_axes(key)


def test_a_job_that_is_another_one_again_is_told(tmp_path: Path) -> None:
    base = {"sweep": {"name": "gates", "axes": {}}, "method": "lora", "seed": 1}
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    assert earlier_metrics(OmegaConf.create(base | {"gate": {"top_k": 0.5}}), folders[0]) is None
    other = OmegaConf.create(base | {"gate": {"top_k": 1.0}})
    with pytest.raises(ValueError, match="This run would repeat a: gate has no effect here"):
        earlier_metrics(other, folders[1])
    assert earlier_metrics(OmegaConf.merge(other, {"seed": 2}), folders[1]) is None
    (folders[0] / "begun.json").write_text("")
    with pytest.raises(ValueError, match=r"begun\.json is damaged .*: delete it"):
        earlier_metrics(OmegaConf.create(base), folders[0])


def test_a_sweep_ends_with_one_line(capsys: pytest.CaptureFixture) -> None:
    folder = Path("runs/gate=hard")
    conclude("name", [Ended("done", folder, {}), Ended("skipped", folder, {})])
    assert capsys.readouterr().out.splitlines()[-1] == "name: 1 done, 1 skipped, 0 failed."
    with pytest.raises(ValueError, match=r"name: 1 done, 0 skipped, 1 failed \(gate=hard\)\. failed\.json"):
        conclude("name", [Ended(state, folder, {}) for state in ("failed", "done")])
    with pytest.raises(ValueError, match=r"5 failed \(0; 1; 2; and 2 more\)"):
        conclude("name", [Ended("failed", Path(str(number)), {}) for number in range(5)])


@pytest.mark.slow
def test_a_job_that_failed_is_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    save_file(random_base(), tmp_path / "base.safetensors")
    weights = "backbone.weights=base.safetensors,late.safetensors"
    options = [*SMALL, "evaluation.samples=20", "recipe.max_steps=2", "recipe.validate_every=2", "logger=csv"]
    line = ["+sweep=injection_depth", *options, weights, "method.injection=all", "seed=1"]
    first = command(tmp_path, line)
    assert first.code == 1
    good, bad = sorted((tmp_path / "runs/digits/sweep-injection_depth").glob("*/"))
    assert ("base" in good.name, "late" in bad.name) == (True, True)
    last = first.stderr.splitlines()[-1].rpartition("\x1b[A")[2]  # below what was a bar of progress
    assert last.startswith(f"error: runs/digits/sweep-injection_depth: 1 done, 0 skipped, 1 failed ({bad.name})")
    failed = json.loads((bad / "failed.json").read_text())
    assert (failed["schema"], failed["name"], failed["config"]["seed"]) == (1, "digits", 1)
    axes = {"injection": "all", "weights": "late.safetensors"}  # the latter by what was typed
    assert failed["config"]["sweep"] == {"name": "injection_depth", "axes": axes}
    assert "late.safetensors" in failed["error"]
    assert not (bad / "results.json").exists()
    assert not (good / "failed.json").exists()

    save_file(random_base(), tmp_path / "late.safetensors")
    before = (good / "results.json").read_bytes()
    second = command(tmp_path, [*line, "trainer.devices=1"])
    assert second.code == 0, second.stderr
    assert second.stdout.splitlines()[-1] == "runs/digits/sweep-injection_depth: 1 done, 1 skipped, 0 failed."
    assert (good / "results.json").read_bytes() == before
    assert not (bad / "failed.json").exists()

    record, log = read_results(bad / "results.json"), (bad / "metrics.csv").read_bytes()
    (bad / "results.json").unlink()  # as if it had been killed after its last step
    third = command(tmp_path, line)
    assert third.stdout.splitlines()[-1] == "runs/digits/sweep-injection_depth: 1 done, 1 skipped, 0 failed."
    assert (bad / "metrics.csv").read_bytes() == log  # it went on from its last checkpoint
    again = read_results(bad / "results.json")
    assert again.metrics["final"]["loss_difference"] == record.metrics["final"]["loss_difference"]

    config = OmegaConf.create(record.config)
    assert earlier_metrics(config, bad)["loss_difference"] == record.metrics["final"]["loss_difference"]["mean"]
    config.recipe.batch_size, config.resume = 7, None
    with pytest.raises(ValueError, match=r"other settings \(recipe.batch_size was 32, now 7\): delete it, or"):
        earlier_metrics(config, bad)
    (bad / "results.json").unlink()
    with pytest.raises(ValueError, match=r"other settings \(recipe.batch_size was 32, now 7\)"):
        earlier_metrics(config, bad)  # nor is a run of other settings gone on with


def test_a_sweep_ends_with_a_table_of_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Ended("failed", tmp_path / "gate-%C3%A4+seed-1", {}, "why")]
    write(jobs[0].folder / "results.json", "damaged, which is why")
    for seed, change in enumerate((-4.0, -5.0, -6.0), start=1):
        folder = tmp_path / f"gate-linear+seed-{seed}"
        write(folder / "results.json", record("linear", seed, change))
        jobs.append(Ended("skipped" if seed == 3 else "done", folder, {}))
    write(tmp_path / "tuning" / "results.json", record("tuning", 1, -3.0))
    write(tmp_path / "frozen" / "results.json", record("frozen", 1, 0.0))
    jobs += [Ended("done", tmp_path / name, {}) for name in ("tuning", "frozen")]
    with pytest.raises(ValueError, match="4 done, 1 skipped, 1 failed"):
        conclude("sweep", jobs)
    rows = [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["small (base): Fréchet distance (digits classifier)", "1 done", "20"] in rows
    # Of the seeds 4.30 / sqrt(3), of each run 1: the root of both squared.
    linear = ["15.0 ± 1.0", "−5.0 [−7.7, −2.3]", "−0.0050 [−0.0075, −0.0025]", "12"]
    assert ["+ mixture of prompts (DMP)", "2 done, 1 skipped", *linear] in rows
    tuning = ["17", "−3.0 [−4.0, −2.0]*", "−0.003000 [−0.003100, −0.002900]*", "12"]
    assert ["+ plain prompt tuning", "1 done", *tuning] in rows
    assert ["gate-ä+seed-1", "failed", *["–"] * 4] in rows
