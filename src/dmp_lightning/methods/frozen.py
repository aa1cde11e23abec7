"""The control: the backbone as it is."""

from dmp_lightning.backbones import Backbone
from dmp_lightning.methods.base import Method


class Frozen(Method):
    """The backbone alone; nothing is trained."""

    label = "pre-trained"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.freeze()

    def group(self, name: str) -> str | None:
        return None
