"""The stream of training samples: complete, in a new order each pass, the same from wherever it is entered."""

from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from dmp_lightning.data.digits import Digits
from dmp_lightning.data.stream import Batch, DiffusionData


def data(
    batch_size: int = 100, rank: int = 0, world: int = 1, step: int = 0, workers: int = 0, seed: int = 0
) -> DiffusionData:
    module = DiffusionData(Digits(True), Digits(False), batch_size, workers, seed)
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world, global_step=step, accumulate_grad_batches=1)
    return module


def stream(count: int, **options: int) -> list[Batch]:
    return list(islice(data(**options).train_dataloader(), count))


def test_each_pass_holds_every_sample_once_in_a_new_order() -> None:
    source = Digits(True)
    x = torch.cat([batch.x for batch in stream(29)])  # two passes of 1,437 and a little
    passes = [x[: len(source)], x[len(source) : 2 * len(source)]]
    expected = sorted(map(bytes, source.pixels.numpy()))
    for one in passes:
        assert sorted(map(bytes, one.numpy())) == expected
    assert not torch.equal(*passes)


@pytest.mark.parametrize("workers", [0, 2])
def test_entered_at_any_step_it_goes_on_as_if_never_left(workers: int) -> None:
    whole = stream(20)
    resumed = stream(6, step=14, workers=workers)
    for one, other in zip(whole[14:], resumed, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.condition.label, other.condition.label)
        assert torch.equal(one.position, other.position)


def test_two_processes_share_the_batch_of_one() -> None:
    one = stream(3)
    halves = zip(stream(3, rank=0, world=2), stream(3, rank=1, world=2), strict=True)
    for whole, (first, second) in zip(one, halves, strict=True):
        assert torch.equal(whole.x, torch.cat([first.x, second.x]))
        assert torch.equal(whole.position, torch.cat([first.position, second.position]))


def test_the_seed_decides_the_order() -> None:
    assert torch.equal(stream(1)[0].x, stream(1)[0].x)
    assert not torch.equal(stream(1)[0].x, stream(1, seed=1)[0].x)


@pytest.mark.parametrize("world", [1, 2, 7])
def test_validation_holds_each_sample_in_as_many_batches_on_each_process(world: int) -> None:
    shares = [[batch.position for batch in data(rank=rank, world=world).val_dataloader()] for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    positions = torch.cat([position for share in shares for position in share]).tolist()
    again = -len(Digits(False)) % world  # for the processes that would have had one sample less
    assert sorted(positions) == sorted([*range(360), *range(again)])


@pytest.mark.parametrize("size", [0, 1438])
def test_a_batch_that_the_data_cannot_fill_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"recipe.batch_size={size}: choose 1 to 1437"):
        data(batch_size=size)


def test_a_batch_that_processes_cannot_share_is_an_error() -> None:
    with pytest.raises(ValueError, match="choose a multiple of 3, the number of processes"):
        data(world=3).train_dataloader()
