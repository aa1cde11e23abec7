"""Train the classifier of digits whose hidden layer gives the features of the default Fréchet distance.

python experiments/digits_classifier/train.py
"""

import json
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch.nn.functional import cross_entropy

from dmp_lightning.data.digits import HELD_OUT, load_split
from dmp_lightning.data.images import to_uint8
from dmp_lightning.evaluation.features import DigitsClassifier

SEEDS = (0, 1, 2)  # the weights of the first are shipped
EPOCHS, BATCH, RATE, WEIGHT_DECAY = 30, 64, 2e-3, 0.05
HERE = Path(__file__).parent


def main() -> None:
    """Train once for each seed, write the results, and ship the weights of the first."""
    torch.set_num_threads(1)  # the order of sums, and so the weights, would depend on the machine's cores
    results = []
    for seed in SEEDS:
        start = time.perf_counter()
        classifier = train(seed)
        seconds = round(time.perf_counter() - start, 1)
        if seed == SEEDS[0]:
            Path(str(DigitsClassifier.weights)).write_bytes(save(classifier.state_dict()))
        results.append({"seed": seed, "held_out_correct": correct(classifier), "seconds": seconds})
        print(results[-1])
    record = {
        "commit": "COMMIT",
        "command": "python experiments/digits_classifier/train.py",
        "torch": torch.__version__,
        "settings": {"epochs": EPOCHS, "batch": BATCH, "rate": RATE, "weight_decay": WEIGHT_DECAY},
        "held_out": HELD_OUT,
        "runs": results,
        "shipped": {"seed": SEEDS[0], "fingerprint": DigitsClassifier().fingerprint},
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "accuracy.json").write_text(json.dumps(record, indent=2) + "\n")


def train(seed: int) -> DigitsClassifier:
    """A classifier trained on the 1,437 training images by AdamW, its rate annealed to zero along a cosine."""
    torch.manual_seed(seed)
    images, labels = load_split(train=True)
    pixels = to_uint8(images)
    classifier = DigitsClassifier(pretrained=False)
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(BATCH):
            optimiser.zero_grad()
            cross_entropy(classifier.classify(pixels[batch]), labels[batch]).backward()
            optimiser.step()
        schedule.step()
    return classifier.eval()


@torch.no_grad()
def correct(classifier: DigitsClassifier) -> int:
    """How many of the held-out images it names rightly."""
    images, labels = load_split(train=False)
    return int((classifier.classify(to_uint8(images)).argmax(1) == labels).sum())


if __name__ == "__main__":
    main()
