"""Writes the base of a run beside its config, in bfloat16, as diffusers has it: the last weights, and their average.

python experiments/emoji_pretrain/ship.py runs/emoji_pretrain/TIME epsilon
"""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from dmp_lightning.methods.patches import read_patch

HERE = Path(__file__).parent
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"


def ship(run: Path, name: str) -> None:
    """Write the folders `name` and `name`_ema."""
    for file, folder in (("patch_raw.safetensors", HERE / name), ("patch.safetensors", HERE / f"{name}_ema")):
        weights = {key: value.to(torch.bfloat16) for key, value in read_patch(run / file).tensors.items()}
        folder.mkdir(exist_ok=True)
        save_file(weights, folder / WEIGHTS, {"format": "pt"})
        if folder != HERE / name:
            shutil.copy(HERE / name / CONFIG, folder / CONFIG)
        print(folder / WEIGHTS, f"{(folder / WEIGHTS).stat().st_size:,} bytes")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), sys.argv[2])
