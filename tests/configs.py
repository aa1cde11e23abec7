"""Composing configs in tests as the command line does."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from dmp_lightning.backbones import Backbone
from dmp_lightning.commands.cli import CONFIG_DIR, register_resolvers
from dmp_lightning.methods import Method, read_patch
from dmp_lightning.patching.parse import from_file

SMALL = [
    "evaluation.samples=60",
    "evaluation.batch_size=30",
    "evaluation.strata=4",
    "sampler.steps=5",
    "recipe.batch_size=32",
    "recipe.max_steps=6",
    "recipe.validate_every=3",
    "recipe.checkpoint_every=3",
    "features=pixels",
    "controls=null",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
]


def patched(backbone: Backbone, patch: Path, strength: float = 1.0) -> Method:
    """The method in a patch file, on `backbone`."""
    return from_file(backbone, patch, read_patch(patch), strength)


def config(*overrides: str, name: str = "train") -> DictConfig:
    """The config of the command `name` with `overrides`."""
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose(name, list(overrides))


def patch_of_digits(folder: Path) -> Path:
    """A patch of the embedded default, its prompts random and clearly felt."""
    import torch
    from hydra.utils import instantiate

    from dmp_lightning.commands.build import build_backbone
    from dmp_lightning.methods import save_patch
    from dmp_lightning.methods.patches import fingerprint

    settings = config()
    method = instantiate(settings.method)(backbone=build_backbone(settings))
    generator = torch.Generator().manual_seed(0)
    tensors = {key: torch.randn(value.shape, generator=generator) for key, value in method.exported().items()}
    about = {"method": OmegaConf.to_container(settings.method, resolve=True)}
    save_patch(tensors, folder / "patch.safetensors", fingerprint(method.backbone), about)
    return folder / "patch.safetensors"


def small(run_dir: Path, *overrides: str) -> DictConfig:
    """A run of six steps that takes seconds, on a base whose blocks all matter, logging to CSV."""
    weights = run_dir.parent / "base.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    if not weights.exists():
        save_file(random_base(), weights)
    folders = [f"run_dir={run_dir}", f"base_results={run_dir.parent}/base", f"backbone.weights={weights}"]
    return config(*SMALL, *folders, "logger=csv", *overrides)


def random_base() -> dict:
    """Weights for the embedded default's backbone, none of them zero."""
    import torch
    from hydra.utils import instantiate

    model = instantiate(config().backbone.model)
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        if name != "pos_embed":
            value.data = 0.05 * torch.randn(value.shape, generator=generator)
    return model.state_dict()
