"""docs/models.md: its examples run, with tiny pipelines in place of the published ones; its tables say what is so."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from PIL import Image
from torch import nn

import dmp_lightning as dmp
from dmp_lightning.backbones.families import FAMILIES
from tests.backbones.test_diffusers import SIZES, moved
from tests.backbones.test_pipelines import PIPELINES, embedded, small_vae
from tests.backbones.tiny import build

PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r'^```python title="(\w+)\.py"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE))
LINES = 11
MASK = torch.ones(1, 5, dtype=torch.long)


class Example(NamedTuple):
    """A pipeline that makes whole pictures: its VAE, the size that its model says, and what its text encoders give."""

    pipeline: str
    vae: Callable[[], nn.Module]
    side: int
    encoded: tuple[torch.Tensor, ...]


def deep_vae() -> nn.Module:
    """Sana's, which halves a picture five times."""
    options: dict[str, Any] = {f"{part}_block_out_channels": (4,) * 6 for part in ("encoder", "decoder")}
    options |= {f"{part}_layers_per_block": (1,) * 6 for part in ("encoder", "decoder")}
    options |= {f"{part}_qkv_multiscales": ((),) * 6 for part in ("encoder", "decoder")}
    return diffusers.AutoencoderDC(latent_channels=4, **options)


TEXTS = (embedded(12), embedded(12, seed=1))
POOLED = (embedded(10)[:, 0], embedded(10, seed=1)[:, 0])
MASKED = (TEXTS[0], MASK, TEXTS[1], MASK)
WITH = {
    "sd15": Example("StableDiffusionPipeline", small_vae, 16, TEXTS),
    "pixart": Example("PixArtSigmaPipeline", lambda: small_vae(levels=4), 32, MASKED),
    "sd3": Example("StableDiffusion3Pipeline", small_vae, 32, TEXTS + POOLED),
    "flux": Example("FluxPipeline", lambda: small_vae(1), 8, (TEXTS[0], POOLED[0], torch.zeros(5, 3))),
    "sana": Example("SanaPipeline", deep_vae, 16, MASKED),
}


def tiny(example: Example, dtype: torch.dtype) -> Any:
    """A pipeline of random weights, the same each time, whose text encoders are played."""
    model, parts, _, role, options = PIPELINES[example.pipeline]
    made = build(model, **options).to(dtype)
    if "sample_size" in made.config:
        made.register_to_config(sample_size=example.side)
    torch.manual_seed(0)
    pipeline = getattr(diffusers, example.pipeline)(**parts() | {role: made, "vae": example.vae().to(dtype)})
    pipeline.set_progress_bar_config(disable=True)
    pipeline.default_sample_size = example.side  # Flux's does not follow from its model
    encoded = tuple(each.to(dtype) if each.is_floating_point() else each for each in example.encoded)
    pipeline.encode_prompt = lambda *_, **__: encoded
    pipeline.to = lambda *_: pipeline
    return pipeline


def train(_: Any, patch: dmp.Patch) -> None:
    moved(patch)


QUICK = ("sd15",)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in WITH])
def test_an_example_samples_with_the_patch_and_without(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, code = WITH[name], EXAMPLES[name]
    assert len(list(filter(None, code.splitlines()))) <= LINES
    kind = getattr(diffusers, example.pipeline)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kind, "from_pretrained", lambda _, torch_dtype: tiny(example, torch_dtype))
    exec(code, {"train": train})

    fresh = tiny(example, torch.bfloat16)

    def sampled() -> Image.Image:
        return fresh("a lighthouse", generator=torch.manual_seed(0)).images[0]

    base, patched = (Image.open(tmp_path / f"{each}.png") for each in ("base", "patched"))
    assert base.tobytes() == sampled().tobytes()
    dmp.load(getattr(fresh, PIPELINES[example.pipeline].role), tmp_path / "patch.safetensors")
    assert patched.tobytes() == sampled().tobytes()
    assert patched.tobytes() != base.tobytes()


def table(head: str) -> list[list[str]]:
    """The cells of the lines of the table whose first line begins so."""
    lines = PAGE[PAGE.index(f"| {head} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_examples_are_those_of_the_page() -> None:
    assert set(EXAMPLES) == set(WITH)


def test_each_family_is_on_the_page_with_the_pipeline_that_is_run() -> None:
    rows = {row[0].strip("`"): row for row in table("class in diffusers")}
    assert list(rows) == list(FAMILIES)
    predicts = {"epsilon": "noise", "v": "v", "velocity": "flow"}
    for name, (*_, said, pipeline) in rows.items():
        process = FAMILIES[name].process
        ran = [f"`{each}`" for each, found in PIPELINES.items() if found.model == name]
        assert pipeline == (", ".join(ran) or "–")
        assert said.startswith(predicts[process.predicts])
        assert ("variance" in said) == process.learned_variance


def test_sizes_are_those_that_are_counted() -> None:
    """The sizes of `SIZES`, which another test counts, and their share of the parameters of the base."""
    rows = table("model")
    assert len(rows) == len(SIZES)
    for (_, *cells), (name, (options, sizes)) in zip(rows, SIZES.items(), strict=True):
        with torch.device("meta"):
            model = getattr(diffusers, name)(**options)
        counted = sum(each.numel() for each in model.parameters()) / 1e6
        if name == "DiTTransformer2DModel":  # each block holds a copy of the embedders there
            counted = 675.13
        for cell in cells:
            millions, share = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+)%\)", cell).groups())
            assert millions in sizes.values()
            assert share == pytest.approx(100 * millions / counted, rel=0.05)
