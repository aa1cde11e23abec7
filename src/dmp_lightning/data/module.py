"""The LightningDataModule: a training stream that can start at any position, and the held-out samples."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import lightning as L
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dmp_lightning.data.source import Source
from dmp_lightning.data.workers import ignore_interrupts
from dmp_lightning.diffusion.random import Stream, generator


class Batch(NamedTuple):
    """Clean samples `x` (B, C, H, W), labels `y` (B,), and `position` (B,).

    In training the position is that in the endless stream of samples; in validation the sample's index.
    """

    x: Float[Tensor, "B C H W"]
    y: Int[Tensor, " B"]
    position: Int[Tensor, " B"]


class DiffusionData(L.LightningDataModule):
    """Streams of a training and a held-out source, sharded over processes.

    Args:
        train: what is trained on, and the reference of the Fréchet distance. validation: held-out samples.
        batch_size: samples of one step over all processes. workers: loader processes of each rank.
        seed: of the order of samples and what is drawn of them.

    Raises:
        ValueError: the batch is larger than the data, or cannot be shared evenly among the processes.
    """

    def __init__(self, train: Source, validation: Source, batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        if not 1 <= batch_size <= len(train):
            raise ValueError(f"batch_size={batch_size}: choose one from 1 to {len(train)}, the number of samples.")
        self.train, self.validation = train, validation
        self.batch_size, self.workers, self.seed = batch_size, workers, seed

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        if self.batch_size % world:
            raise ValueError(f"batch_size={self.batch_size} cannot be shared evenly among {world} processes.")
        first = self.trainer.global_step * self.trainer.accumulate_grad_batches
        batches = EndlessBatches(self.batch_size, rank, world, first)
        return self._loader(TrainingStream(self.train, self.seed), batches)

    def val_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        mine = range(self.trainer.global_rank, len(self.validation), self.trainer.world_size)
        share = max(1, self.batch_size // self.trainer.world_size)
        batches = [list(mine[start : start + share]) for start in range(0, len(mine), share)]
        return self._loader(HeldOut(self.validation), batches)

    def _loader(self, dataset: Dataset, batches: Sampler | Sequence[list[int]]) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # a source gives whole batches
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=ignore_interrupts,
            pin_memory=torch.cuda.is_available(),
        )


def _as_it_is(batch: Batch) -> Batch:
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

    Order and draws depend on the seed and the position alone, so a stream can be entered anywhere.
    """

    def __init__(self, source: Source, seed: int) -> None:
        self.source, self.seed = source, seed

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        size = len(self.source)
        indices = [_order(size, self.seed, p // size)[p % size] for p in positions]
        chances = (generator(self.seed, Stream.DRAWS, position) for position in positions)  # made when asked for
        return Batch(*self.source.draw(indices, chances), torch.as_tensor(positions))


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> list[int]:
    """The order of the samples in a pass over them."""
    return torch.randperm(size, generator=generator(seed, Stream.ORDER, epoch)).tolist()


class HeldOut(Dataset):
    """The samples of a source, without chance."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return Batch(*self.source.draw(indices, None), torch.as_tensor(indices))
