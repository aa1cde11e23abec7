"""Training steps to be timed: a backbone of the paper's kind, a method on it, one optimiser step of random latents."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dmp_lightning.backbones import DiT
from dmp_lightning.diffusion.objective import Diffusion
from dmp_lightning.diffusion.schedule import linear_betas
from dmp_lightning.methods import DMP, FullFinetune, Method
from dmp_lightning.prompts import LinearGate

SIZES = {"S": (384, 12, 6), "L": (1024, 24, 16), "XL": (1152, 28, 16)}  # width, blocks, heads (Peebles and Xie 2023)
METHODS: dict[str, Callable[..., Method]] = {
    "full_finetune": FullFinetune,
    "dmp": partial(DMP, gate=LinearGate, balance={"importance": 1.0, "load": 1.0}),
}


@dataclass(frozen=True)
class Case:
    """What is timed: a method on DiT-`size`/2, in float32 or under bf16 autocast, eager or compiled."""

    method: str
    size: str = "S"
    batch: int = 8
    bf16: bool = False
    compiled: bool = False
    depth: int | None = None
    injection: str = "all"

    def __str__(self) -> str:
        return f"{self.method} {'bf16' if self.bf16 else 'float32'} {'compiled' if self.compiled else 'eager'}"


def build(case: Case, device: str = "cpu") -> Method:
    """The method on a backbone of random weights: what a step costs does not depend on them."""
    torch.manual_seed(0)
    width, depth, heads = SIZES[case.size]
    shape = {"input_size": 32, "in_channels": 4, "patch_size": 2, "num_classes": 1, "class_dropout_prob": 0.0}
    backbone = DiT(width=width, depth=case.depth or depth, heads=heads, **shape)
    options = {"injection": case.injection} if case.method == "dmp" else {}
    return METHODS[case.method](backbone, **options).to(device)


class Step:
    """One optimiser step of a case at each call."""

    def __init__(self, case: Case, device: str = "cpu") -> None:
        self.case, self.device = case, device
        self.method = build(case, device).train()
        if case.compiled:
            self.method.compile()
        self.diffusion = Diffusion(linear_betas())
        self.optimizer = torch.optim.AdamW(self.method.trained().values(), lr=1e-4, weight_decay=0.0)
        self.x0, self.noise = (torch.randn(case.batch, 4, 32, 32, device=device) for _ in range(2))
        self.t = torch.randint(1000, (case.batch,), device=device)
        self.y = torch.zeros(case.batch, dtype=torch.long, device=device)
        shape = self.method.noise_shape
        self.gate_noise = None if shape is None else torch.randn(shape[0], case.batch, shape[1], device=device)

    def __call__(self) -> None:
        x_t = self.diffusion.add_noise(self.x0, self.noise, self.t)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.case.bf16):
            prediction = self.method(x_t, self.t, self.y, self.gate_noise)
        losses = self.diffusion.losses(prediction.output, self.x0, x_t, self.noise, self.t)
        loss = self.diffusion.total(losses, self.t).mean() + sum(prediction.auxiliary.values())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def forward(self) -> Tensor:
        """The patched model's, or the base's, answer, as in sampling."""
        return self.method.eval()(self.x0, self.t, self.y).output
