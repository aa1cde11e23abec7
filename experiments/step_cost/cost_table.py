"""What runs of the paper's size cost, by arithmetic: `python experiments/step_cost/cost_table.py`.

Prints the tables of `docs/cost.md`: parameters are counted, operations are those of `growth.py`, times follow from the
GPUs' data sheets and the share of what these promise that a step reaches, memory from what the backward pass is given.
`tests/commands/test_cost.py` checks all of it against torch, the DiT paper and what was measured.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from diffusers import AutoencoderKL
from growth import TOKENS, step_flops
from report import table
from steps import METHODS, SIZES, Case, backbone_of
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dmp_lightning.methods import Method

PEAKS = {"H100": (989.4e12, 494.7e12), "A100": (312e12, 156e12)}
"""Operations a second in bf16 and in TF32, dense, of the SXM cards (NVIDIA's data sheets)."""
UTILISATION = {"H100": 0.17, "A100": 0.30}
"""Of these in bf16: measured on an H100 (`results/cuda.json`), assumed for an A100."""
CLASSES = {"B": 1, "L": 1, "XL": 1000}  # FFHQ's, and ImageNet's
TUNED = ("dmp", "prompt_tuning", "full_finetune")
BATCH, STEPS, PRETRAINING = 128, 50_000, 600_000
SAMPLES, SAMPLING = 50_000, 250  # of FID-50K, by DDPM-250
IMAGES = {"FFHQ": 70_000, "ImageNet": 1_281_167}
LATENT = 4 * 32 * 32
KEPT = {"dmp": 24, "full_finetune": 48}
"""Bytes of a block's activations, for each token and channel, that the backward pass needs (bf16)."""
COPIED = {"dmp": 24, "full_finetune": 36}
"""Bytes of a block's weights in bf16, over D^2, that autocast makes and the backward pass needs."""
MEMORY = [
    Case("full_finetune", autocast=True),
    Case("full_finetune", autocast=True, checkpointing=True),
    Case("dmp", autocast=True),
    Case("dmp", dtype="bfloat16"),
    Case("dmp", dtype="bfloat16", checkpointing=True),
]
GIB = 2**30


def method(name: str, size: str) -> Method:
    """One of the methods on DiT-`size`/2, without memory for its weights."""
    with torch.device("meta"):
        return METHODS[name](backbone_of(size, classes=CLASSES[size]))


def parameters(size: str) -> tuple[int, int]:
    """Of the base, and of the patch that is shipped."""
    built = method("dmp", size)
    return sum(value.numel() for value in built.backbone.parameters()), built.size


def flops(name: str, size: str) -> float:
    """Operations of a training step a sample; for `frozen`, of a forward pass."""
    if name == "frozen":
        return flops("full_finetune", size) / 3
    return step_flops(Case(name, size=size, batch=1))


def stable_diffusion_vae() -> AutoencoderKL:
    """sd-vae-ft-ema, without memory for its weights."""
    with torch.device("meta"):
        return AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
        )


def vae_flops() -> tuple[float, float]:
    """Operations of the VAE that encodes, and decodes, an image of 256 x 256."""
    vae = stable_diffusion_vae()
    image, latent = torch.empty(1, 3, 256, 256, device="meta"), torch.empty(1, 4, 32, 32, device="meta")
    return counted(lambda: vae.encode(image)), counted(lambda: vae.decode(latent))


@torch.no_grad()
def counted(function: Callable[[], object]) -> float:
    """Operations that torch counts; it can count attention only unfused."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def hours(operations: float, card: str, gpus: int = 1, vae: float = 0.0) -> float:
    """Of that many operations in bf16, and `vae` in TF32, on all GPUs together."""
    half, single = PEAKS[card]
    return (operations / half + vae / single) / (UTILISATION[card] * gpus * 3600)


def memory(case: Case) -> float:
    """Bytes of a step: weights, gradients, AdamW's moments, activations; without what libraries and kernels take."""
    width, depth, _ = SIZES[case.size]
    built = method(case.method, case.size)
    trained = sum(value.numel() for value in built.trained().values())
    frozen = sum(value.numel() for value in built.parameters()) - trained
    fixed = (4 + 4 + 8) * trained + (2 if case.dtype == "bfloat16" else 4) * frozen
    block = case.batch * TOKENS * width * KEPT[case.method] + case.autocast * width**2 * COPIED[case.method]
    # With checkpointing: what enters each block, in float32, and one block at a time.
    return fixed + (case.batch * TOKENS * width * 4 * depth + block if case.checkpointing else depth * block)


def models() -> str:
    counts = {size: parameters(size) for size in CLASSES}
    rows = [
        ["classes", *[f"{count:,}" for count in CLASSES.values()]],
        ["parameters of the base", *[f"{base:,}" for base, _ in counts.values()]],
        ["parameters of the patch", *[f"{patch:,}" for _, patch in counts.values()]],
        ["patch / base", *[f"{patch / base:.2%}" for base, patch in counts.values()]],
        ["forward pass, GFLOP a sample", *gigaflops("frozen")],
        *[[f"step of `{name}`, GFLOP a sample", *gigaflops(name)] for name in TUNED],
    ]
    return table(["", *[f"DiT-{size}/2" for size in CLASSES]], rows)


def gigaflops(name: str) -> list[str]:
    return [f"{flops(name, size) / 1e9:,.1f}" for size in CLASSES]


def times() -> str:
    encode, decode = vae_flops()
    rows = []
    for size in CLASSES:
        model = f"DiT-{size}/2"
        for name, what in (("dmp", "`dmp` or `prompt_tuning`"), ("full_finetune", "`full_finetune`")):
            rows.append([f"{model}, {what}, {STEPS:,} steps", *on_all(STEPS * BATCH * flops(name, size))])
        training = PRETRAINING * BATCH * flops("full_finetune", size)
        rows.append([f"{model}, pre-training, {PRETRAINING:,} steps", *on_all(training)])
        drawing = SAMPLES * SAMPLING * flops("frozen", size)
        rows.append([f"{model}, {SAMPLES:,} samples, DDPM-{SAMPLING}", *on_all(drawing, SAMPLES * decode)])
        if CLASSES[size] > 1:
            rows.append([f"{model}, the same with guidance", *on_all(2 * drawing, SAMPLES * decode)])
    for name, images in IMAGES.items():
        rows.append([f"encoding {name}, {images:,} images and mirrors", *on_all(0, 2 * images * encode)])
    return table(["hours", *[f"{gpus} {card}" for card in PEAKS for gpus in (1, 8)]], rows)


def on_all(operations: float, vae: float = 0.0) -> list[str]:
    found = [hours(operations, card, gpus, vae) for card in PEAKS for gpus in (1, 8)]
    return [f"{value:.1f}" if value >= 1 else f"{value:.2f}" for value in found]


def memories() -> str:
    rows = []
    for size in CLASSES:
        for case in MEMORY:
            found = [memory(replace(case, size=size, batch=batch)) for batch in (BATCH, BATCH // 8)]
            what = str(case).replace(" step", "").replace(", eager", "")
            rows.append([f"DiT-{size}/2, {what}", *[f"{value / GIB:.1f}" for value in found]])
    return table(["GiB on each GPU", f"{BATCH} samples on it", f"{BATCH // 8} samples on it"], rows)


def stream() -> str:
    """What DiT-L/2 asks of the data stream."""
    stored = 2 * 2 * LATENT  # mean and standard deviation, two bytes each
    rows = []
    for share in (UTILISATION["H100"], 1.0):
        for gpus in (1, 8):
            wanted = gpus * share * PEAKS["H100"][0] / flops("dmp", "L")
            rows.append([f"{gpus} H100 at {share:.0%}", f"{wanted:,.0f}", f"{wanted * stored / 1e6:,.0f}"])
    return table(["DiT-L/2, `dmp`", "samples/s", "MB/s"], rows)


TABLES = [models, times, memories, stream]

if __name__ == "__main__":
    print("\n".join(make() for make in TABLES))
