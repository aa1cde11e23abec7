"""Steps to be measured: a backbone of the paper's kind, a method on it, one optimiser step of random latents."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dmp_lightning.backbones import DiT, in_dtype
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.schedule import linear_betas
from dmp_lightning.draws import Stream, generator
from dmp_lightning.methods import DMP, Frozen, FullFinetune, Method, PromptTuning
from dmp_lightning.prompts import LinearGate

# Width, blocks, heads (Peebles and Xie 2023, table 1).
SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
METHODS: dict[str, Callable[..., Method]] = {
    "full_finetune": FullFinetune,
    "frozen": Frozen,
    "prompt_tuning": PromptTuning,
    "dmp": partial(DMP, gate=LinearGate, balance={"importance": 1.0, "load": 1.0}),
}


@dataclass(frozen=True)
class Case:
    """What is measured: a method on DiT-`size`/2, and how it computes.

    `autocast` is what `trainer.precision=bf16-mixed` does, `dtype` is `backbone.dtype`.
    """

    method: str
    size: str = "S"
    batch: int = 8
    autocast: bool = False
    dtype: str = "float32"
    checkpointing: bool = False
    compiled: bool = False
    depth: int | None = None
    injection: str = "all"
    prompt_count: int | None = None

    def __str__(self) -> str:
        precision = "base in bf16" if self.dtype == "bfloat16" else "bf16" if self.autocast else "float32"
        checkpointing = ", activation checkpointing" if self.checkpointing else ""
        return f"{self.method} step, {precision}, {'compiled' if self.compiled else 'eager'}{checkpointing}"

    @property
    def blocks(self) -> int:
        return self.depth or SIZES[self.size][1]


def backbone_of(size: str, depth: int | None = None, classes: int = 1) -> DiT:
    """DiT-`size`/2 of 256x256 latents, or one of another depth; with a null label where there are several classes."""
    width, blocks, heads = SIZES[size]
    return DiT(
        input_size=32,
        in_channels=4,
        patch_size=2,
        width=width,
        depth=depth or blocks,
        heads=heads,
        num_classes=classes,
        class_dropout_prob=0.1 if classes > 1 else 0.0,
    )


def build(case: Case, device: str) -> Method:
    """The method on a backbone of random weights: what a step costs does not depend on them."""
    torch.manual_seed(0)
    backbone = in_dtype(case.dtype, lambda: backbone_of(case.size, case.depth))
    patch = {"injection": case.injection, "prompt_count": case.prompt_count}
    options: dict[str, Any] = patch if case.method == "dmp" else {}
    method = METHODS[case.method](backbone, **options).to(device)
    method.backbone.activation_checkpointing = case.checkpointing
    return method


class Step:
    """One optimiser step of a case at each call, with all that `DiffusionModule.training_step` draws and computes."""

    def __init__(self, case: Case, device: str = "cpu") -> None:
        self.case, self.device = case, device
        self.method = build(case, device).train()
        if case.compiled:
            self.method.compile()
        self.process = DDPM(linear_betas())
        trained = list(self.method.trained().values())
        fused = device == "cuda" or None
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=fused) if trained else None
        self.x0 = torch.randn(case.batch, 4, 32, 32, device=device)
        self.condition = Condition(torch.zeros(case.batch, dtype=torch.long, device=device))
        self.numbers = itertools.count()

    def __call__(self) -> None:
        assert self.optimizer is not None
        self.loss(*self.draw()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def draw(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Timesteps, noise, and the gate's noise."""
        chance = generator(0, Stream.TRAINING, next(self.numbers), device=self.device)
        drawing: Any = {"generator": chance, "device": self.device}
        t = torch.randint(1000, (self.case.batch,), **drawing)
        noise = torch.randn(self.x0.shape, **drawing)
        shape = self.method.noise_shape
        gate_noise = None if shape is None else torch.randn(self.case.batch, *shape, **drawing).transpose(0, 1)
        return t, noise, gate_noise

    def loss(self, t: Tensor, noise: Tensor, gate_noise: Tensor | None) -> Tensor:
        """The objective with the auxiliary losses."""
        x_t = self.process.add_noise(self.x0, noise, t)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.case.autocast, cache_enabled=False):
            prediction = self.method(x_t, t, self.condition, gate_noise)
        losses = self.process.losses(prediction.output, self.x0, x_t, noise, t)
        return losses.total.mean() + sum(prediction.auxiliary.values())

    @torch.no_grad()
    def forward(self) -> Tensor:
        """The patched model's, or the base's, answer, as in sampling."""
        return self.method.eval()(self.x0, torch.zeros_like(self.condition.label), self.condition).output
