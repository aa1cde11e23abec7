"""Options of Lightning's trainer that would make a run do something else than its record says: refused by name."""

import torch
from omegaconf import DictConfig

from dmp_lightning.user_error import UserError

SMALL = "for a short try, set recipe.max_steps, recipe.validate_every and evaluation.samples"
STEPS = "recipe.max_steps says how long a run takes"
ENDLESS = "the stream of samples is endless, so that there are no epochs"
OWN = "a run has its own"

REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "fast_dev_run": ((False, 0), SMALL),
    "limit_train_batches": ((None, 1.0), SMALL),
    "limit_val_batches": ((None, 1.0), f"all held-out samples are compared; {SMALL}"),
    "overfit_batches": ((0, 0.0), SMALL),
    "num_sanity_val_steps": ((0,), "the base is validated before training in any case"),
    "barebones": ((False,), SMALL),
    "max_time": ((None,), f"{STEPS}, or budget=seconds"),
    "max_epochs": ((None, -1), f"{ENDLESS}; {STEPS}"),
    "min_epochs": ((None,), f"{ENDLESS}; {STEPS}"),
    "min_steps": ((None,), STEPS),
    "check_val_every_n_epoch": ((None,), f"{ENDLESS}; set recipe.validate_every"),
    "reload_dataloaders_every_n_epochs": ((0,), ENDLESS),
    "use_distributed_sampler": ((False,), "the data module shares samples among the processes itself"),
    "enable_checkpointing": ((None, True), "a run that cannot be resumed is none; set recipe.checkpoint_every"),
    "logger": ((), "choose logger=wandb_csv or logger=csv"),
    "callbacks": ((), OWN),
    "plugins": ((), OWN),
    "default_root_dir": ((), "set hydra.run.dir"),
}
"""By option: the values that it may have, and what to do instead. Numbers are of that very type: 1 is one batch, and
1.0 is all of them."""

FOLLOWING = {"max_steps": "max_steps", "val_check_interval": "validate_every"}
"""Options that are those of the recipe."""


def check_trainer(config: DictConfig) -> None:
    """Make sure that the trainer does all that a run is made of.

    Raises:
        UserError: an option would leave some of it out.
    """
    trainer = config.trainer
    check_accelerator(config)
    for name, (allowed, remedy) in REFUSED.items():
        if name in trainer and not any(
            type(trainer[name]) is type(value) and trainer[name] == value for value in allowed
        ):
            raise UserError(f"trainer.{name}={trainer[name]} does not go with runs of this kind: {remedy}.")
    for name, own in FOLLOWING.items():
        if trainer[name] != config.recipe[own]:
            raise UserError(f"trainer.{name}={trainer[name]}: set recipe.{own}, which it follows.")
    count = trainer.get("accumulate_grad_batches", 1)
    if type(count) is not int or count < 1:
        raise UserError(f"trainer.accumulate_grad_batches={count}: choose 1 or more batches to make up a step.")


def check_accelerator(config: DictConfig) -> None:
    """Make sure that this machine has the accelerator that is asked for.

    Raises:
        UserError: it has not.
    """
    wanted, cuda, mps = config.trainer.accelerator, torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(wanted, True):
        raise UserError(
            f"trainer.accelerator={wanted}: PyTorch finds none here. Choose trainer.accelerator=auto, or cpu."
        )
