"""Low-rank adapters on the linear layers of the blocks (LoRA; Hu et al. 2021, arXiv 2106.09685), through peft."""

import re
from collections.abc import Sequence
from copy import deepcopy
from itertools import chain

from torch import Tensor, nn

from dmp_lightning.backbones import Backbone
from dmp_lightning.methods.base import Method
from dmp_lightning.user_error import UserError


class LoRA(Method):
    """Each target layer computes `W x + b + alpha / rank * B A x`, with A (rank, in) at random and B (out, rank) zero.

    Args:
        backbone: the pre-trained model; it stays frozen, and as it is: the adapters go into a copy of its modules that
            has the very same weights.
        rank: of A and B. alpha: the adapters count `alpha / rank` times.
        targets: names, or ends of names, of the linear layers of a block that get adapters.

    Raises:
        UserError: peft is not installed, the rank is below 1, or there are no targets, or none of such a name.
    """

    label = "LoRA"

    def __init__(self, backbone: Backbone, rank: int, alpha: int, targets: Sequence[str]) -> None:
        own = deepcopy(backbone, {id(tensor): tensor for tensor in chain(backbone.parameters(), backbone.buffers())})
        add_adapters(own.adapted(), rank, alpha, list(targets))
        super().__init__(own)

    def group(self, name: str) -> str | None:
        return "lora" if ".lora_" in name else None

    def base(self) -> dict[str, Tensor]:
        held = super().base().items()
        return {name.replace(".base_layer.", "."): value for name, value in held if ".lora_" not in name}

    def exported(self) -> dict[str, Tensor]:
        """A and B, under the names of their layers in the public checkpoints: `blocks.0.attn.qkv.lora_A.weight`."""
        trained = super().exported().items()
        return {
            name.removeprefix(f"backbone.{self.backbone.prefix}").replace(".default.", "."): value
            for name, value in trained
        }

    def scale(self, tensors: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        return {name: strength * value if ".lora_B." in name else value for name, value in tensors.items()}


def add_adapters(part: nn.Module, rank: int, alpha: int, targets: list[str]) -> None:
    """Put peft's adapters into the linear layers of a part of a model, in float32 whatever the type of their weights.

    Raises:
        UserError: see `LoRA`.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # an extra, and slow to import
    except ImportError as error:
        raise UserError("method=lora needs peft: pip install 'dmp-lightning[lora]'") from error
    if rank < 1:
        raise UserError(f"method.rank={rank}: choose 1 or more.")
    if not targets:
        raise UserError("method.targets is empty: name linear layers of a block, or choose method=frozen.")
    found = (name for name, module in part.named_modules() if isinstance(module, nn.Linear))
    linear = list(dict.fromkeys(re.sub(r"^(.*?\.)?\d+\.", "", name) for name in found))  # those of all blocks, once
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            raise UserError(
                f"method.targets names {target}, which is not a linear layer here: choose from {', '.join(linear)}."
            )
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets), part)
    for name, parameter in part.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
