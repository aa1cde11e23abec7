"""The control: the backbone as it is."""

from dmp_lightning.methods.base import Method


class Frozen(Method):
    """The backbone alone; nothing is trained."""

    label = "pre-trained"

    def group(self, name: str) -> str | None:
        return None
