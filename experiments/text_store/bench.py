"""How fast a store of texts gives random batches: `python experiments/text_store/bench.py`.

8,000 texts in half precision, of 4 to 60 tokens at width 384, or 600 of 20 to 120 tokens at width 4,096, read into
padded batches of 128 with their masks, from the page cache: by our store, and from one `.npy` a caption. Both give the
same batches, which is compared first, and take turns in one process. Writes `results/stores.json`, prints the table.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.captions.captions import Captions
from dmp_lightning.data.texts.manifest import Encoding
from dmp_lightning.data.texts.store import Texts
from dmp_lightning.data.texts.writing import write_texts
from dmp_lightning.runs.record import provenance

HERE = Path(__file__).parent
BATCH, ROUNDS, SECONDS = 128, 9, 1.0
SIZES = {384: (8_000, 4, 60), 4_096: (600, 20, 120)}
"""By width: texts, and their fewest and most tokens."""
Gather = Callable[[np.ndarray], Condition]


class Noise:
    """Stands in for a text encoder: a text is a number, and its states are drawn by it."""

    def __init__(self, width: int, fewest: int, most: int) -> None:
        self.width, self.fewest, self.most = width, fewest, most
        self.encoding = Encoding("noise", None, "0" * 64, "noise", {"text": most}, masked=True)

    def states(self, text: str) -> Tensor:
        chance = torch.Generator().manual_seed(int(text or -1) % 2**31)
        length = int(torch.randint(self.fewest, self.most + 1, (), generator=chance))
        return torch.randn(length, self.width, generator=chance)

    def encode(self, texts: Sequence[str]) -> Condition:
        rows = [self.states(text) for text in texts]
        states = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return Condition(text=states, mask=torch.arange(states.shape[1]) < torch.tensor([[len(row)] for row in rows]))

    def null(self) -> Condition:
        return self.encode([""])

    def count_cut(self, texts: Sequence[str]) -> int:
        return 0


def write_both(noise: Noise, count: int, folder: Path) -> dict[str, Gather]:
    """The same texts in a store of ours, and in one file a caption; and how each is read."""
    names = [str(number) for number in range(count)]
    write_texts(Captions(names, [[name] for name in names], ""), noise, folder / "ours", dtype="float16", batch_size=64)
    (folder / "files").mkdir()
    for name in names:
        np.save(folder / "files" / f"{name}.npy", noise.states(name).half().numpy())

    def read_files(numbers: np.ndarray) -> Condition:
        rows = [np.load(folder / "files" / f"{number}.npy") for number in numbers]
        lengths = np.array([len(row) for row in rows])
        states = np.zeros((len(rows), lengths.max(), noise.width), np.float16)
        for place, row in enumerate(rows):
            states[place, : len(row)] = row
        mask = np.arange(lengths.max()) < lengths[:, None]
        return Condition(text=torch.from_numpy(states), mask=torch.from_numpy(mask))

    store = Texts(folder / "ours", dtype="float16")
    return {"ours": store.read, "one .npy a caption": read_files}


def speeds(ways: dict[str, Gather], count: int) -> dict[str, list[float]]:
    """Batches a CPU second of each way in each round, in turn, after one round to warm up."""
    chance, found = np.random.default_rng(0), {name: list[float]() for name in ways}
    for _ in range(ROUNDS + 1):
        for name, gather in ways.items():
            start, read = time.process_time(), 0
            while time.process_time() - start < SECONDS:
                gather(chance.integers(0, count, BATCH))
                read += 1
            found[name].append(read / (time.process_time() - start))
    return {name: each[1:] for name, each in found.items()}


def main() -> None:
    torch.set_num_threads(1)
    measured, table = {}, Table("Width", "Store", "Batches a CPU second", "of one .npy a caption", title="Medians")
    with tempfile.TemporaryDirectory() as place:
        os.environ["DMP_CACHE"] = f"{place}/cache"
        for width, (count, fewest, most) in SIZES.items():
            folder = Path(place, str(width))
            folder.mkdir()
            ways = write_both(Noise(width, fewest, most), count, folder)
            one, two = (gather(np.arange(BATCH)) for gather in ways.values())
            assert torch.equal(one.text, two.text)
            assert torch.equal(one.mask, two.mask)
            measured[width] = speeds(ways, count)
            ours, theirs = measured[width].values()
            ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
            for name, found in measured[width].items():
                shown = f"{median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})" if name == "ours" else "1"
                table.add_row(f"{width:,}", name, f"{median(found):,.0f}", shown)
    Console(width=120).print(table)
    record = {"measured": measured, "sizes": SIZES, "load": os.getloadavg()} | provenance("cpu")
    (HERE / "results" / "stores.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
