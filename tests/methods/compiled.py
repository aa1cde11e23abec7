"""Compiles each method of the contract, and names those that came through without a graph break."""

import torch

from tests.methods.test_contract import TRAINABLE, base, batch


def main() -> None:
    for name, case in TRAINABLE.items():
        method = case.build(base())
        arguments = batch(method, noisy=True)
        expected = method(*arguments)
        torch.compiler.reset()
        # Graph breaks come from tracing; what is generated then is the same for all, and takes a minute a method.
        found = torch.compile(method, backend="eager", fullgraph=True)(*arguments)
        torch.testing.assert_close(found.output, expected.output)
        torch.testing.assert_close(found.auxiliary, expected.auxiliary)
        print(name)


if __name__ == "__main__":
    main()
