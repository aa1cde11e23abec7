"""A patched model in diffusers' own pipeline."""

from typing import Any

from diffusers import AutoencoderKL, ConfigMixin, DiTPipeline, ModelMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from jaxtyping import Float, Int
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.methods.base import Method
from dmp_lightning.user_error import UserError

NOT_SAVED = (
    "A pipeline with a patched model cannot be saved: no class of diffusers could read it. Ship the patch file, and "
    "build the pipeline again with load_patch and to_pipeline."
)


class NotSaved:
    """Refuses to be written in diffusers' format."""

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        """Refuse: what it would write could not be read.

        Raises:
            UserError: always.
        """
        raise UserError(NOT_SAVED)

    def push_to_hub(self, *_: Any, **__: Any) -> str:
        """Refuse, as `save_pretrained` does."""
        raise UserError(NOT_SAVED)


class PatchedTransformer(NotSaved, ModelMixin, ConfigMixin):
    """A method in the place of a `DiTTransformer2DModel`: it takes and gives what that does.

    Args:
        method: base and patch; it is put into eval mode.

    Raises:
        UserError: its samples are not square.
    """

    config_name = "config.json"  # type: ignore[assignment]

    def __init__(self, method: Method) -> None:
        super().__init__()
        channels, side, columns = method.backbone.sample_shape
        if side != columns:
            raise UserError(f"Diffusers' DiT pipeline draws squares, but this base {side}x{columns}: use Sampler.")
        if method.backbone.predicts not in (None, "epsilon_and_variance"):
            raise UserError(
                f"Diffusers' DiT pipeline needs epsilon and variance, but this base predicts "
                f"{method.backbone.predicts}: use Sampler."
            )
        self.register_to_config(
            sample_size=side, in_channels=channels, out_channels=2 * channels, num_classes=method.backbone.num_classes
        )
        self.method = method.eval()

    def forward(
        self, hidden_states: Float[Tensor, "B C H W"], timestep: Int[Tensor, " B"], class_labels: Int[Tensor, " B"]
    ) -> Transformer2DModelOutput:
        """Epsilon and variance; each label beyond the classes is the null label, which the pipeline takes for 1000.

        Raises:
            UserError: there is such a label, and the model was trained without a null label.
        """
        condition, beyond = Condition(class_labels), class_labels >= self.method.backbone.num_classes
        if beyond.any():
            null = self.method.backbone.null_condition()
            if null is None:
                raise UserError(
                    "guidance_scale needs a null label, which this model lacks: call the pipeline with "
                    "guidance_scale=1."
                )
            condition = condition.drop(beyond, null)
        return Transformer2DModelOutput(sample=self.method(hidden_states, timestep, condition).output)


class PatchedPipeline(NotSaved, DiTPipeline):
    """Diffusers' pipeline around a `PatchedTransformer`; it samples, and cannot be saved."""


def to_pipeline(method: Method, scheduler: Any, vae: AutoencoderKL) -> DiTPipeline:
    """Diffusers' pipeline that samples with `method`.

    It guides all channels and leaves the learned variance out, as that pipeline does. It cannot be saved, and
    refuses to be: ship the patch, which is what is new in it.

    Args:
        method: base and patch, as `load_patch` returns it: a patch of another base is refused there.
        scheduler: of diffusers, for the schedule that the base was trained on. vae: that the latents are from.
    """
    return PatchedPipeline(transformer=PatchedTransformer(method), vae=vae, scheduler=scheduler)
