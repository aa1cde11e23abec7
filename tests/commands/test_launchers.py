"""Sweeps over a cluster: what its launchers start, preempt and start again ends as what was started by hand."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch.distributed import TCPStore

from dmp_lightning.commands import resolvers
from dmp_lightning.commands.errors import check_launcher, explanation
from dmp_lightning.runs.record import read_results
from tests.configs import SMALL, config, random_base
from tests.crashes import left_in

LINE = [sys.executable, "-m", "dmp_lightning.train", *SMALL, "logger=csv", "backbone.weights=base.safetensors"]


def start(folder: Path, *options: str, under: Sequence[str] = ()) -> subprocess.Popen:
    save_file(random_base(), folder / "base.safetensors")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(folder)}
    return subprocess.Popen([*under, *LINE, *options], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]


@pytest.mark.parametrize(("name", "plugin"), [("slurm", "submitit_slurm"), ("ray", "ray"), ("joblib", "joblib")])
def test_a_plugin_that_is_missing_is_told_with_its_remedy(
    name: str, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config()  # Hydra looks for plugins once
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{plugin}.yaml", raising=False)
    with pytest.raises(HydraException) as raised:
        config(f"launcher={name}")
    assert explanation(raised.value).endswith(f"is not installed: pip install 'dmp-lightning[{name}]'")


def test_slurm_is_where_its_srun_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = OmegaConf.create({"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="choose launcher=slurm_local"):
        check_launcher(launcher)
    (tmp_path / "srun").touch(mode=0o755)
    check_launcher(launcher)


def test_processes_of_torchrun_agree_on_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1, 9))
    monkeypatch.setattr(resolvers, "datetime", SimpleNamespace(now=lambda: datetime(2026, 1, 1, 0, 0, next(times))))
    assert resolvers.run_dir("name", None) != resolvers.run_dir("name", None)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for key, value in {
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": store.port,
    }.items():
        monkeypatch.setenv(key, str(value))
    assert resolvers.run_dir("name", None) == resolvers.run_dir("name", None) == "runs/name/2026-01-01_00-00-03"


def test_tasks_of_slurm_have_to_be_told_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    with pytest.raises(ValueError, match=r"hydra\.run\.dir="):
        resolvers.run_dir("name", None)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    resolvers.run_dir("name", None)


@pytest.mark.slow
def test_a_sweep_through_submitit_is_a_run_each(tmp_path: Path) -> None:
    finish(start(tmp_path, "launcher=slurm_local", "seed=1,2"))
    found = sorted(tmp_path.glob("runs/digits/multirun-*/*/results.json"))
    assert [path.parent.name for path in found] == ["0", "1"]
    assert [read_results(path).seeds["training"] for path in found] == [1, 2]


@pytest.mark.slow
def test_a_sweep_through_joblib_shares_the_cores(tmp_path: Path) -> None:
    axes = ["+sweep=injection_depth", "method.injection=all,first:9", "seed=1"]  # the base has three blocks
    process = start(tmp_path, "launcher=joblib", *axes)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    done, failed = sorted((tmp_path / "runs/digits/sweep-injection_depth").glob("*/"))
    assert read_results(done / "results.json").config["sweep"]["axes"] == {"injection": "all"}
    assert "this base has 3 blocks" in (failed / "failed.json").read_text()
    assert f"1 done, 0 skipped, 1 failed ({failed.name})" in errors.splitlines()[-1]


@pytest.mark.slow
def test_a_sweep_through_joblib_ends_with_its_processes(tmp_path: Path) -> None:
    process = start(tmp_path, "launcher=joblib", "+sweep=seeds", "seed=1,2", "recipe.max_steps=100000")
    wait_for(tmp_path, "runs/digits/sweep-seeds/seed-1*/metrics.csv")
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    children = [int(row.split()[0]) for row in listed.splitlines()[1:] if int(row.split()[1]) == process.pid]
    assert children
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted. To resume: the same command" in errors
    assert "Traceback" not in errors
    until = time.monotonic() + 20
    while any(map(still_runs, children)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(map(still_runs, children))


@pytest.mark.slow
def test_a_sweep_over_a_ray_cluster_is_a_run_each(tmp_path: Path) -> None:
    alone = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*alone, "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace")
    sweep = ["+sweep=seeds", "seed=1,2"]
    with TemporaryDirectory(prefix="ray") as sockets:  # whose names may not be long
        cluster = [*alone, "sh", str(Path(__file__).with_name("ray_cluster.sh")), sockets]
        line = ["launcher=ray", "hydra.launcher.ray.remote.num_gpus=0", *sweep]
        finish(start(tmp_path, *line, under=cluster))
        found = sorted(tmp_path.glob("runs/digits/sweep-seeds/*/results.json"))
        assert [read_results(path).seeds["training"] for path in found] == [1, 2]
        before = [path.stat().st_mtime_ns for path in found]
        finish(start(tmp_path, *line, under=cluster))
    assert [path.stat().st_mtime_ns for path in found] == before  # started again, it has nothing to do
    assert [path.name for path in (tmp_path / "runs/digits").glob("*-*")] == ["sweep-seeds"]


@pytest.mark.slow
def test_a_preempted_job_is_started_again_and_goes_on(tmp_path: Path) -> None:
    long = [
        "launcher=slurm_local",
        "recipe.max_steps=300",
        "recipe.validate_every=150",
        "recipe.checkpoint_every=20",
        "recipe.ema_decay=0.9",
    ]
    for name in ("untouched", "preempted"):
        (tmp_path / name).mkdir()
    finish(start(tmp_path / "untouched", *long))
    sweep = start(tmp_path / "preempted", *long)
    wait_for(tmp_path / "preempted", "runs/digits/multirun-*/0/checkpoints/step-20.ckpt")
    log = wait_for(tmp_path / "preempted", "runs/digits/multirun-*/.submitit/*/*_log.err")
    os.kill(job_process(sweep.pid), signal.SIGUSR2)  # what submitit has SLURM send
    finish(sweep)
    assert log.read_text().count("Caught signal SIGUSR2") == 1
    runs = [next((tmp_path / name).glob("runs/digits/multirun-*/0")) for name in ("untouched", "preempted")]
    assert left_in(runs[1]) == left_in(runs[0])


def wait_for(folder: Path, pattern: str) -> Path:
    """The file of that pattern, once it is there."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        found = next(folder.glob(pattern), None)
        if found is not None:
            return found
        time.sleep(0.05)
    raise TimeoutError(pattern)


def still_runs(process: int) -> bool:
    """Whether a process has not ended yet. One that has may stay listed: not every container's first process reaps."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def job_process(ancestor: int) -> int:
    """The submitit job among the processes that `ancestor` started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    for pid, _, arguments in rows:
        number = int(pid)
        while number > 1 and number != ancestor:
            number = parents.get(number, 0)
        if number == ancestor and "submitit.core._submit" in arguments:
            return int(pid)
    raise LookupError("no submitit job")
