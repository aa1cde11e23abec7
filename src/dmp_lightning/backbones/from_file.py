"""What a config may take from a file of weights: the sizes of the DiT in it."""

from functools import lru_cache

from dmp_lightning.backbones import diffusers_format
from dmp_lightning.backbones.sizes import guess_heads, read_sizes
from dmp_lightning.backbones.weights import read_weights

NAMES = {
    f"{name}.weight": None
    for name in ("x_embedder.proj", "t_embedder.mlp.0", "y_embedder.embedding_table", "final_layer.linear")
}
"""By which a DiT's weights are found in a file, before its depth is known."""


def in_weights(key: str, path: str | None, part: str | None, class_dropout_prob: float | None) -> int | None:
    """One of the sizes of the DiT in `path`: an argument of `DiT`; None where no file is named.

    The heads, which no shape tells, are diffusers' config's, or guessed; of the rows of the class table the last is the
    null label's if `class_dropout_prob` is above zero and there are several.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no DiT in it.
    """
    if path is None:
        return None
    sizes = _sizes(path, part)
    if key == "num_classes":
        return sizes["rows"] - bool(class_dropout_prob)
    if key == "heads":
        return sizes.get("heads") or guess_heads(sizes["width"], sizes["depth"])
    return sizes[key]


def null_label(path: str | None, part: str | None) -> float | None:
    """The `class_dropout_prob` that is guessed: DiT's own, which gives a null label, where there are several rows."""
    if path is None:
        return None
    return 0.1 if _sizes(path, part)["rows"] > 1 else 0.0


@lru_cache(maxsize=1)
def _sizes(path: str, part: str | None) -> dict[str, int]:
    file, _, found = read_weights(path, NAMES, part)
    tensors, config = found.weights.tensors, dict[str, int]()
    if diffusers_format.is_one(tensors):
        tensors, config = diffusers_format.convert(tensors), diffusers_format.read_config(file)
    sizes = read_sizes(tensors)
    if "sample_size" in config:
        sizes["input_size"] = config["sample_size"]
    missing = {"width", "depth", "input_size", "rows"} - sizes.keys()
    if missing:
        raise ValueError(f"{file} is no DiT: its weights do not tell {' and '.join(sorted(missing))}.")
    heads = config.get("num_attention_heads")
    return sizes if heads is None else sizes | {"heads": heads}
