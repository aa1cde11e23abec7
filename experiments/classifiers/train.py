"""Train the classifiers whose hidden layers give the features of Fréchet distances between small images.

python experiments/classifiers/train.py digits
python experiments/classifiers/train.py fashion_mnist
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import trange

from dmp_lightning.commands.resolvers import PACKAGE
from dmp_lightning.data.digits import load_split
from dmp_lightning.data.fashion_mnist import FashionMNIST
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.metrics.classifiers import Classifier, DigitsClassifier, FashionClassifier
from dmp_lightning.runs.record import provenance

SEEDS = (0, 1, 2)  # the weights of the first are shipped
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """AdamW, its rate annealed to zero along a cosine."""

    epochs: int
    batch: int
    rate: float
    weight_decay: float


def digits(train: bool) -> tuple[Tensor, Tensor]:
    """8-bit images and labels."""
    images, labels = load_split(train)
    return to_uint8(images), labels


def fashion_mnist(train: bool) -> tuple[Tensor, Tensor]:
    """8-bit images and labels, from where Debian puts them."""
    source = FashionMNIST("/usr/share/datasets/fashion-mnist", train)
    return to_uint8(source.pixels), source.labels


CASES: dict[str, tuple[Callable[[bool], tuple[Tensor, Tensor]], type[Classifier], Settings]] = {
    "digits": (digits, DigitsClassifier, Settings(epochs=30, batch=64, rate=2e-3, weight_decay=0.05)),
    "fashion_mnist": (fashion_mnist, FashionClassifier, Settings(epochs=3, batch=128, rate=2e-3, weight_decay=0.05)),
}


def main() -> None:
    """Train once for each seed, write the results, and ship the weights of the first."""
    name = sys.argv[1]
    torch.set_num_threads(1)  # the order of sums, and so the weights, would depend on the machine's cores
    load, kind, settings = CASES[name]
    images, labels = load(False)
    runs = []
    for seed in SEEDS:
        start = time.perf_counter()
        classifier = train(kind, settings, *load(True), seed)
        seconds = round(time.perf_counter() - start, 1)
        if seed == SEEDS[0]:
            (PACKAGE / "assets" / kind.file).write_bytes(save(classifier.state_dict()))
        runs.append({"seed": seed, "held_out_correct": correct(classifier, images, labels), "seconds": seconds})
        print(runs[-1])
    shipped = {"seed": SEEDS[0], "fingerprint": kind().fingerprint}
    record = {"settings": asdict(settings), "held_out": len(labels), "runs": runs, "shipped": shipped}
    record |= provenance("cpu")
    (HERE / "results" / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def train(kind: type[Classifier], settings: Settings, images: Tensor, labels: Tensor, seed: int) -> Classifier:
    """A classifier of `kind`, trained on these images."""
    torch.manual_seed(seed)
    classifier = kind(pretrained=False)
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    for _ in trange(settings.epochs, desc=f"seed {seed}"):
        for batch in torch.randperm(len(labels)).split(settings.batch):
            optimiser.zero_grad()
            cross_entropy(classifier.classify(images[batch]), labels[batch]).backward()
            optimiser.step()
        schedule.step()
    return classifier.eval()


@torch.no_grad()
def correct(classifier: Classifier, images: Tensor, labels: Tensor) -> int:
    """How many of these images it names rightly."""
    return int((classifier.classify(images).argmax(1) == labels).sum())


if __name__ == "__main__":
    main()
