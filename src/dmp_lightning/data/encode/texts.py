"""Encoding the captions of images into a store of texts, and what is told of it."""

import gc
import logging
from collections import Counter
from pathlib import Path

import torch

from dmp_lightning.data.captions.captions import Captions
from dmp_lightning.data.texts.manifest import FOLDER
from dmp_lightning.data.texts.open import open_encoder
from dmp_lightning.data.texts.writing import CUT, write_texts

log = logging.getLogger(__name__)


def encode_texts(
    captions: Captions,
    counts: Counter[str],
    out: Path,
    text_encoder: str,
    *,
    text_length: int | None,
    text_dtype: str,
    batch_size: int,
) -> None:
    """Encode captions into the folder of the texts in `out`; arguments and errors as of `encode`.

    Args:
        counts: pictures without captions, and captions without pictures, which are told.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = open_encoder(text_encoder, length=text_length, dtype=text_dtype, device=device)
    folder = out / FOLDER
    manifest = write_texts(captions, encoder, folder, dtype=text_dtype, batch_size=batch_size)
    del encoder
    free()
    if manifest is None:
        log.info("Other processes are still encoding; the last one completes %s.", folder)
        return
    cut = sum(shard.notes.get(CUT, 0) for shard in manifest.shards)
    told = "; ".join(f"{count:,} {kind}" for kind, count in (counts + Counter({CUT: cut})).items())
    size = f"{len(captions.all):,} captions of {len(captions.names):,} pictures"
    log.info("%s: %s%s.", folder, size, told and f"; {told}")


def free() -> None:
    """Give back the memory of a model that nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
