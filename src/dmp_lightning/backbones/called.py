"""A model of diffusers as a backbone, called as its own pipeline calls it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from dmp_lightning.backbones.arguments import Inputs
from dmp_lightning.backbones.base import Backbone, Enter
from dmp_lightning.backbones.calls import CALLS, Call, Shapes
from dmp_lightning.backbones.families import Family, Process
from dmp_lightning.condition import Condition
from dmp_lightning.user_error import UserError

DROPPED = 0.1
"""How often training takes the null condition, as most of these models were trained."""


class Called(Backbone):
    """A model of diffusers as a backbone; `Adapter` lets patches enter it.

    A sample is (C, H, W), latents as the VAE gives them, shifted and scaled; of a video it is (C * F, H, W), the
    frames of each channel one after the other. Times are those of the process: timesteps of a `DDPM`, or 0
    (data) to 1 (noise) of a `Flow`; the output is what `predicts` says, whatever the model's own direction of time.

    Attributes:
        guidance: the scale that models which were distilled with guidance take as an input.
        scheduler: the config of the scheduler in the folder of its pipeline; empty where it is not known.
        sampled, null: conditions to sample, and the one that stands for none, one row; the data give them where they
            are texts.
    """

    prefix = "model."

    def __init__(self, model: Any, family: Family) -> None:
        super().__init__()
        self.model, self.family = model, family
        self.predicts = _predicts(getattr(model, "config", None), family.process)
        self.class_dropout_prob, self.guidance = DROPPED, 1.0
        self.scheduler: dict[str, Any] = {}
        self.sampled: Condition | None = None
        self.null: Condition | None = None
        classes = self.needs.get("label")
        self.num_classes = 1 if classes is None else classes[0]
        self.null_label = None if classes is None else classes[0]

    @property
    def call(self) -> Call | None:
        """How the model is called, where that is known."""
        return next((CALLS[kind.__name__] for kind in type(self.model).__mro__ if kind.__name__ in CALLS), None)

    @property
    def needs(self) -> Shapes:
        """The shape of one sample's part of each tensor of a condition; of a label the number of classes."""
        return {} if self.call is None else self.call.needs(self.model.config)

    @property
    def activation_checkpointing(self) -> bool:
        """Keep less in the forward pass, as diffusers does it."""
        return bool(getattr(self.model, "is_gradient_checkpointing", False))

    @activation_checkpointing.setter
    def activation_checkpointing(self, wanted: bool) -> None:
        if wanted and not self.model._supports_gradient_checkpointing:
            raise UserError(f"{type(self.model).__name__} has no checkpointing: set activation_checkpointing=false.")
        if wanted != self.activation_checkpointing:
            (self.model.enable_gradient_checkpointing if wanted else self.model.disable_gradient_checkpointing)()

    def train(self, mode: bool = True) -> "Called":
        """The model itself stays in eval mode: in training mode, the DiT of diffusers drops labels in each block."""
        super().train(mode)
        self.model.eval()
        return self

    def weights(self) -> dict[str, Tensor]:
        return self.model.state_dict()

    def adapted(self) -> nn.Module:
        return self.model

    def conditions(self) -> Condition:
        """Those that the data give, or all classes."""
        if self.sampled is None and self.needs and "label" not in self.needs:
            raise UserError(f"{type(self.model).__name__} is conditioned on text, which these data do not give.")
        return super().conditions() if self.sampled is None else self.sampled

    def null_condition(self) -> Condition | None:
        return super().null_condition() if self.null is None else self.null

    def known(self, condition: Condition) -> Condition:
        if self.call is not None:
            self.check_condition(condition)
        return condition

    def check_condition(self, found: Condition) -> None:
        """Make sure that the model takes such conditions.

        Raises:
            UserError: it takes other tensors, or of other sizes.
        """
        ours = {name: shape[-1:] for name, shape in self.needs.items() if not name.startswith(("label", "mask"))}
        theirs = {name: shape[-1:] for name, shape in found.shapes.items() if not name.startswith(("label", "mask"))}
        if ours != theirs or self.needs.keys() != found.shapes.keys():
            raise UserError(
                f"{type(self.model).__name__} takes conditions of {_told(self.needs)}, the data have "
                f"{_told(found.shapes)}: choose data of this model."
            )

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        t: Num[Tensor, " B"],
        condition: Condition,
        enter: Enter | None = None,
    ) -> Float[Tensor, "B C2 H W"]:
        """Output for noisy samples `x`, as `predicts` says, in `x`'s type; the model computes in its own."""
        call, config = self._known_call(), self.model.config
        samples, dtype = x.to(self.model.dtype), self.model.dtype
        video = len(call.usual(config)) == 3
        if video:
            samples = samples.unflatten(1, (call.channels(config), -1))
        inputs = Inputs(config, samples, self._time(t), condition.in_type(dtype), self.guidance)
        with self.letting(enter):
            answer = self.model(**call.arguments(inputs), return_dict=False)[0]
        output = call.output(samples, answer)
        output = output.flatten(1, 2) if video else output
        return self.family.process.sign * output.to(x.dtype)

    def letting(self, enter: Enter | None) -> AbstractContextManager:
        """Let `enter` at the tokens of the blocks, in a pass of this context."""
        return nullcontext()

    def precision(self, device: torch.device) -> AbstractContextManager:
        return nullcontext()

    def _time(self, t: Num[Tensor, " B"]) -> Num[Tensor, " B"]:
        """The model's own time."""
        process = self.family.process
        if process.predicts != "velocity":
            return t
        return self._last * (1 - t if process.reversed else t)

    def _time_of_process(self, t: Num[Tensor, " B"]) -> Num[Tensor, " B"]:
        """The process's time of the model's own."""
        process = self.family.process
        if process.predicts != "velocity":
            return t
        return 1 - t / self._last if process.reversed else t / self._last

    @property
    def _last(self) -> float:
        """The model's own time of pure noise, or of data where it is reversed."""
        config = getattr(self.model, "config", None)
        return self.family.process.last * getattr(config, "timestep_scale", 1.0)  # Sana's

    def _known_call(self) -> Call:
        if self.call is None:
            raise UserError(
                f"How a {type(self.model).__name__} is called is not known: call it, and take the loss, yourself."
            )
        return self.call


def _predicts(config: Any, process: Process) -> str:
    out = getattr(config, "out_channels", None) or 0
    learned = process.learned_variance and out == 2 * getattr(config, "in_channels", 0)
    return "epsilon_and_variance" if learned and process.predicts == "epsilon" else process.predicts


def _told(shapes: Shapes) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
