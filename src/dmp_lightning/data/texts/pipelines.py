"""The text encoders of a pipeline of diffusers, called as the pipeline itself calls them: one row a family."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.texts.loading import PARTS, load_pipeline, quiet
from dmp_lightning.data.texts.manifest import Encoding
from dmp_lightning.tensors import hash_tensors
from dmp_lightning.user_error import UserError

NULL = "null."


class Row(NamedTuple):
    """The answer of a pipeline's `encode_prompt`.

    Args:
        answer: the tensors of a condition in their order. `null.` is before those of the negative prompt; pipelines
            without one take the empty prompt. `-` stands for what the model does not take.
        calls: arguments of a call for each encoder; the tensors of the second one are `text2` and `mask2`.
        fixed: whether the model takes texts of one length alone.
    """

    answer: str
    calls: tuple[Mapping[str, int], ...] = ({},)
    fixed: bool = False


PLAIN, MASKED = Row("text null.text"), Row("text mask null.text null.mask")
POOLED = Row("text null.text pooled null.pooled")
ROWS = {
    "StableDiffusionPipeline": PLAIN,
    "StableDiffusionXLPipeline": POOLED,
    "StableDiffusion3Pipeline": POOLED,
    "FluxPipeline": Row("text pooled -"),
    "PixArtAlphaPipeline": MASKED,
    "PixArtSigmaPipeline": MASKED,
    "SanaPipeline": MASKED,
    "Lumina2Pipeline": MASKED,
    "HunyuanDiTPipeline": Row(
        "text null.text mask null.mask",
        ({"text_encoder_index": 0, "max_sequence_length": 77}, {"text_encoder_index": 1, "max_sequence_length": 256}),
        fixed=True,
    ),
    "AuraFlowPipeline": Row("text - null.text -"),
    "QwenImagePipeline": Row("text mask"),
    "WanPipeline": PLAIN,
    "CogVideoXPipeline": PLAIN,
}


class PipelineEncoder:
    """The tokenizers and text encoders of a pipeline; its other parts are not loaded, and nothing is downloaded.

    A condition is what the call of the pipeline makes of a prompt, and the null condition what it makes of no negative
    prompt: of the empty text, or zeros.

    Args:
        folder: of the pipeline. name: as which the store knows it, `revision`: its commit, where known.
        length: most tokens of a text; None for as many as the pipeline takes. dtype: the type of the encoders.

    Raises:
        MissingFileError: a part is missing. UserError: its class is not in `ROWS`, or has a length of its own.
    """

    def __init__(
        self, folder: Path, name: str, revision: str | None, *, length: int | None, dtype: torch.dtype, device: str
    ) -> None:
        self.pipeline = load_pipeline(folder, name, ROWS, dtype)
        self.kind = type(self.pipeline).__name__
        self.row, self.arguments = ROWS[self.kind], _defaults(self.pipeline, length)
        self.arguments["device"] = torch.device(device)
        weights = dict[str, Tensor]()
        for part, encoder in self.pipeline.components.items():
            if part.startswith(PARTS[1]) and encoder is not None:
                encoder.to(device)
                weights |= {f"{part}.{name}": value for name, value in encoder.state_dict().items()}
        null = self.null()
        masked = null.mask is not None
        lengths = {}
        for call, text in zip(self.row.calls, ("text", "text2"), strict=False):
            known = call.get("max_sequence_length", self.arguments.get("max_sequence_length"))
            lengths[text] = known if masked and known is not None else getattr(null, text).shape[1]
        self.encoding = Encoding(
            encoder=name,
            revision=revision,
            sha256=hash_tensors(weights),
            layer=f"{self.kind}.encode_prompt",
            lengths=lengths,
            masked=masked,
            fixed=self.row.fixed,
        )

    def encode(self, texts: Sequence[str]) -> Condition:
        return self._call(texts, "")

    def null(self) -> Condition:
        return self._call([""], NULL if NULL in self.row.answer else "")

    def count_cut(self, texts: Sequence[str]) -> int:
        """Texts of which no tokenizer reads the end."""
        known = self.arguments.get("max_sequence_length") or 10**9
        cut = [True] * len(texts)
        for part, tokenizer in self.pipeline.components.items():
            if part.startswith(PARTS[0]) and tokenizer is not None and texts:
                most = min(known, tokenizer.model_max_length)
                found = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
                cut = [before and len(each) > most for before, each in zip(cut, found, strict=True)]
        return sum(cut)

    @torch.no_grad()
    def _call(self, texts: Sequence[str], prefix: str) -> Condition:
        """The condition that those of the answer make whose names begin with `prefix`."""
        found = dict[str, Tensor | None]()
        for call, number in zip(self.row.calls, ("", "2"), strict=False):
            given = self.arguments | {"prompt": list(texts), "do_classifier_free_guidance": prefix == NULL, **call}
            takes = inspect.signature(self.pipeline.encode_prompt).parameters
            with quiet():
                answer = self.pipeline.encode_prompt(**{key: value for key, value in given.items() if key in takes})
            for name, value in zip(self.row.answer.split(), answer, strict=True):
                if name.startswith(prefix) and (prefix or not name.startswith((NULL, "-"))):
                    found[f"{name.removeprefix(prefix)}{number}"] = value
        for text, mask in (("text", "mask"), ("text2", "mask2")):
            if mask in found:
                states, there = found[text], found[mask]
                assert states is not None
                found[mask] = torch.ones(states.shape[:2]).bool() if there is None else there.bool()
        return Condition(**found).to("cpu")


def _defaults(pipeline: Any, length: int | None) -> dict[str, Any]:
    """The arguments of `encode_prompt`, as the call of the pipeline has them where it is told nothing."""
    takes = inspect.signature(pipeline.encode_prompt).parameters.values()
    told = {each.name: each.default for each in inspect.signature(pipeline.__call__).parameters.values()}
    found = {
        each.name: told.get(each.name, None if each.default is each.empty else each.default)
        for each in takes
        if each.kind is not each.VAR_KEYWORD
    }
    found |= {"num_images_per_prompt": 1, "num_videos_per_prompt": 1}
    if length is not None:
        if "max_sequence_length" not in found or len(ROWS[type(pipeline).__name__].calls) > 1:
            raise UserError(f"text_length={length}: {type(pipeline).__name__} has its own, set text_length=null.")
        found["max_sequence_length"] = length
    return found
