"""Compiles each method of the contract, and names those that came through without a graph break, gradients too."""

import torch
from torch.testing import assert_close

from tests.methods.test_contract import TRAINABLE, base, batch, total_loss


def main() -> None:
    for name, case in TRAINABLE.items():
        method = case.build(base())
        arguments = batch(method, noisy=True)
        torch.compiler.reset()
        # Graph breaks come from tracing; what is generated then is the same for all, and takes a minute a method.
        compiled = torch.compile(method, backend="eager", fullgraph=True)
        (expected, gradients), (found, found_gradients) = (
            (prediction, torch.autograd.grad(total_loss(prediction), list(method.trained().values())))
            for prediction in (method(*arguments), compiled(*arguments))
        )
        assert_close(found.output, expected.output)
        assert_close(found.auxiliary, expected.auxiliary)
        assert_close(found_gradients, gradients)
        print(name)


if __name__ == "__main__":
    main()
