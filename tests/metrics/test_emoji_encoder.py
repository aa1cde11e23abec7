"""The network that ships to measure emoji, on pictures that it has not seen."""

import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional as F

from dmp_lightning.commands.resolvers import PACKAGE
from dmp_lightning.data.small_pictures import captioned_pictures
from dmp_lightning.metrics.emoji_encoder import FILE, EmojiEncoder
from dmp_lightning.user_error import UserError
from tests.configs import config

DATA = "experiments/emoji_pretrain"


def test_it_is_small_and_loads_frozen() -> None:
    assert (PACKAGE / "assets" / FILE).stat().st_size < 2e6
    encoder = instantiate(config("features=emoji_encoder").features)
    assert not encoder.training
    assert not any(value.requires_grad for value in encoder.parameters())


def test_held_out_pictures_align_with_their_own_captions() -> None:
    held_out = captioned_pictures(f"{DATA}/pictures.zip", f"{DATA}/texts", 32, False, takes=["pooled"])
    images, condition = held_out.read(range(len(held_out)))
    sentences, encoder = condition.pooled, EmojiEncoder()
    assert sentences is not None
    own, others = encoder.alignment(images, sentences), encoder.alignment(images, sentences.roll(1, 0))
    assert own.mean() > others.mean() + 0.1
    likeness = encoder.vectors(images) @ F.normalize(sentences, dim=1).T
    torch.testing.assert_close(likeness.diagonal(), own)
    ranks = (likeness > own[:, None]).sum(1)
    assert (ranks < 5).float().mean() > 5 * 5 / len(images)  # five times as often as by chance


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="frechet_emoji_encoder"):
        EmojiEncoder(pretrained=False)(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
