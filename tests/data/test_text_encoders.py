"""The stored condition of a text is what the pipeline's own call hands to its model, and the null one likewise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from torch import Tensor, nn

from dmp_lightning.condition import Condition
from dmp_lightning.data.captions.captions import Captions
from dmp_lightning.data.texts.open import open_encoder
from dmp_lightning.data.texts.store import Texts
from dmp_lightning.data.texts.writing import write_texts
from dmp_lightning.user_error import MissingFileError, UserError
from tests.backbones.tiny import build
from tests.data.tiny_text import bert, clip, gemma, t5, tokenizer

TEXTS = ["a red apple", "two blue heart . a red apple one two"]


class Case(NamedTuple):
    """The text encoders of a pipeline, its model, and the arguments of its call."""

    encoders: Callable[[], dict[str, Any]]
    model: str
    call: dict[str, Any]
    options: dict[str, Any] = {}  # noqa: RUF012 (of the model; nobody changes them)
    takes: tuple[str, ...] = ("text", "mask")
    role: str = "transformer"


def numbered(*encoders: tuple[nn.Module, int]) -> dict[str, Any]:
    """Encoders and tokenizers of lengths, under a pipeline's names."""
    ends = ("", "_2", "_3")
    parts = {f"text_encoder{end}": one for end, (one, _) in zip(ends, encoders, strict=False)}
    return parts | {f"tokenizer{end}": tokenizer(length) for end, (_, length) in zip(ends, encoders, strict=False)}


FLOW = {"guidance_scale": 2.0}
XL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 31}
BINNED = FLOW | {"use_resolution_binning": False}
CASES = {
    "StableDiffusionPipeline": Case(
        lambda: numbered((clip(12), 77)), "UNet2DConditionModel", FLOW, {}, ("text",), "unet"
    ),
    "StableDiffusionXLPipeline": Case(
        lambda: numbered((clip(4), 77), (clip(8, 7), 77)), "UNet2DConditionModel", FLOW, XL, ("text", "pooled"), "unet"
    ),
    "StableDiffusion3Pipeline": Case(
        lambda: numbered((clip(4, 4), 77), (clip(6, 6), 77), (t5(12), 512)),
        "SD3Transformer2DModel",
        FLOW,
        takes=("text", "pooled"),
    ),
    "FluxPipeline": Case(
        lambda: numbered((clip(10), 77), (t5(12), 512)),
        "FluxTransformer2DModel",
        {"true_cfg_scale": 2.0, "negative_prompt": ""},
        takes=("text", "pooled"),
    ),
    "PixArtSigmaPipeline": Case(lambda: numbered((t5(12), 512)), "PixArtTransformer2DModel", BINNED),
    "SanaPipeline": Case(lambda: numbered((gemma(12), 512)), "SanaTransformer2DModel", BINNED),
    "Lumina2Pipeline": Case(lambda: numbered((gemma(12), 512)), "Lumina2Transformer2DModel", FLOW),
    "AuraFlowPipeline": Case(lambda: numbered((t5(12), 512)), "AuraFlowTransformer2DModel", FLOW, takes=("text",)),
}


def small_vae() -> nn.Module:
    return diffusers.AutoencoderKL(latent_channels=4, shift_factor=0.1, block_out_channels=(4,), norm_num_groups=2)


def pipeline_of(name: str) -> Any:
    case = CASES[name]
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler()
    if name in ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "PixArtSigmaPipeline"):
        scheduler = diffusers.DDIMScheduler()
    parts = case.encoders() | {case.role: build(case.model, **case.options), "scheduler": scheduler}
    parts["vae"] = None if name == "SanaPipeline" else small_vae()
    if name == "StableDiffusionPipeline":
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if name == "StableDiffusionXLPipeline":
        parts["add_watermarker"] = False
    pipeline = getattr(diffusers, name)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def handed_over(pipeline: Any, case: Case, text: str) -> dict[str, Condition]:
    """What the pipeline's own call hands to its model for a text, and for no text."""
    calls = list[dict[str, Any]]()

    def record(_: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> None:
        calls.append(keywords)

    handle = getattr(pipeline, case.role).register_forward_pre_hook(record, with_kwargs=True)
    scale = getattr(pipeline, "vae_scale_factor", 8)
    torch.manual_seed(0)
    pipeline(text, height=8 * scale, width=8 * scale, num_inference_steps=1, output_type="latent", **case.call)
    handle.remove()

    def tensors(of: dict[str, Any]) -> Condition:
        pooled = of.get("pooled_projections", (of.get("added_cond_kwargs") or {}).get("text_embeds"))
        mask = of.get("encoder_attention_mask")
        return Condition(text=of["encoder_hidden_states"], mask=None if mask is None else mask.bool(), pooled=pooled)

    first = tensors(calls[0])
    if first.rows == 2:
        return {"null": first.take([0]), "text": first.take([1])}
    return {"text": first, "null": tensors(calls[1])}


def there(found: Condition) -> dict[str, Tensor]:
    """What a model makes use of: the tokens that the mask lets in."""
    states = found.text if found.mask is None else found.text[found.mask]
    return {"text": states} | ({} if found.pooled is None else {"pooled": found.pooled})


@pytest.mark.parametrize("name", CASES)
def test_a_stored_condition_is_what_the_pipeline_hands_to_its_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    case, pipeline = CASES[name], pipeline_of(name)
    pipeline.save_pretrained(tmp_path / "pipeline")
    encoder = open_encoder(str(tmp_path / "pipeline"), length=None, dtype="float32", device="cpu")
    captions = Captions(["a.png", "b.png"], [TEXTS[:1], TEXTS[1:]], "pictures")
    write_texts(captions, encoder, tmp_path / "texts", dtype="float32", batch_size=2)
    store = Texts(tmp_path / "texts", case.takes)
    assert encoder.count_cut([*TEXTS, "a " * 600]) == 1
    for number, text in enumerate(TEXTS):
        expected = handed_over(pipeline, case, text)
        for found, wanted in ((store.read([number]), expected["text"]), (store.null, expected["null"])):
            assert there(found).keys() == there(wanted).keys() == set(case.takes) - {"mask"}
            for key, value in there(wanted).items():
                assert torch.allclose(there(found)[key], value, atol=1e-5), key
    assert (store.read([0]).mask is not None) == ("mask" in case.takes)


def test_hunyuan_has_two_texts_of_fixed_lengths(tmp_path: Path) -> None:
    parts = numbered((bert(12, 128), 77), (t5(16), 256))
    pipeline = diffusers.HunyuanDiTPipeline(
        vae=small_vae(),
        transformer=None,
        safety_checker=None,
        feature_extractor=None,
        scheduler=diffusers.DDPMScheduler(),
        requires_safety_checker=False,
        **parts,
    )
    pipeline.save_pretrained(tmp_path / "pipeline")
    encoder = open_encoder(str(tmp_path / "pipeline"), length=None, dtype="float32", device="cpu")
    assert (encoder.encoding.lengths, encoder.encoding.fixed) == ({"text": 77, "text2": 256}, True)
    found = encoder.encode(TEXTS)
    assert found.shapes == {"text": [77, 12], "mask": [77], "text2": [256, 16], "mask2": [256]}
    assert found.mask.sum(1).tolist() == found.mask2.sum(1).tolist() == [5, 11]
    with pytest.raises(UserError, match="has its own, set text_length=null"):
        open_encoder(str(tmp_path / "pipeline"), length=50, dtype="float32", device="cpu")


def save_bert(folder: Path) -> nn.Module:
    model = bert(12)
    model.save_pretrained(folder)
    tokenizer(512).save_pretrained(folder)
    return model


def test_a_model_by_itself_gives_its_last_states(tmp_path: Path) -> None:
    model = save_bert(tmp_path)
    encoder = open_encoder(str(tmp_path), length=None, dtype="float32", device="cpu")
    assert encoder.encoding.lengths == {"text": 16}, "as many as it has positions"
    found = encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = model(**tokenizer(512)(text, return_tensors="pt")).last_hidden_state[0]
        assert torch.allclose(found.text[row, found.mask[row]], alone, atol=1e-5)
        assert torch.allclose(found.pooled[row], alone.mean(0), atol=1e-5)
    short = open_encoder(str(tmp_path), length=4, dtype="float32", device="cpu")
    assert (short.encode(TEXTS).text.shape[1], short.count_cut([*TEXTS, "", "a red"])) == (4, 2)
    assert open_encoder(str(tmp_path), length=4, dtype="bfloat16", device="cpu").null().text.dtype == torch.bfloat16


def test_an_encoder_that_is_not_there_is_told(tmp_path: Path) -> None:
    how: dict[str, Any] = {"length": None, "dtype": "float32", "device": "cpu"}
    with pytest.raises(MissingFileError, match="is no folder, and not in the cache of the hub: download it"):
        open_encoder("nobody/nothing", **how)
    with pytest.raises(MissingFileError, match=r"cannot be loaded .* give the folder of a pipeline"):
        open_encoder(str(tmp_path), **how)
    clip(12).save_pretrained(tmp_path)
    with pytest.raises(MissingFileError, match="cannot be loaded"):
        open_encoder(str(tmp_path), **how)


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ("{", "is damaged, see"),
        ({"_class_name": "KandinskyPipeline"}, "is a KandinskyPipeline, which is not among those known"),
        ({"_class_name": "FluxPipeline", "text_encoder": ["os", "system"]}, "has its text_encoder from os: choose"),
        ({"_class_name": "FluxPipeline", "tokenizer": ["transformers", "CLIPTokenizer"]}, "cannot be loaded"),
    ],
)
def test_the_index_of_a_pipeline_is_data(tmp_path: Path, index: object, sentence: str) -> None:
    content = index if isinstance(index, str) else json.dumps(index)
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(UserError, match=sentence):
        open_encoder(str(tmp_path), length=None, dtype="float32", device="cpu")
