"""How fast stores of latents give random batches: `python experiments/latent_store/bench.py`.

16,000 latents of 16 KB, read into batches of 128 at random indices, by one process and by two loader workers, from the
page cache. Libraries that are not installed are left out. Writes `results/stores.json` and prints the table.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from stores import STORES, Gather
from torch.utils.data import DataLoader, Dataset, Sampler

from dmp_lightning.data.latents.checksums import sha256
from dmp_lightning.data.latents.manifest import MANIFEST, Manifest, Plan, Shard, write_record
from dmp_lightning.data.latents.source import Latents
from dmp_lightning.data.latents.store import open_store
from dmp_lightning.data.stream import EndlessBatches, TrainingStream
from dmp_lightning.runs.record import provenance

HERE = Path(__file__).parent
COUNT, SHAPE, BATCH = 16_000, (4, 32, 32), 128
SHARD = 4_000
ROUNDS, SECONDS = 5, 0.4
UNFORKABLE = ("Lance", "Zarr, through tensorstore")  # their threads hang or abort in a forked loader worker
UNIT = "a file a sample, two np.load (fast-DiT)"
OURS = "dmp_lightning, gathered"
READ = "dmp_lightning, as training reads"
DRAWN = "dmp_lightning, as training reads and draws"


def write_ours(latents: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """The same bytes as a store of ours: half the numbers are means, half deviations, of half precision."""
    moments = torch.from_numpy(latents).view(torch.float16).reshape(COUNT, 1, 2, *SHAPE).expand(-1, 2, -1, -1, -1, -1)
    shards = []
    for start in range(0, COUNT, SHARD):
        path = folder / f"shard-{start}.safetensors"
        tensors = {"moments": moments[start : start + SHARD].contiguous()}
        save_file(tensors | {"labels": torch.from_numpy(labels[start : start + SHARD])}, path)
        shards.append(Shard(path.name, SHARD, sha256(path)))
    plan = Plan(SHAPE, 1.0, 0.0, "none", "", 256, "none", "noise", COUNT, SHARD, 1000, None, None)
    write_record(Manifest(plan, COUNT, tuple(shards)), folder / MANIFEST)


def open_ours(folder: Path) -> Gather:
    store = open_store(folder)
    return lambda indices: (store.gather(indices, np.zeros_like(indices)), store.labels[torch.from_numpy(indices)])


class Batches(Dataset):
    """Whole batches of a store, opened by each worker for itself."""

    def __init__(self, open_it: Callable[[Path], Gather], folder: Path) -> None:
        self.open_it, self.folder, self.gather = open_it, folder, None

    def __getitems__(self, indices: Sequence[int]) -> tuple:
        self.gather = self.gather or self.open_it(self.folder)
        return self.gather(np.array(indices))


class DrawnStream(TrainingStream):
    """What reaches the model, drawn from the posterior on the CPU; training draws where the model is."""

    def __getitems__(self, positions: Sequence[int]) -> torch.Tensor:
        x = super().__getitems__(positions).x
        return self.source.draw(x, torch.randn(len(x), *SHAPE))


class RandomBatches(Sampler):
    """Indices of random batches, without end."""

    def __iter__(self) -> Iterator[list[int]]:
        chance = np.random.default_rng(0)
        while True:
            yield chance.integers(0, COUNT, BATCH).tolist()


def speeds(dataset: Dataset, batches: Sampler, workers: int) -> list[float]:
    """Samples a second in each round, after one to warm up."""
    loader = iter(DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=lambda batch: batch))
    found = []
    for _ in range(ROUNDS + 1):
        start, read = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            next(loader)
            read += BATCH
        found.append(read / (time.perf_counter() - start))
    return found[1:]


def measure(place: Path) -> dict[str, dict[int, list[float]]]:
    """Speeds of each store with no worker and with two."""
    chance = np.random.default_rng(0)
    # Finite in half precision too, as which our own store sees the same bytes.
    halves = chance.standard_normal((COUNT, 2, *SHAPE)).astype(np.float16)
    latents = halves.reshape(COUNT, -1).view(np.float32).reshape(COUNT, *SHAPE)
    labels = chance.integers(0, 1000, COUNT)
    measured = {}
    for name, store in {**STORES, OURS: (write_ours, open_ours)}.items():
        write, open_it = store
        folder = place / name.split(",")[0].replace(" ", "-")
        folder.mkdir()
        try:
            write(latents, labels, folder)
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        counts = (0,) if name in UNFORKABLE else (0, 2)
        measured[name] = {workers: speeds(Batches(open_it, folder), RandomBatches(), workers) for workers in counts}
        if name == OURS:
            source = Latents(folder, True, vae_folder(place))
            batches = EndlessBatches(BATCH, 0, 1, 0)
            for way, stream in ((READ, TrainingStream(source, 0)), (DRAWN, DrawnStream(source, 0))):
                measured[way] = {workers: speeds(stream, batches, workers) for workers in (0, 2)}
        shutil.rmtree(folder)
    return measured


def vae_folder(place: Path) -> Path:
    """A folder that passes for a VAE's: nothing is decoded here."""
    folder = place / "vae"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.environ["DMP_CACHE"] = f"{place}/cache"
        measured = measure(Path(place))
    unit = median(measured[UNIT][0])
    table = Table(
        "Store", "One process", "of fast-DiT's way", "Two workers", title="Samples a second, median of rounds"
    )
    for name, found in sorted(measured.items(), key=lambda item: -median(item[1][0])):
        one, two = median(found[0]), f"{median(found[2]):,.0f}" if 2 in found else "–"
        table.add_row(name, f"{one:,.0f}", f"{one / unit:.1f} x", two)
    Console(width=120).print(table)
    record = {"measured": measured, "load": os.getloadavg()} | provenance("cpu")
    (HERE / "results" / "stores.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
