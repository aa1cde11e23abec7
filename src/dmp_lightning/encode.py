"""`python -m dmp_lightning.encode`: encode images and captions into the latents and texts that training reads."""

from typing import TYPE_CHECKING

from dmp_lightning.commands.door import entry_point
from dmp_lightning.training.ctrl_c import promise
from dmp_lightning.user_error import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("encode")
def main(config: "DictConfig") -> None:
    """Encode, or check what was encoded; torch is imported only now, as a misspelt key does not need it."""
    if (config.source is None) == (config.verify is None):
        raise UserError("Set either source= to the images to encode, or verify= to the latents to check.")
    from dmp_lightning.data.encode.job import encode, verify

    if config.verify is not None:
        verify(config.verify)
        return
    options = ("labels", "resolution", "shard_mb", "batch_size", "workers", "on_error")
    texts = ("text_encoder", "captions", "caption_key", "text_length", "text_dtype")
    promise(lambda: "\nInterrupted. The same command resumes; unfinished shards are encoded again.")
    encode(config.source, config.out, config.vae, **{name: config[name] for name in options + texts})


if __name__ == "__main__":
    main()
