"""An optimiser's step may take several batches, whose gradients are accumulated."""

import lightning as L


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the optimiser has taken a step after the batch of that index, which is the last one of the step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0
