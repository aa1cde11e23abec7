"""Drawing samples: one PNG each, and a grid for each seed."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import UInt8
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from dmp_lightning.commands.earlier import begin
from dmp_lightning.commands.models import Sampling, build_sampling
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.data.source import captions_of
from dmp_lightning.folders import component
from dmp_lightning.reports.figures import samples_figure
from dmp_lightning.reports.pictures import write_grid, write_picture
from dmp_lightning.runs.folder import SAMPLES, check_folder
from dmp_lightning.user_error import UserError


def sample(config: DictConfig) -> Path:
    """Write the pictures into the folder `run_dir`, and return it.

    Sample n of a seed starts from the same noise whatever else is drawn, in base and patched model, here and in
    evaluations.

    Raises:
        UserError: the config asks for what cannot be.
    """
    if config.compare and config.patch is None:
        raise UserError("compare=true needs a patch: set patch=FILE or run=FOLDER.")
    folder = Path(config.run_dir)
    check_folder(folder, component(config.name, "name"), SAMPLES)
    sampling = build_sampling(config)
    begin(folder, config, SAMPLES)
    names = list(sampling.models) if config.compare else list(sampling.models)[-1:]
    for seed in config.seeds:
        drawn = {
            name: torch.cat(list(_draw(sampling, name, seed, config.samples, folder))).squeeze(1) for name in names
        }
        first, *second = [images.numpy() for images in drawn.values()]
        grid = folder / f"seed-{seed}.png"
        if second:
            samples_figure(first, second[0], grid, captions_of(sampling.source, len(first), config.classes))
        else:
            write_grid(first, grid)
    print(f"Samples: {folder}")
    return folder


def _draw(sampling: Sampling, name: str, seed: int, count: int, folder: Path) -> Iterator[UInt8[Tensor, "B C H W"]]:
    """The samples of one model and seed in batches, each written as a PNG on the way."""
    batches = sampling.drawing.draw(sampling.models[name], sampling.conditions, range(count), seed)
    with tqdm(total=count, desc=f"Sampling {name}, seed {seed}", unit="sample", leave=False) as bar:
        for numbers, samples in batches:
            images = to_uint8(samples).cpu()
            for n, image in zip(numbers, images, strict=True):
                file = f"{n:05d}_{sampling.conditions.name(n)}.png"
                write_picture(image.numpy(), folder / name / f"seed-{seed}" / file)
            bar.update(len(numbers))
            yield images
