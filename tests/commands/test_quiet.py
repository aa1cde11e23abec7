"""The terminal of a training: no line twice, and nothing that only other libraries want to say."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from safetensors.torch import save_file

from tests.configs import SMALL, random_base

BAR = re.compile(r"[^\r\n]*\| *\d+/\S+ \[[^\]\r\n]*\]")  # of progress
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PREFIX = re.compile(r"^(\[[^\]]*\]\[[\w.]*\]\[[A-Z]+\] - |[A-Z]+: )")  # of Hydra's log, and of Lightning's
OTHERS = ["litlogger", "litmodels", "weights_only", "num_workers", "anonymous", "deprecated", "GPU available", "TPU"]


def test_a_training_says_nothing_twice_and_nothing_of_other_libraries(tmp_path: Path) -> None:
    save_file(random_base(), tmp_path / "base.safetensors")
    clean = {name: value for name, value in os.environ.items() if "WANDB" not in name}
    clean |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "OMP_NUM_THREADS": "1"}
    options = [*SMALL, "recipe.max_steps=2", "recipe.validate_every=2", "backbone.weights=base.safetensors"]
    line = [sys.executable, "-m", "dmp_lightning.train", *options]
    done = subprocess.run(line, cwd=tmp_path, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert [text for text in OTHERS if text in output] == []
    lines = re.split(r"[\r\n]+", CONTROL.sub("", BAR.sub("", output)))
    said = Counter(PREFIX.sub("", each.strip()) for each in lines if re.search("[A-Za-z]", each))
    assert [each for each, times in said.items() if times > 1] == []
    assert any("W&B runs offline" in each for each in said)
