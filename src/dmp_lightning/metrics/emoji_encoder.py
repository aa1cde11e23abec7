"""Features for emoji: a small network from pictures into the space of sentences, which ships with the package.

`experiments/emoji_encoder` trains it and states how well it finds captions.
"""

from importlib.resources import files

import torch
from jaxtyping import Float
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from dmp_lightning.metrics.features import Features, Images, centred, check_shape

SHAPE = (3, 32, 32)
WIDTHS = (32, 64, 128, 128)
TEXT = 384  # size of a sentence vector of all-MiniLM-L6-v2
FILE = "emoji_encoder.safetensors"


class EmojiEncoder(Features):
    """64 features of emoji (N, 3, 32, 32), and `vectors` made of them that lie near the sentence vector of a caption.

    Neither its distances nor its scores can be compared with an FID or a CLIP score.

    Args:
        pretrained: load the weights that ship, and freeze them.
    """

    name = "frechet_emoji_encoder"
    num_features = 64

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        layers, channels = list[nn.Module](), SHAPE[0]
        for width in WIDTHS:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.GELU()]
            channels = width
        self.hidden = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * channels, self.num_features))
        self.head = nn.Sequential(nn.GELU(), nn.Linear(self.num_features, TEXT))
        if pretrained:
            self.load_state_dict(load((files("dmp_lightning") / "assets" / FILE).read_bytes()))
            self.eval().requires_grad_(False)

    def forward(self, images: Images) -> Float[Tensor, "N 64"]:
        """Features of 8-bit images."""
        check_shape(self.name, images, SHAPE)
        return self.hidden(centred(images))

    def vectors(self, images: Images) -> Float[Tensor, "N 384"]:
        """Vectors of length one in the space of sentences."""
        return F.normalize(self.head(self(images)), dim=1)

    def alignment(self, images: Images, sentences: Float[Tensor, "N 384"]) -> Float[Tensor, " N"]:
        """The cosine between each picture's vector and the sentence vector of its caption, of any length."""
        return torch.cosine_similarity(self.vectors(images), sentences, dim=1)
