"""Run twice by a test, with rank 0 and 1: the two measure one set of images together, and write what each found."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from dmp_lightning.metrics.features import Pixels
from dmp_lightning.metrics.frechet import FrechetDistance


def images(count: int, seed: int, mean: float) -> torch.Tensor:
    values = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 20 + mean
    return values.round().clamp(0, 255).to(torch.uint8)


def measure(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = []
    for _ in ("computed", "cached"):
        frechet = FrechetDistance(Pixels((1, 4, 4)))
        frechet.reference(images(201, 0, 128).split(50), "reference", folder / "cache")
        frechet.update(images(101, 1, 120)[rank::2])
        found.append(frechet.compute())
    frechet.reset()
    frechet.update(images(101, 1, 120)[rank::2])
    found.append(frechet.compute())
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    measure(int(sys.argv[1]), Path(sys.argv[2]))
