"""Train the network that measures emoji: pictures near the sentence vectors of their captions, far from others'.

python experiments/emoji_encoder/train.py
"""

import json
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from dmp_lightning.commands.resolvers import PACKAGE
from dmp_lightning.data.captioned import Captioned
from dmp_lightning.data.small_pictures import captioned_pictures
from dmp_lightning.metrics.emoji_encoder import FILE, EmojiEncoder
from dmp_lightning.runs.record import provenance

HERE = Path(__file__).parent
DATA = HERE.parent / "emoji_pretrain"
SETTINGS = {"steps": 1_000, "batch": 128, "rate": 2e-3, "weight_decay": 0.05, "temperature": 0.07, "shift": 3}


def main() -> None:
    """Train, write the results, and ship the weights."""
    torch.set_num_threads(1)  # the order of sums, and so the weights, would depend on the machine's cores
    torch.manual_seed(0)
    source, held_out = data(train=True), data(train=False)
    start = time.perf_counter()
    encoder = train(source)
    (PACKAGE / "assets" / FILE).write_bytes(save(encoder.state_dict()))
    record = {"settings": SETTINGS, "seconds": round(time.perf_counter() - start, 1)}
    record |= {"held_out": measure(encoder, held_out), "training": measure(encoder, source)} | provenance("cpu")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "encoder.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def data(train: bool) -> Captioned:
    """The emoji under the sentence vectors of their captions."""
    return captioned_pictures(str(DATA / "pictures.zip"), str(DATA / "texts"), 32, train, takes=["pooled"])


def train(source: Captioned) -> EmojiEncoder:
    """A network whose vector of a picture is nearer to its caption than to the others of a batch, and the reverse."""
    encoder = EmojiEncoder(pretrained=False)
    optimiser = torch.optim.AdamW(encoder.parameters(), SETTINGS["rate"], weight_decay=SETTINGS["weight_decay"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, int(SETTINGS["steps"]))
    truth = torch.arange(int(SETTINGS["batch"]))
    for _ in trange(int(SETTINGS["steps"])):
        chosen = torch.randint(len(source), (len(truth),)).tolist()
        versions = torch.randint(source.versions, (len(truth),)).tolist()
        images, condition = source.read(chosen, versions)
        assert condition.pooled is not None
        likeness = encoder.vectors(shifted(images)) @ F.normalize(condition.pooled, dim=1).T / SETTINGS["temperature"]
        optimiser.zero_grad()
        (F.cross_entropy(likeness, truth) + F.cross_entropy(likeness.T, truth)).backward()
        optimiser.step()
        schedule.step()
    return encoder.eval()


def shifted(images: Tensor) -> Tensor:
    """The pictures moved by some pixels, on white."""
    reach = int(SETTINGS["shift"])
    wide = F.pad(images, [reach] * 4, value=255)
    places = torch.randint(2 * reach + 1, (len(images), 2)).tolist()
    side = images.shape[-1]
    return torch.stack(
        [one[:, top : top + side, left : left + side] for one, (top, left) in zip(wide, places, strict=True)]
    )


@torch.no_grad()
def measure(encoder: EmojiEncoder, source: Captioned) -> dict[str, float]:
    """How often a picture's own caption is the nearest, or one of the five nearest, and the mean cosines."""
    images, condition = source.read(range(len(source)))
    assert condition.pooled is not None
    likeness = encoder.vectors(images) @ F.normalize(condition.pooled, dim=1).T
    own = likeness.diagonal()
    rank = (likeness > own[:, None]).sum(1)
    others = (likeness.sum() - own.sum()) / (likeness.numel() - len(own))
    return {
        "pictures": len(own),
        "first": float((rank == 0).float().mean()),
        "first_five": float((rank < 5).float().mean()),
        "cosine_own": float(own.mean()),
        "cosine_others": float(others),
    }


if __name__ == "__main__":
    main()
