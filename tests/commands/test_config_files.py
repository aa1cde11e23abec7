"""A config file of somebody else's sets nothing of Hydra's, nor where files are written; what is typed does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.cli import register_resolvers
from dmp_lightning.commands.trust.config_files import check_written, typed_keys
from dmp_lightning.commands.trust.config_loader import CONFIG_DIR
from tests.configs import config

GLOBAL = "# @package _global_\n"
LOGGING = "{job_logging: {handlers: {x: {(): os.mkdir, path: executed}}}}"
EVIL = "{_target_: os.mkdir, path: executed}"


def with_files(folder: Path, files: dict[str, str], *overrides: str, name: str = "train") -> DictConfig:
    """The config of a command with a folder of somebody's files on Hydra's search path."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose(name, [f"hydra.searchpath=['file://{folder}']", *overrides], return_hydra_config=True)


def experiment(text: str, header: str = GLOBAL) -> dict[str, str]:
    return {"experiment/x.yaml": header + text}


REFUSED = {
    "callbacks": (experiment(f"hydra: {{callbacks: {{x: {EVIL}}}}}"), "hydra.callbacks.x._target_"),
    "callbacks by package": (experiment(f"x: {EVIL}", "# @package hydra.callbacks\n"), "hydra.callbacks.x._target_"),
    "callbacks as a group": (
        experiment("defaults: [override /hydra/callbacks: x]") | {"hydra/callbacks/x.yaml": f"x: {EVIL}"},
        "hydra.callbacks",
    ),
    "callbacks, a file placed there": (experiment("defaults: [/gate@hydra.callbacks.x: linear]"), "hydra.callbacks.x"),
    "callbacks of another file placed there": (
        experiment("defaults: [/gate@hydra.callbacks.x: x]") | {"gate/x.yaml": EVIL},
        "hydra.callbacks.x",
    ),
    "callbacks of a file out of the folder": (
        experiment("defaults: [/../outside/x@_global_]")
        | {"../outside/x.yaml": f"hydra: {{callbacks: {{x: {EVIL}}}}}"},
        "hydra.callbacks.x",
    ),
    "all of Hydra by reference": (experiment("hydra: ${budget}"), "hydra"),
    "job logging": (
        experiment("hydra: {job_logging: {handlers: {x: {(): os.mkdir, path: executed}}}}"),
        "hydra.job_logging.handlers.x",
    ),
    "job logging as a group": (
        experiment("defaults: [override /hydra/job_logging: x]") | {"hydra/job_logging/x.yaml": "version: 1"},
        "hydra.job_logging",
    ),
    "Hydra's logging": (experiment("hydra: {hydra_logging: {root: {level: DEBUG}}}"), "hydra.hydra_logging.root.level"),
    "a launcher that is installed": (experiment("defaults: [override /hydra/launcher: joblib]"), "hydra.launcher"),
    "a launcher's class": (experiment("hydra: {launcher: {_target_: os.mkdir}}"), "hydra.launcher._target_"),
    "a launcher's commands": (experiment("hydra: {launcher: {setup: [touch executed]}}"), "hydra.launcher.setup.0"),
    "a launcher's script": (experiment(r'hydra: {launcher: {partition: "a\n#SBATCH"}}'), "hydra.launcher.partition"),
    "a sweeper's class": (experiment("hydra: {sweeper: {_target_: os.mkdir}}"), "hydra.sweeper._target_"),
    "an object by reference": (experiment("hydra: {sweeper: {params: {seed: '${budget}'}}}"), "params.seed"),
    "Hydra, turned in a sweep": (experiment("hydra: {sweeper: {params: {hydra.callbacks.x: 1}}}"), "hydra.callbacks"),
    "Hydra's group, turned": (experiment("hydra: {sweeper: {params: {+hydra/callbacks: x}}}"), "hydra/callbacks"),
    "a package, turned": (experiment("hydra: {sweeper: {params: {gate@hydra.callbacks: x}}}"), "gate@hydra"),
    "a place, turned": (experiment("hydra: {sweeper: {params: {logger.csv.path: x}}}"), "params.logger.csv.path"),
    "the environment": (experiment("hydra: {job: {env_set: {LD_PRELOAD: x.so}}}"), "hydra.job.env_set.LD_PRELOAD"),
    "a copy of the environment": (experiment("hydra: {job: {env_copy: [WANDB_API_KEY]}}"), "hydra.job.env_copy"),
    "the search path": (experiment("hydra: {searchpath: ['pkg://evil']}"), "hydra.searchpath"),
    "where Hydra works": (experiment("hydra: {run: {dir: /tmp/x}}"), "hydra.run.dir"),
    "where a sweep is": (experiment("hydra: {sweep: {subdir: ../x}}"), "hydra.sweep.subdir"),
    "Hydra's own files": (experiment("hydra: {output_subdir: ../x}"), "hydra.output_subdir"),
    "the run's folder": (experiment("run_dir: /tmp/x"), "run_dir"),
    "the base's folder": (experiment("base_results: ../x"), "base_results"),
    "a folder to resume": (experiment("resume: ../others/checkpoints/step-1.ckpt"), "resume"),
    "the environment, read": (experiment("name: ${oc.env:WANDB_API_KEY}"), "name"),
    "an object, created": (experiment(f"label: '${{oc.create:{EVIL}}}'"), "label"),
    "an object, by a name put together": (experiment("label: ${oc.${name}:x}"), "label"),
    "in a method's file": ({"method/x.yaml": f"{GLOBAL}hydra: {{callbacks: {{x: {EVIL}}}}}"}, "hydra.callbacks.x"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_others_is_refused_by_name(name: str, tmp_path: Path) -> None:
    files, key = REFUSED[name]
    chosen = "method=x" if "method/x.yaml" in files else "+experiment=x"
    with pytest.raises(ValueError, match="on the command line") as refusal:
        with_files(tmp_path / "theirs", files, chosen)
    assert key in str(refusal.value)
    assert str(tmp_path) in str(refusal.value) or name == "callbacks, a file placed there"


ALLOWED = {
    "ordinary keys": (experiment("name: x\nrecipe: {max_steps: 3}\nresume: auto"), ["+experiment=x"]),
    "references": (experiment("evaluation: {samples: '${recipe.max_steps}'}"), ["+experiment=x"]),
    "our groups": (experiment("defaults: [override /gate: topk, override /launcher: slurm]"), ["+experiment=x"]),
    "our base in a sweep": (
        {
            "sweep/x.yaml": GLOBAL + "defaults: [_base]\nsweep: {name: x, axes: {}}\n"
            "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2', +recipe.x: 1, method: 'dmp,lora'}}}"
        },
        ["+sweep=x"],
    ),
    "how large jobs are": (
        experiment("hydra: {launcher: {timeout_min: 60, cpus_per_task: 8, partition: gpu-long}}"),
        ["+experiment=x", "launcher=slurm"],
    ),
    "Hydra's groups, typed": ({"hydra/job_logging/mine.yaml": "version: 1"}, ["hydra/job_logging=mine"]),
    "callbacks, typed": ({"gate/x.yaml": "{}"}, ["+hydra.callbacks.x._target_=mine.Callback"]),
    "a place, typed": (experiment("run_dir: /tmp/x"), ["+experiment=x", "run_dir=mine"]),
    "the environment, typed": (experiment("name: x"), ["+experiment=x", "label=${oc.env:HOME}"]),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_files_are_for_and_what_is_typed_is_allowed(name: str, tmp_path: Path) -> None:
    files, overrides = ALLOWED[name]
    assert with_files(tmp_path, files, *overrides).name


def test_what_is_typed_for_one_file_is_not_given_to_another(tmp_path: Path) -> None:
    files = experiment("hydra: {job_logging: {handlers: {x: {class: os.mkdir}}}}")
    files["hydra/job_logging/mine.yaml"] = "version: 1"
    with pytest.raises(ValueError, match=r"experiment/x.yaml sets hydra\.job_logging"):
        with_files(tmp_path, files, "hydra/job_logging=mine", "+experiment=x")


def test_an_encoded_store_is_where_the_command_line_says(tmp_path: Path) -> None:
    files = {"data/x.yaml": "defaults: [ffhq]\ntrain: {folder: /tmp/elsewhere}"}
    with pytest.raises(ValueError, match=r"data\.train\.folder, which says where files are written"):
        with_files(tmp_path, files, "data=x", name="encode")
    assert with_files(tmp_path, files, "data=x", "out=here", name="encode").out == "here"
    assert with_files(tmp_path, files, "data=x").data.train.folder == "/tmp/elsewhere"


LOGGER = {"_target_": "dmp_lightning.training.csv_log.CSVLog", "path": "runs/x/log.csv"}
LIGHTNINGS = {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "runs/x", "name": "a"}


@pytest.mark.parametrize(
    ("logger", "key"),
    [
        (LOGGER, None),
        (LOGGER | {"path": "runs/other/log.csv"}, "logger.x.path"),
        (LOGGER | {"path": "runs/x/../../.bashrc"}, "logger.x.path"),
        ({"_target_": LOGGER["_target_"], "_args_": [".bashrc"]}, "logger.x.path"),
        ({"_target_": "dmp_lightning.training.loggers.wandb_logger", "save_dir": "/"}, "logger.x.save_dir"),
        (LIGHTNINGS, None),
        (LIGHTNINGS | {"name": "../../y"}, "logger.x.name"),
        (LIGHTNINGS | {"sub_dir": "/tmp"}, "logger.x.sub_dir"),
        ({"inner": LOGGER | {"path": "/tmp/x"}}, "logger.x.inner.path"),
    ],
)
def test_loggers_write_into_the_run_or_where_is_typed(logger: dict, key: str | None) -> None:
    found = OmegaConf.create({"run_dir": "runs/x", "logger": {"x": logger}})
    if key is None:
        check_written(found, [])
        return
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        check_written(found, [])
    if "_args_" not in logger:
        check_written(found, typed_keys([f"{key}=typed"]))


def test_our_loggers_write_into_the_run() -> None:
    for name in ("csv", "wandb_csv"):
        check_written(config(f"logger={name}", "run_dir=runs/x"), [])


def test_typed_keys_are_those_that_are_set() -> None:
    found = typed_keys(["+hydra/launcher=x", "++a.b=1", "~c", "+d={e: {f: 1}, g: [1]}", "gate@h.i=linear", "j='{k}'"])
    assert found == {"hydra.launcher", "a.b", "c", "d.e.f", "d.g.0", "gate", "j"}


COMMANDS = {  # what is typed, and what the sentence names: none of these may come as far as torch
    "callbacks": (["--config-dir=theirs", "+experiment=callbacks"], "hydra.callbacks.x._target_"),
    "callbacks, shown": (["--config-dir=theirs", "+experiment=callbacks", "--cfg", "job"], "hydra.callbacks"),
    "callbacks, informed of": (["--config-dir=theirs", "+experiment=callbacks", "--info"], "hydra.callbacks"),
    "callbacks in a sweep": (["--config-dir=theirs", "-m", "+experiment=callbacks"], "hydra.callbacks"),
    "no YAML": (["--config-dir=theirs", "+experiment=broken"], "A config file cannot be read, correct it: "),
    "no UTF-8": (["--config-dir=theirs", "+experiment=latin"], "A config file cannot be read, correct it: "),
    "logging": (["--config-dir=theirs", "+experiment=logging"], "hydra.job_logging.handlers.x.()"),
    "a primary config": (["--config-dir=theirs", "--config-name=primary"], "hydra.searchpath"),
    "another primary config": (["--config-path", "FOLDER/theirs", "--config-name=primary"], "hydra.searchpath"),
    "a file anywhere": (["+experiment=../../theirs/experiment/callbacks"], None),
    "a rerun": (["--experimental-rerun=theirs/config.pickle"], "--experimental-rerun reads a pickle"),
    "a shortened rerun": (["--exp=theirs/config.pickle"], "--experimental-rerun reads a pickle"),
    "a sweep's experiments": (["--config-dir=theirs", "-m", "+experiment=callbacks,logging"], "hydra.callbacks"),
}
SCRIPT = """
import json, os, sys
from dmp_lightning.train import main
for arguments in json.load(sys.stdin):
    sys.argv = ["train", *arguments]
    try:
        main()
    except SystemExit as end:
        print(json.dumps(str(end.code)), flush=True)
    else:
        print(json.dumps("ended well"), flush=True)
assert "torch" not in sys.modules
"""


def test_the_command_refuses_before_hydra_acts(tmp_path: Path) -> None:
    theirs = {
        "experiment/callbacks.yaml": f"{GLOBAL}hydra: {{callbacks: {{x: {EVIL}}}}}",
        "experiment/logging.yaml": f"{GLOBAL}hydra: {LOGGING}",
        "experiment/broken.yaml": f"{GLOBAL}name: [1",
        "primary.yaml": "hydra: {searchpath: ['pkg://evil']}",
    }
    for path, text in theirs.items():
        (tmp_path / "theirs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "theirs" / path).write_text(text)
    (tmp_path / "theirs" / "experiment" / "latin.yaml").write_bytes(f"{GLOBAL}name: Größe".encode("latin-1"))
    (tmp_path / "theirs" / "config.pickle").write_bytes(b"cos\nmkdir\n(S'executed'\ntR.")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text("import os; os.mkdir('executed')")
    lines = [[word.replace("FOLDER", str(tmp_path)) for word in words] for words, _ in COMMANDS.values()]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=environment,
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('"')]
    assert len(said) == len(COMMANDS), ended.stdout + ended.stderr
    for sentence, (_, named) in zip(said, COMMANDS.values(), strict=True):
        assert sentence.startswith("error: "), sentence
        assert named is None or named in sentence
    assert not (tmp_path / "executed").exists()
