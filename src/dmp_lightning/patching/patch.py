"""A patch on a base in Python: its parameters, its training loss, its strength; save it, take it off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from dmp_lightning.backbones import Adapter, Backbone, Embeddings, Place
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.process import Process
from dmp_lightning.methods import DMP, Method, save_patch
from dmp_lightning.methods.base import Pass
from dmp_lightning.methods.patches import base_of
from dmp_lightning.patching.agreement import check_agreement, usual_process
from dmp_lightning.patching.objective import Loss, draw, draw_gates, loss_of
from dmp_lightning.prompts import Mixture, WeightedPrompts
from dmp_lightning.user_error import UserError


class Patch:
    """A patch on a base, from `attach` or `load`. Calling the base calls the patched model, until `remove`.

    Attributes:
        base: the model; it is frozen. method: base and patch as one module, which trains nothing but the patch.
        process: the diffusion process whose loss the patch is trained on.
    """

    def __init__(
        self, base: nn.Module, backbone: Backbone, build: Callable[[], Method], process: Process | None, about: Any
    ) -> None:
        """For `attach` and `load`: `build` makes the method on the `backbone` of `base`; its description is `about`."""
        others: tuple[Patch, ...] = getattr(base, "attached_patches", ())
        free = [each for each in base.parameters() if each.requires_grad]
        self._free: list[nn.Parameter] = others[0]._free if others else free
        self._last: Pass | Mixture | None = None
        self.base, self._about = base, about
        try:
            method = build()
            if not isinstance(method, DMP):
                raise UserError(
                    f"{method.label} has no prompts to attach: sample it with python -m dmp_lightning.sample."
                )
            method.mixture.to(next(base.parameters()).device)
            self.method = method
            known = process or method.process
            self.process: Process = known if isinstance(known, Process) else usual_process(backbone)
            check_agreement(backbone, self.process)
            if isinstance(backbone, Adapter):
                backbone.join(self)
            else:
                self._hook = base.register_forward_pre_hook(self._enter, with_kwargs=True)
        except Exception:
            if not others:
                self._thaw()
            raise
        base.attached_patches = (*others, self)  # type: ignore[assignment]

    def parameters_by_group(self) -> dict[str, list[nn.Parameter]]:
        """The patch's parameters by learning-rate group: `prompts` (1e-4 in the paper) and `gate` (1e-3)."""
        return self.method.parameter_groups()

    def loss(self, x: Float[Tensor, "B C H W"], condition: Condition, generator: torch.Generator | None = None) -> Loss:
        """The training loss of clean samples: draw times, noise, dropped labels and gate noise, and predict.

        Args:
            x: in the range and on the device of the base. condition: of each sample. generator: draws, on that device;
                None for torch's global one.

        Returns:
            `total`, to call `backward()` on; its `parts` by name; and the loss of each of the `samples`.

        A model of diffusers is called as its pipeline calls it; `null` of `method.backbone`, the condition of the empty
        text, takes the place of some conditions where it is set.

        Raises:
            UserError: the base takes other conditions, or how it is called is not known.
        """
        self._follow(x.device)
        drawn = draw(self.method, self.process, x.shape, generator, x.device)
        return loss_of(self.method, self.process, x, condition, drawn)

    def auxiliary_losses(self) -> dict[str, Float[Tensor, ""]]:
        """The balance losses of the last call of the base in training mode, weighted, to add to a loss of your own.

        Raises:
            UserError: there was none.
        """
        if self._last is None:
            before = "" if isinstance(self.method.backbone, Adapter) else "call base.train(), then "
            raise UserError(f"There are no auxiliary losses: {before}call the base, with gradients enabled.")
        return self.method.auxiliary(self._last.prepared if isinstance(self._last, Pass) else self._last)

    @property
    def strength(self) -> int | float:
        """How many times the prompts count, 1 at first; 0 is the base, to the bit. It can be set at any time."""
        return self.method.strength

    @strength.setter
    def strength(self, value: int | float) -> None:
        if self.method.mixture.position == "prepend" and value not in (0, 1):
            raise UserError(f"strength={value}: prepended prompts cannot be scaled, choose 0 or 1.")
        self.method.strength = value

    def save(self, path: str | Path, **about: Any) -> None:
        """Write a patch file, which `load` and the commands `sample` and `evaluate` read.

        Args:
            about: more to say in the file, plain values by name.

        Raises:
            UnwritableError: it cannot be written.
        """
        save_patch(self.method.exported(), Path(path), base_of(self.method), about | {"method": self._about})

    def remove(self) -> None:
        """Take the patch off: the base is as it was before, and takes gradients as before."""
        backbone = self.method.backbone
        if isinstance(backbone, Adapter):
            backbone.leave(self)
        else:
            self._hook.remove()
        left = tuple(each for each in self.base.attached_patches if each is not self)  # type: ignore[union-attr]
        if left:
            self.base.attached_patches = left  # type: ignore[assignment]
        else:
            del self.base.attached_patches
            self._thaw()

    def _thaw(self) -> None:
        for parameter in self._free:
            parameter.requires_grad_(True)

    def additions(
        self, t: Num[Tensor, " B"], e: Float[Tensor, "B E"], places: list[Place]
    ) -> list[WeightedPrompts | None] | None:
        """The additions of the patch to each site in a pass of a model of diffusers, see `backbones.Adapter`."""
        if self.strength == 0:
            return None
        self._follow(e.device)
        training = torch.is_grad_enabled()
        noise = draw_gates(self.method, len(e), None, e.device) if training else None
        mixture = self.method.prepare(t, Embeddings(e, torch.zeros_like(e)), noise)
        self._last = mixture if training else None
        return self.method.additions(mixture, places)

    def _follow(self, device: torch.device) -> None:
        """Go where the base is: it may have been moved, or a pipeline moves it for each call."""
        if next(self.method.mixture.parameters()).device != device:
            self.method.mixture.to(device)

    def _enter(self, base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let the patch at the tokens of this call of our DiT, unless the call is already one of its method's."""
        first = args[3] if len(args) > 3 else kwargs.get("enter")
        if self.strength == 0 or (isinstance(first, Pass) and first.includes(self.method)):
            return None
        t = args[1] if len(args) > 1 else kwargs["t"]
        noise = draw_gates(self.method, len(t), None, t.device) if base.training else None
        this = Pass(self.method, t, noise, first)
        self._last = this if base.training and torch.is_grad_enabled() else None
        return args[:3], kwargs | {"enter": this}

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no part in the last call of the base."""
        return self.__dict__ | {"_last": None}
