"""Training samples of stored latents: drawn anew each time, and the same however they are read."""

import time
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dmp_lightning.data.digits import Digits
from dmp_lightning.data.latents.source import Latents
from dmp_lightning.data.source import Stored
from dmp_lightning.data.stream import DiffusionData
from tests.data.test_latents import write_store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Latents:
    """45 training latents."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMP_CACHE", str(folder / "cache"))
        return Latents(write_store(folder), train=True, vae=folder / "vae")


def drawn(
    source: Latents,
    steps: int,
    batch_size: int = 9,
    rank: int = 0,
    world: int = 1,
    first: int = 0,
    training: bool = True,
) -> Tensor:
    """Samples as they reach the model, `steps` batches of them, one after another."""
    data = DiffusionData(source, source, batch_size, workers=0, seed=0)
    data.trainer = SimpleNamespace(
        global_rank=rank, world_size=world, global_step=first, accumulate_grad_batches=1, training=training
    )
    loader = data.train_dataloader() if training else data.val_dataloader()
    batches = (data.transfer_batch_to_device(batch, CPU, 0) for batch in islice(loader, steps))
    return torch.cat([data.on_after_batch_transfer(batch, 0).x for batch in batches])


def test_each_pass_draws_all_samples_anew_half_of_them_mirrored(latents: Latents) -> None:
    passes = 40
    samples = drawn(latents, 5 * passes)
    stored = torch.stack([latents.read(range(45), [mirror] * 45).x for mirror in (0, 1)])
    mean, std = (latents.draw(stored[:, :, part].flatten(0, 1)[:, None]) for part in (0, 1))
    zero = latents.draw(torch.zeros(1, 1, 4, 8, 8))
    # Of which posterior a sample is shows in how far it is from each mean, in units of that one's deviation.
    squared = ((samples[:, None] - mean) / (std - zero).clamp(min=1e-3)).square()
    likelihood = -(squared / 2 + (std - zero).clamp(min=1e-3).log()).flatten(2).sum(2)
    image, mirrored = likelihood.argmax(1) % 45, likelihood.argmax(1) // 45
    counts = torch.bincount(image, minlength=45)
    assert counts.tolist() == [passes] * 45
    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.5 / (45 * passes) ** 0.5
    assert len(samples.flatten(1).unique(dim=0)) == 45 * passes


def test_processes_share_the_samples_of_one_and_a_resumed_stream_goes_on(latents: Latents) -> None:
    whole = drawn(latents, 12, batch_size=10)
    shares = [drawn(latents, 12, batch_size=10, rank=rank, world=2).view(12, 5, 4, 8, 8) for rank in range(2)]
    assert torch.equal(torch.cat(shares, 1).flatten(0, 1), whole)
    assert torch.equal(drawn(latents, 5, batch_size=10, first=7), whole[70:])


def test_validation_takes_the_means(latents: Latents) -> None:
    assert torch.equal(drawn(latents, 5, training=False), latents.draw(latents.read(range(45)).x))


class Slow(Digits):
    """Digits that take a while to read."""

    seconds = 0.5

    def read(self, indices: list[int], versions: list[int] | None = None) -> Stored:
        time.sleep(self.seconds)
        return super().read(indices, versions)


def test_the_next_batch_is_ready_before_it_is_asked_for() -> None:
    data = DiffusionData(Slow(True), Digits(False), 10, workers=1, seed=0)
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, global_step=0, accumulate_grad_batches=1)
    loader = iter(data.train_dataloader())
    next(loader)
    time.sleep(3 * Slow.seconds)  # as a training step does
    start = time.perf_counter()
    next(loader)
    assert time.perf_counter() - start < Slow.seconds / 2
