"""Tiny text encoders with random weights, and a tokenizer that knows few words."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

SPECIAL = ["<pad>", "</s>", "<unk>", "<s>"]
WORDS = ["a", "red", "blue", "apple", "heart", "one", "two", "three", "system", "."]
SIZE = len(SPECIAL) + len(WORDS) + 1


def tokenizer(length: int) -> PreTrainedTokenizerFast:
    """Each of `WORDS` is a token between a start and an end; the end has the largest number, as CLIP has it."""
    names = [name for name in SPECIAL if name != "</s>"] + WORDS + ["</s>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    built = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, vocabulary[name]) for name in ("<s>", "</s>")]
    built.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        model_max_length=length,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
    )


def clip(width: int, projection: int | None = None) -> nn.Module:
    torch.manual_seed(width)
    options = {"vocab_size": SIZE, "hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 3}
    options |= {"num_attention_heads": 2, "eos_token_id": 2, "projection_dim": projection or width}
    kind = CLIPTextModel if projection is None else CLIPTextModelWithProjection
    return kind(CLIPTextConfig(**options)).eval()


def t5(width: int) -> nn.Module:
    torch.manual_seed(width)
    sizes = {"d_model": width, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=SIZE, **sizes)).eval()


def gemma(width: int) -> nn.Module:
    torch.manual_seed(width)
    options = {"hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 3, "head_dim": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Gemma2Model(Gemma2Config(vocab_size=SIZE, pad_token_id=0, **options, **heads)).eval()


def bert(width: int, length: int = 16) -> nn.Module:
    torch.manual_seed(width)
    options = {"hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertModel(BertConfig(vocab_size=SIZE, max_position_embeddings=length, **options)).eval()
