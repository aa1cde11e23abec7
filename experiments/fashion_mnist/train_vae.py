"""Train the small AutoencoderKL of this experiment: `python experiments/fashion_mnist/train_vae.py`.

Images 28x28 become latents (4, 7, 7). Interrupted and started again, it goes on after the last whole epoch. Writes
`vae/` in diffusers' format, with the scale that gives latents unit variance, and `results/vae.json`.
"""

import json
import time
from pathlib import Path

import lightning as L
import torch
from diffusers import AutoencoderKL
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from dmp_lightning.data.fashion_mnist import FashionMNIST
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.metrics.classifiers import FashionClassifier
from dmp_lightning.metrics.moments import Reference, moments
from dmp_lightning.runs.record import provenance

HERE = Path(__file__).parent
IMAGES = "/usr/share/datasets/fashion-mnist"  # where Debian's dataset-fashion-mnist puts it
EPOCHS, BATCH, RATE, KL_WEIGHT, SEED = 6, 128, 2e-3, 1e-4, 0


class Autoencoder(L.LightningModule):
    """Squared error of the pixels, and a little of the divergence from a standard normal (Rombach et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=4,
            sample_size=28,
            block_out_channels=(16, 16, 32),
            norm_num_groups=8,
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
        )

    def training_step(self, batch: list[Tensor]) -> Tensor:
        (images,) = batch
        posterior = self.vae.encode(images).latent_dist
        error = mse_loss(self.vae.decode(posterior.sample()).sample, images)
        divergence = posterior.kl().mean() / images[0].numel()
        self.log_dict({"squared error": error, "divergence": divergence}, prog_bar=True)
        return error + KL_WEIGHT * divergence

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=RATE, weight_decay=0.0)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)}


class ByEpoch(torch.utils.data.Sampler):
    """An order for each epoch that depends on its number alone, so that a resumed training sees what it would have."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self):
        torch.manual_seed(SEED * 1_000 + self.epoch)  # of what the posterior draws in this epoch, too
        return iter(torch.randperm(self.count).tolist())


@torch.no_grad()
def measure(vae: AutoencoderKL, images: Tensor) -> dict[str, float]:
    """How well the means of held-out images are decoded."""
    decoded = torch.cat([vae.decode(vae.encode(batch).latent_dist.mean).sample for batch in images.split(500)])
    squared = ((to_uint8(decoded).double() - to_uint8(images).double()) / 255).square().mean()
    features = FashionClassifier()
    statistics = [moments(torch.cat([features(part) for part in to_uint8(x).split(500)])) for x in (images, decoded)]
    return {
        "psnr_db": round(float(-10 * squared.log10()), 2),
        "frechet_fashion_classifier": round(float(Reference(statistics[0]).distance(statistics[1])), 3),
    }


def main() -> None:
    torch.manual_seed(SEED)
    module, train = Autoencoder(), FashionMNIST(IMAGES, True)
    checkpoints = ModelCheckpoint(HERE / "runs" / "vae", save_last=True)
    last = HERE / "runs" / "vae" / "last.ckpt"
    trainer = L.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, callbacks=[checkpoints, TQDMProgressBar(20)]
    )
    loader = DataLoader(TensorDataset(train.pixels), BATCH, sampler=ByEpoch(len(train)), drop_last=True)
    start = time.perf_counter()
    trainer.fit(module, loader, ckpt_path=last if last.exists() else None, weights_only=True)
    seconds = time.perf_counter() - start
    vae = module.vae.eval().requires_grad_(False)
    with torch.no_grad():
        latents = torch.cat([vae.encode(batch).latent_dist.sample() for batch in train.pixels[:10_000].split(500)])
    vae.register_to_config(
        scaling_factor=round(1 / float(latents.std()), 4), shift_factor=round(float(latents.mean()), 4)
    )
    vae.save_pretrained(HERE / "vae")
    record = {"epochs": EPOCHS, "batch": BATCH, "rate": RATE, "kl_weight": KL_WEIGHT, "seed": SEED}
    record |= {"parameters": sum(p.numel() for p in vae.parameters()), "last_session_seconds": round(seconds)}
    record |= {
        "held_out": measure(vae, FashionMNIST(IMAGES, False).pixels),
        "scaling_factor": vae.config.scaling_factor,
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "vae.json").write_text(json.dumps(record | provenance("cpu"), indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
