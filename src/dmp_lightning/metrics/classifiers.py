"""Features for small grey images: the hidden layers of classifiers that ship with the package.

`experiments/classifiers` trains them and states their accuracy.
"""

from importlib.resources import files
from typing import ClassVar

from jaxtyping import Float
from safetensors.torch import load
from torch import Tensor, nn

from dmp_lightning.metrics.features import Features, Images, centred, check_shape

POOL = 0


class Classifier(Features):
    """The hidden layer, before its activation, of a small convolutional classifier of ten classes.

    Args:
        pretrained: load the weights that ship, and freeze them.
    """

    num_features = 64
    side: int
    """Height and width of the images (N, 1, side, side)."""
    widths: ClassVar[tuple[int, ...]]
    """Channels of the 3x3 convolutions, each with an activation; `POOL` halves height and width."""
    file: str
    """File of the weights in the package's assets."""

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        layers, channels, side = list[nn.Module](), 1, self.side
        for width in self.widths:
            if width == POOL:
                layers, side = [*layers, nn.MaxPool2d(2)], side // 2
            else:
                layers, channels = [*layers, nn.Conv2d(channels, width, 3, padding=1), nn.GELU()], width
        self.hidden = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, self.num_features))
        self.head = nn.Sequential(nn.GELU(), nn.Linear(self.num_features, 10))
        if pretrained:
            self.load_state_dict(load((files("dmp_lightning") / "assets" / self.file).read_bytes()))
            self.eval().requires_grad_(False)

    def forward(self, images: Images) -> Float[Tensor, "N 64"]:
        """Features of 8-bit images."""
        check_shape(self.name, images, (1, self.side, self.side))
        return self.hidden(centred(images))

    def outputs(self, images: Images) -> dict[str, Float[Tensor, "N _"]]:
        features = self(images)
        return {"features": features, "logits": self.head(features)}

    def classify(self, images: Images) -> Float[Tensor, "N 10"]:
        """Logits of the ten classes."""
        return self.head(self(images))


class DigitsClassifier(Classifier):
    """For scikit-learn's digits: images (N, 1, 8, 8)."""

    name, file = "frechet_digits_classifier", "digits_classifier.safetensors"
    side, widths = 8, (16, 32, POOL)


class FashionClassifier(Classifier):
    """For Fashion-MNIST: images (N, 1, 28, 28)."""

    name, file = "frechet_fashion_classifier", "fashion_classifier.safetensors"
    side, widths = 28, (16, POOL, 32, POOL, 64, POOL)
