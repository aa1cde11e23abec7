"""The LightningDataModule: a training stream that can start at any position, and the held-out samples."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import ceil
from typing import NamedTuple

import lightning as L
import torch
from jaxtyping import Int, Num
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dmp_lightning.condition import Condition
from dmp_lightning.data.source import Source, ignore_interrupts
from dmp_lightning.draws import Stream, generator
from dmp_lightning.user_error import UserError


class Batch(NamedTuple):
    """Samples `x` (B, ...), their `condition`, and `position` (B,).

    Loaders give `x` as it is stored; on the model's device, clean samples (B, C, H, W) take its place. In training the
    position is that in the endless stream of samples; in validation it is the sample's index. It stays on the CPU,
    where it seeds random generators.
    """

    x: Num[Tensor, "B ..."]
    condition: Condition
    position: Int[Tensor, " B"]

    def share(self, parts: int) -> tuple[int, int, slice]:
        """The step of this batch, the size of that step, and the rows of it that are here.

        Args:
            parts: batches of a step: one for each process, times those that gradients are accumulated over.
        """
        total = len(self.x) * parts
        number, first = divmod(int(self.position[0]), total)
        return number, total, slice(first, first + len(self.x))


class DiffusionData(L.LightningDataModule):
    """Streams of a training and a held-out source, sharded over processes.

    Args:
        train: samples to train on, and the reference of the Fréchet distance. validation: held-out samples.
        batch_size: samples of one step over all processes. workers: loader processes of each rank.
        seed: of the order of samples and of what is drawn of them.

    Raises:
        UserError: the batch is larger than the data, or cannot be shared evenly among the processes.
    """

    def __init__(self, train: Source, validation: Source, batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        if not 1 <= batch_size <= len(train):
            raise UserError(
                f"recipe.batch_size={batch_size}: choose 1 to {len(train)}, the number of training samples."
            )
        self.train, self.validation = train, validation
        self.batch_size, self.workers, self.seed = batch_size, workers, seed

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        if self.batch_size % world:
            raise UserError(
                f"recipe.batch_size={self.batch_size}: choose a multiple of {world}, the number of processes."
            )
        first = self.trainer.global_step * self.trainer.accumulate_grad_batches
        batches = EndlessBatches(self.batch_size, rank, world, first)
        return self._loader(TrainingStream(self.train, self.seed), batches)

    def val_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        count, world = len(self.validation), self.trainer.world_size
        # As many for each process, the first ones again if need be: sharded weights are gathered by all at once.
        mine = [index % count for index in range(self.trainer.global_rank, world * ceil(count / world), world)]
        share = max(1, self.batch_size // world)
        batches = [list(mine[start : start + share]) for start in range(0, len(mine), share)]
        return self._loader(HeldOut(self.validation), batches)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        x = batch.x.to(device, non_blocking=True)
        return batch._replace(x=x, condition=batch.condition.to(device, non_blocking=True))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Clean samples of what is stored: in training newly drawn, and the same for any number of processes."""
        assert self.trainer is not None
        if not self.trainer.training:
            return batch._replace(x=self.validation.draw(batch.x))
        if not self.train.moments:
            return batch._replace(x=self.train.draw(batch.x))
        number, total, mine = batch.share(self.trainer.world_size * self.trainer.accumulate_grad_batches)
        device = batch.x.device
        chance = generator(self.seed, Stream.DRAWS, number, device=device)
        noise = torch.randn(total, *self.train.sample_shape, generator=chance, device=device)
        return batch._replace(x=self.train.draw(batch.x, noise[mine]))

    def _loader(self, dataset: Dataset, batches: Sampler | Sequence[list[int]]) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=_unchanged,  # type: ignore[arg-type]  # a source gives whole batches
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=ignore_interrupts,
            pin_memory=torch.cuda.is_available(),
        )


def _unchanged(batch: Batch) -> Batch:
    return batch


class EndlessBatches(Sampler[list[int]]):
    """Positions of the stream that this rank takes at each step, from step `first` on, without end."""

    def __init__(self, batch_size: int, rank: int, world: int, first: int) -> None:
        self.batch_size, self.first, self.share = batch_size, first, batch_size // world
        self.offset = rank * self.share

    def __iter__(self) -> Iterator[list[int]]:
        start = self.first * self.batch_size + self.offset
        while True:
            yield list(range(start, start + self.share))
            start += self.batch_size


class TrainingStream(Dataset):
    """Position p of an endless stream is a sample of pass p // N, each pass in an order of its own.

    Order and versions depend on the seed and the position alone, so a stream can be entered anywhere.
    """

    def __init__(self, source: Source, seed: int) -> None:
        self.source, self.seed = source, seed

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        size, versions = len(self.source), self.source.versions
        passes = {number: _pass(size, versions, self.seed, number) for number in {p // size for p in positions}}
        indices, drawn = zip(*(passes[p // size][p % size] for p in positions), strict=True)
        return Batch(*self.source.read(indices, drawn), torch.as_tensor(positions))


@lru_cache(maxsize=2)
def _pass(size: int, versions: int, seed: int, number: int) -> list[tuple[int, int]]:
    """A pass over all samples: their indices in order, and the version of each."""
    chance = generator(seed, Stream.ORDER, number)
    order = torch.randperm(size, generator=chance).tolist()
    return list(zip(order, torch.randint(versions, (size,), generator=chance).tolist(), strict=True))


class HeldOut(Dataset):
    """The samples of a source, each as it is."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return Batch(*self.source.read(indices), torch.as_tensor(indices))
