"""Commands in processes of their own that start at once: torch and Lightning are already in memory."""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["dmp_lightning.commands.train", "tests.configs"])
ENVIRONMENT = {"WANDB_MODE": "online", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Result:
    """How a command ended; a negative code is a signal's."""

    code: int
    stdout: str
    stderr: str


def command(
    folder: Path,
    arguments: list[str],
    environment: Mapping[str, str] = ENVIRONMENT,
    prepare: Callable[[], None] | None = None,
    name: str = "train",
) -> Result:
    """`python -m dmp_lightning.NAME ARGUMENTS` in `folder`, with nobody's settings, after `prepare` in its process."""
    outputs = [folder / name for name in ("stdout.txt", "stderr.txt")]
    kept = {name: os.environ[name] for name in ("HYDRA_FULL_ERROR", "LC_ALL") if name in os.environ}
    given = {"HOME": str(folder)} | kept | dict(environment)
    process = forkserver.Process(target=_main, args=(folder, name, arguments, outputs, given, prepare))
    process.start()
    process.join()
    assert process.exitcode is not None
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in outputs]
    for path in outputs:
        path.unlink()
    return Result(process.exitcode, *texts)


def as_started_by_a_person() -> None:
    """Let loader workers be forked by this process, as they are on Linux: they end when it does, even if killed."""
    multiprocessing.set_start_method("fork", force=True)


def _main(
    folder: Path,
    name: str,
    arguments: list[str],
    outputs: list[Path],
    environment: dict[str, str],
    prepare: Callable[[], None] | None,
) -> None:
    import torch

    main = importlib.import_module(f"dmp_lightning.{name}").main
    as_started_by_a_person()
    torch.set_num_threads(1)
    for variable in [variable for variable in os.environ if variable.startswith("WANDB")]:
        del os.environ[variable]
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in enumerate(outputs, start=1):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    sys.argv = [name, *arguments]
    if prepare is not None:
        prepare()
    main()
