"""Leaving out what Lightning and other libraries print beside our own lines."""

import logging
import warnings

import lightning  # noqa: F401 - on import it gives its loggers levels and a handler of their own

OTHERS = r"(torch|torchvision|lightning|lightning_utilities|timm|diffusers|torchmetrics|wandb|huggingface_hub)\b"
"""Modules whose deprecations say nothing to who runs a command."""


def quiet() -> None:
    """Let Lightning speak only to warn, and once: not of loader workers, modules in eval mode, or deprecations."""
    logging.getLogger("lightning").handlers.clear()  # Hydra's handlers print the same again
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # a model of diffusers stays in it
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=OTHERS)
