"""Plain prompt tuning: the same prompts, always at full strength; the paper's ungated baseline."""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float, Num
from torch import Tensor

from dmp_lightning.backbones import Backbone
from dmp_lightning.condition import Condition
from dmp_lightning.methods.dmp import DMP
from dmp_lightning.prompts import ConstantGate, Mixture


class PromptTuning(DMP):
    """`DMP` without a gate: prompts are added to the tokens entering each block, or stand before them, with weight 1.

    Arguments as `DMP` takes them. With `position=prepend` it is deep visual prompt tuning (Jia et al. 2022,
    arXiv 2203.12119).
    """

    def __init__(
        self,
        backbone: Backbone,
        injection: str | Sequence[int] = "all",
        prompt_count: int | float | None = None,
        position: str = "add",
        init: str = "zero",
        grid: Sequence[int] | None = None,
    ) -> None:
        gate = partial(ConstantGate, weight_scale="mean")
        super().__init__(backbone, gate, "released", injection, prompt_count, position, init, grid=grid)
        self.label = "plain prompt tuning" if position == "add" else "plain prompt tuning, prepended"

    def auxiliary(self, prepared: Mixture) -> dict[str, Float[Tensor, ""]]:
        return {}

    def gates(self, t: Num[Tensor, " B"], condition: Condition) -> None:
        return None
