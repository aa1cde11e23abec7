"""The LightningModule: trains one method under the diffusion objective, and saves and restores what it trains."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dmp_lightning.condition import Condition
from dmp_lightning.data.stream import Batch
from dmp_lightning.diffusion.process import Process
from dmp_lightning.draws import Stream, generator
from dmp_lightning.methods import Method
from dmp_lightning.metrics.paired_loss import per_sample_losses, validation_draws
from dmp_lightning.patching.objective import Draws, draw, loss_of
from dmp_lightning.user_error import UserError


class NonFiniteLossError(UserError):
    """Training has diverged, or the data hold NaN."""

    def __init__(self, step: int, times: list[float]) -> None:
        where = f"at timesteps {times}" if times else "in the balance losses"
        super().__init__(
            f"The loss of step {step} is not finite {where}: lower recipe.learning_rates, or set "
            "trainer.gradient_clip_val, and start a new run."
        )


class DiffusionModule(L.LightningModule):
    """Trains a method on its backbone.

    Args:
        method: a backbone with the parameters to train. process: the diffusion process and its objective.
        optimizer, lr_scheduler: build them from parameter groups, and from the optimiser.
        learning_rates: by the method's parameter group (`prompts`, `gate`, `backbone`, `lora`, `adaln`).
        strata: times at which each held-out sample's loss is taken.
        seed, validation_seed: of the draws of training and validation.
        base: what says which the pre-trained weights are, see `methods.patches.base_of`; kept in checkpoints.

    Raises:
        UserError: a parameter group has no learning rate; on resuming, the checkpoint is of another method or base.
    """

    strict_loading = False  # checkpoints hold the trained weights alone; `on_load_checkpoint` checks the keys

    def __init__(
        self,
        method: Method,
        process: Process,
        *,
        optimizer: Callable[..., Optimizer],
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None,
        learning_rates: Mapping[str, float],
        strata: int,
        seed: int,
        validation_seed: int,
        base: str | dict[str, Any],
    ) -> None:
        super().__init__()
        unknown = method.parameter_groups().keys() - learning_rates.keys()
        if unknown:
            raise UserError(f"recipe.learning_rates lacks {', '.join(sorted(unknown))}: set a rate for each group.")
        self.method, self.process, self.learning_rates = method, process, dict(learning_rates)
        self.build_optimizer, self.build_scheduler = optimizer, lr_scheduler
        self.strata, self.base = strata, base
        self.seed, self.validation_seed = seed, validation_seed

    def configure_optimizers(self) -> Any:
        groups = [
            {"params": parameters, "lr": self.learning_rates[name], "name": name}
            for name, parameters in self.method.parameter_groups().items()
        ]
        optimizer = self.build_optimizer(groups)
        if self.build_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.build_scheduler(optimizer), "interval": "step"},
        }

    def training_step(self, batch: Batch) -> dict[str, Any]:
        """The `loss` of a batch, and the values to be `logged`.

        Raises:
            NonFiniteLossError: the loss is NaN or infinite; the weights are still those of the step before.
        """
        drawn = self._draw(batch)
        loss = loss_of(self.method, self.process, batch.x, batch.condition, drawn)
        if not loss.total.isfinite():
            where = sorted(drawn.t[~loss.samples.isfinite()].tolist())
            raise NonFiniteLossError(self.trainer.global_step + 1, where)
        logged = {f"train/{name}": value.detach() for name, value in ({"loss": loss.total} | loss.parts).items()}
        return {"loss": loss.total, "logged": logged}

    def validation_step(self, batch: Batch) -> Float[Tensor, "B S"]:
        """The objective of each held-out sample at one time of each stratum, for the same draws at any time."""
        shape = tuple(batch.x.shape[1:])
        t, noise = validation_draws(self.validation_seed, batch.position.tolist(), self.strata, self.process, shape)

        def model(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            return self.method(x, t, condition).output

        condition = self.method.backbone.known(batch.condition)
        return per_sample_losses(model, self.process, batch.x, condition, t, noise)

    def _draw(self, batch: Batch) -> Draws:
        """This batch's share of one step's draws: the same for any number of processes and of batches that gradients
        are accumulated over, and after a resume.

        All of it is drawn by each process, on the device of the model: for a GPU that takes no time.
        """
        number, total, mine = batch.share(self.trainer.world_size * self.trainer.accumulate_grad_batches)
        source = generator(self.seed, Stream.TRAINING, number, device=self.device)
        shape = torch.Size([total, *batch.x.shape[1:]])
        return draw(self.method, self.process, shape, source, self.device).take(mine)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = {f"method.{name}" for name in self.method.trained()}
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in kept}
        checkpoint["base"] = self.base

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint.get("base") != self.base:
            raise UserError(
                "The checkpoint was trained on another base: set backbone.weights and backbone.dtype to those of its "
                "run."
            )
        shapes = {f"method.{name}": tuple(value.shape) for name, value in self.method.trained().items()}
        found = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
        if shapes != found:
            name = sorted(name for name, _ in shapes.items() ^ found.items())[0]
            raise UserError(
                f"The checkpoint was made with another method or options ({name} is {found.get(name, 'missing')} in "
                f"it, {shapes.get(name, 'missing')} here): resume with the config of its run."
            )
