"""Takes the gradients of each method of the contract over two processes, and names those that are as one process's."""

import os
import socket

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from dmp_lightning.methods import Method
from tests.methods.test_contract import TRAINABLE, base, batch

RANKS = 2


def gradients(method: Method, share: slice) -> dict[str, Tensor]:
    """Of a loss of that share of the batch; the optimiser's view, each parameter has one."""
    x, t, y, noise = batch(method, noisy=True)
    parallel = DistributedDataParallel(method) if dist.is_initialized() else method
    mine = None if noise is None else noise[:, share]
    prediction = parallel(x[share], t[share], y.take(share), mine)
    (prediction.output.square().mean() + sum(prediction.auxiliary.values())).backward()
    return {name: value.grad for name, value in method.trained().items()}


def rank(index: int, port: int, expected: dict[str, dict[str, Tensor]]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=index, world_size=RANKS)
    for name, case in TRAINABLE.items():
        method = moved(case.build(base()))
        found = gradients(method, slice(3 * index, 3 * index + 3))
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-6)
        if index == 0:
            print(name, flush=True)
    dist.destroy_process_group()


def moved(method: Method) -> Method:
    """Away from zero, where many gradients are none."""
    generator = torch.Generator().manual_seed(2)
    for value in method.trained().values():
        value.data += 0.1 * torch.randn(value.shape, generator=generator)
    return method


def main() -> None:
    expected = {name: gradients(moved(case.build(base())), slice(0, 6)) for name, case in TRAINABLE.items()}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(rank, (port, expected), RANKS)


if __name__ == "__main__":
    main()
