"""A base from a file of weights, of the sizes that the weights have."""

from pathlib import Path
from typing import Any

from dmp_lightning.backbones.base import Backbone
from dmp_lightning.backbones.dit import DiT
from dmp_lightning.backbones.recognise import check_prediction
from dmp_lightning.backbones.sizes import in_weights, null_label
from dmp_lightning.backbones.weights import in_dtype, load_weights

READ = ("input_size", "in_channels", "patch_size", "width", "depth", "heads", "num_classes", "predicts")


def load_base(
    path: str | Path,
    *,
    heads: int | None = None,
    class_dropout_prob: float | None = None,
    part: str | None = None,
    predicts: str | None = None,
    timestep_frequencies: str = "release",
    dtype: str = "float32",
) -> Backbone:
    """A DiT with the weights in a file (`.pt`, `.safetensors`) or a folder of diffusers, in eval mode.

    The sizes are read from the weights. The two that are not in them are guessed where they are None.

    Args:
        heads: attention heads; those of the paper's DiTs, else heads of 64 channels. class_dropout_prob: above 0 the
            last label is the null label; guessed to be 0.1 if there are several.
        part, predicts: see `load_weights`. timestep_frequencies: see `DiT`. dtype: of the weights, `float32` or
            `bfloat16`.

    Raises:
        MissingFileError: there is no such file.
        UserError: it holds no DiT, or the number of heads cannot be guessed.
    """
    name = str(path)
    dropout = null_label(name, part) if class_dropout_prob is None else class_dropout_prob
    given = {} if heads is None else {"heads": heads}
    sizes = {key: in_weights(key, name, part, dropout, predicts) for key in READ if key not in given} | given
    other: dict[str, Any] = {"class_dropout_prob": dropout, "timestep_frequencies": timestep_frequencies}
    base = in_dtype(dtype, lambda: DiT(**sizes, **other))
    load_weights(base, path, part, predicts=predicts)
    check_prediction(base, path)
    return base.eval()
