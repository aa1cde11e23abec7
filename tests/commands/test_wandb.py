"""The job where W&B cannot be reached, or refuses: it goes on offline, or ends before any work with the remedy."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from safetensors.torch import save_file

from tests.configs import SMALL, random_base
from tests.processes import Result, command
from tests.training.offline_run import read_offline_runs

KEY = "0123456789abcdef" * 2 + "01234567"
ACCOUNT = {"id": "1", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
SHORT = [*SMALL, "recipe.max_steps=2", "recipe.validate_every=2"]


@contextmanager
def server(status: int, knows_the_key: bool = False) -> Iterator[str]:
    """A W&B server that answers all requests with `status`, but may know whose the key is; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known = knows_the_key and b"query Viewer" in question
            answer = {"data": {"viewer": ACCOUNT}} if known else {"errors": [{"message": "permission denied"}]}
            content = json.dumps(answer).encode()
            self.send_response(200 if known else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 (the library's name)

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def job(folder: Path, url: str, key: str = KEY) -> Result:
    """A short run that knows of this server and key; checks that nothing tells the key."""
    save_file(random_base(), folder / "base.safetensors")
    environment = {"WANDB_BASE_URL": url, "WANDB_API_KEY": key}
    result = command(folder, [*SHORT, "backbone.weights=base.safetensors", "hydra.run.dir=run"], environment)
    assert key not in result.stdout + result.stderr
    assert all(key.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert "Traceback" not in result.stdout + result.stderr
    return result


@pytest.mark.parametrize(
    ("status", "knows_the_key", "key", "sentence"),
    [
        pytest.param(401, False, KEY, "W&B cannot start the run: ", marks=pytest.mark.slow),
        pytest.param(403, True, KEY, "W&B cannot start the run: ", marks=pytest.mark.slow),
        (200, True, "abc~", "WANDB_API_KEY invalid: "),
    ],
    ids=["unknown key", "may not write", "malformed key"],
)
def test_a_server_that_refuses_ends_the_run_before_any_work(
    status: int, knows_the_key: bool, key: str, sentence: str, tmp_path: Path
) -> None:
    with server(status, knows_the_key) as url:
        result = job(tmp_path, url, key)
    assert result.code == 1, result.stderr
    (told,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert sentence in told
    assert "`wandb login --relogin`" in told
    assert "WANDB_MODE=offline" in told
    assert not (tmp_path / "runs").exists()  # nor has the base been measured
    assert not list(tmp_path.rglob("*.ckpt")) + list(tmp_path.rglob("metrics.csv"))


@pytest.mark.slow
def test_a_server_that_is_broken_makes_the_run_offline(tmp_path: Path) -> None:
    with server(500) as url:
        result = job(tmp_path, url)
    assert result.code == 0, result.stderr
    assert "W&B runs offline (127.0.0.1 does not answer)" in result.stdout + result.stderr
    (run,) = read_offline_runs(tmp_path / "run")
    assert len(run.column("train/loss")) == 2


@pytest.mark.slow  # test_loggers has the same at the logger alone
@pytest.mark.parametrize(
    ("environment", "code", "sentence"),
    [
        ({}, 0, "W&B runs offline (no W&B key is configured, see `wandb login`)"),
        ({"WANDB_API_KEY": KEY}, 0, " does not answer). To upload later: wandb sync "),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "online"}, 1, " does not answer. Unset WANDB_MODE to run offline."),
    ],
    ids=["no key", "key", "online demanded"],
)
def test_the_default_job_needs_no_network(
    environment: dict[str, str], code: int, sentence: str, tmp_path: Path
) -> None:
    cut = ["unshare", "--map-root-user", "--net"]  # a network of its own: without any device that is up
    if subprocess.run([*cut, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody make a network namespace")
    clean = {name: value for name, value in os.environ.items() if "WANDB" not in name and "proxy" not in name.lower()}
    clean |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "OMP_NUM_THREADS": "1"} | environment
    options = [option for option in SHORT if not option.startswith(("features", "controls"))]
    line = [*cut, sys.executable, "-m", "dmp_lightning.train", *options]
    done = subprocess.run(
        line, cwd=tmp_path, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert sentence in output
    assert "Traceback" not in output
    assert KEY not in output
    assert len(list(tmp_path.rglob("results.json"))) == len(list(tmp_path.rglob("run-*.wandb"))) == 1 - code
