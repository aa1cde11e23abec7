"""A text encoder of transformers by itself: the states of its last layer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.texts.manifest import Encoding
from dmp_lightning.tensors import hash_tensors
from dmp_lightning.user_error import MissingFileError, UserError

LAYER = "states of its last layer, and their mean"
LONGEST = 512  # tokens, of an encoder that takes any number


class ModelEncoder:
    """A model and tokenizer of transformers. Nothing is downloaded, and no code of the folder is run.

    A condition has the `text` and its `mask`, and as `pooled` the mean of the states: of a sentence encoder, such as
    all-MiniLM-L6-v2, it is the sentence's vector before its length is set to one.

    Args:
        folder: of both. name: as which the store knows it, `revision`: its commit, where known.
        length: most tokens of a text; None for as many as the model takes. dtype: the type that it computes in.

    Raises:
        MissingFileError: the folder has no such model. UserError: it is not one of texts.
    """

    def __init__(
        self, folder: Path, name: str, revision: str | None, *, length: int | None, dtype: torch.dtype, device: str
    ) -> None:
        self.name, self.device = name, device
        self.tokenizer, self.model = _load(folder, name, dtype)
        self.model.to(device)
        known = (self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", LONGEST))
        self.length = min(*known, LONGEST) if length is None else length
        self.encoding = Encoding(
            encoder=name,
            revision=revision,
            sha256=hash_tensors(self.model.state_dict()),
            layer=LAYER,
            lengths={"text": self.length},
            masked=True,
        )

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Condition:
        found = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.length, return_tensors="pt", verbose=False
        ).to(self.device)
        mask = found["attention_mask"].bool()
        try:
            states: Tensor = self.model(**found).last_hidden_state
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"text_encoder={self.name} does not encode texts ({error}): choose a text encoder, or the folder of a "
                "pipeline."
            ) from error
        there = mask[..., None].to(states.dtype)
        return Condition(text=states, mask=mask, pooled=(states * there).sum(1) / there.sum(1).clamp(min=1))

    def null(self) -> Condition:
        return self.encode([""])

    def count_cut(self, texts: Sequence[str]) -> int:
        found = self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"] if texts else []
        return sum(len(each) > self.length for each in found)


def _load(folder: Path, name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer

    where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **where)
        kind = AutoModelForTextEncoding if type(config) in AutoModelForTextEncoding._model_mapping else AutoModel
        tokenizer = AutoTokenizer.from_pretrained(folder, **where)
        model = kind.from_pretrained(folder, use_safetensors=True, **where).to(dtype)
    except (OSError, ValueError) as error:
        raise MissingFileError(
            f"text_encoder={name} cannot be loaded ({str(error).splitlines()[0]}): give the folder of a pipeline of "
            "diffusers, or of a model of transformers with its tokenizer and .safetensors."
        ) from error
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model.eval()
