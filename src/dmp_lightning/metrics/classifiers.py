"""Features for small grey images: the hidden layers of classifiers that ship with the package.

`experiments/classifiers` trains them and states their accuracy.
"""

from importlib.resources import files

from jaxtyping import Float
from safetensors.torch import load
from torch import Tensor, nn

from dmp_lightning.metrics.features import Features, Images, centred, check_shape


class Classifier(Features):
    """The hidden layer, before its activation, of a small convolutional classifier of ten classes.

    Args:
        pretrained: with the weights that ship, frozen; without, as it starts its training.
    """

    num_features = 64
    side: int
    """Height and width of the images (N, 1, side, side)."""
    file: str
    """Of the weights, in the package's assets."""

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        self.hidden = self.layers()
        self.head = nn.Sequential(nn.GELU(), nn.Linear(self.num_features, 10))
        if pretrained:
            self.load_state_dict(load((files("dmp_lightning") / "assets" / self.file).read_bytes()))
            self.eval().requires_grad_(False)

    def layers(self) -> nn.Sequential:
        """From centred images to features."""
        raise NotImplementedError

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

    name = "frechet_digits_classifier"
    side = 8
    file = "digits_classifier.safetensors"

    def layers(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, self.num_features),
        )


class FashionClassifier(Classifier):
    """For Fashion-MNIST: images (N, 1, 28, 28)."""

    name = "frechet_fashion_classifier"
    side = 28
    file = "fashion_classifier.safetensors"

    def layers(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(576, self.num_features),
        )
