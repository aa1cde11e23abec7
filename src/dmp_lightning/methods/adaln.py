"""Only the modulation (adaLN) and the biases of the backbone go on training."""

from torch import Tensor

from dmp_lightning.backbones import Adapter, Backbone
from dmp_lightning.methods.full_finetune import FullFinetune
from dmp_lightning.user_error import UserError


class AdaLN(FullFinetune):
    """Trains the linear layers that make shifts, scales and gates of the conditioning, and each bias.

    Biases alone are known to carry much of what fine-tuning changes: BitFit (Zaken et al. 2021, arXiv 2106.10199).
    """

    label = "modulation and biases"

    def __init__(self, backbone: Backbone) -> None:
        if isinstance(backbone, Adapter):
            raise UserError("method=adaln needs a DiT of dmp-lightning: on a model of diffusers choose method=lora.")
        super().__init__(backbone)

    def group(self, name: str) -> str | None:
        modulates = any(part in name for part in self.backbone.modulation)
        return "adaln" if modulates or name.endswith(".bias") else None

    def exported(self) -> dict[str, Tensor]:
        """The trained weights, under the names of the public checkpoints."""
        return {name.removeprefix("backbone."): value.detach() for name, value in self.trained().items()}
