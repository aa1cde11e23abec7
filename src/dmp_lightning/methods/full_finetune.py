"""All weights of the backbone go on training: full fine-tuning, or pre-training from random weights."""

from torch import Tensor

from dmp_lightning.methods.base import Method


class FullFinetune(Method):
    """Every parameter of the backbone is trained, except its fixed positions."""

    label = "full fine-tuning"

    def group(self, name: str) -> str | None:
        return None if name == "backbone.pos_embed" else "backbone"

    def exported(self) -> dict[str, Tensor]:
        """The whole backbone, under the names of the public checkpoints."""
        return self.backbone.state_dict()
