"""Keys of the config of `encode`, and the kind of value that each takes."""

from dmp_lightning.commands.checks.compound_kinds import MAYBE_PATH, MAYBE_TEXT, optional
from dmp_lightning.commands.checks.kinds import COUNT, PATH, Kind, choice, integer

ENCODE: dict[str, Kind] = {
    "source": MAYBE_PATH,
    "verify": MAYBE_PATH,
    "out": PATH,
    "vae": MAYBE_PATH,
    "text_encoder": MAYBE_TEXT,
    "captions": PATH,
    "caption_key": MAYBE_TEXT,
    "text_length": optional(COUNT),
    "text_dtype": choice("float32", "bfloat16", "float16", "float8_e4m3fn"),
    "labels": choice("auto", "folders", "none"),
    "resolution": optional(COUNT),
    "shard_mb": COUNT,
    "batch_size": COUNT,
    "workers": integer(0, 1024),
    "on_error": choice("fail", "skip"),
}
