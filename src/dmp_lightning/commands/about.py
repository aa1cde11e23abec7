"""The part of a patch file that says how it was trained."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.build import method_on
from dmp_lightning.commands.build_training import learning_rates
from dmp_lightning.methods import Method
from dmp_lightning.training.outcome import Outcome

PLACES = ("folder", "path")
"""Keys of a source of data that say where it is."""


def about_patch(config: DictConfig, method: Method, steps: int) -> dict[str, Any]:
    """Name, description of the method, and a summary of the training, as plain values."""
    rates = learning_rates(config.recipe, method)
    training = {
        "steps": steps,
        "seed": config.seed,
        "data": _data_name(config.data.train),
        "batch_size": config.recipe.batch_size,
        "learning_rates": {group: rates[group] for group in method.parameter_groups()},
        "ema_decay": config.recipe.ema_decay,
    }
    settings = OmegaConf.to_container(method_on(config, method.backbone), resolve=True)
    return {"name": config.name, "method": settings, "training": training}


def losses(base: Outcome, trained: Outcome) -> dict[str, Any]:
    """The held-out loss before and after, and its paired change with the ends of the 95% interval."""
    assert trained.comparison is not None  # only the base itself is compared with nothing
    change = trained.comparison.overall.interval
    return {"loss_before": base.loss, "loss_after": trained.loss, "loss_change": change._asdict()}


def _data_name(source: DictConfig) -> str:
    """The class of the source, and the last part of its folder: the rest of a path is the user's own affair."""
    places = [Path(str(source[key])).name for key in PLACES if source.get(key)]
    return " ".join([str(source["_target_"]).rpartition(".")[2], *places])
