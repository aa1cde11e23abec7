"""Feature extractors for metrics: modules from uint8 images (N, C, H, W) to float32 features (N, F)."""

import hashlib
import io
import math
import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from dmp_lightning.tensors import hash_tensors
from dmp_lightning.user_error import MissingFileError, UserError

Images = UInt8[Tensor, "N C H W"]

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
SPATIAL_CHANNELS = 7
INCEPTION_SHA256 = "6726825d"  # how the file's SHA-256 starts, as its name says


class Features(nn.Module):
    """A frozen extractor. `name` names the metric, `num_features` is F; only Inception's distance is an `fid`."""

    name: str
    num_features: int

    @property
    def sizes(self) -> dict[str, int]:
        """The number of features in each output that distances are taken over."""
        return {"features": self.num_features}

    def outputs(self, images: Images) -> dict[str, Float[Tensor, "N _"]]:
        """`features`, the module's own output; an extractor may add `spatial` features and `logits`."""
        return {"features": self(images)}

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the extractor and its weights."""
        return hash_tensors(self.state_dict(), f"{self.name} {self.num_features}")[:16]


class Inception(Features):
    """The 2048 pool features of Inception-v3 that define the FID (Heusel et al. 2017), as torch-fidelity ports them.

    It resizes as TensorFlow 1 did, without antialiasing, so that its features are those of the public DiT evaluations.
    Images of any size with 3 channels, or with 1, which is repeated. Nothing is downloaded.

    Args:
        weights: torch-fidelity's weights file; by default the one in torch's cache.

    Raises:
        MissingFileError: there is no such file.
        UserError: its checksum is not the one in its name.
    """

    name = "fid"
    num_features = 2048

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        content = _inception_weights(Path(weights or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE))
        wanted = ["2048", "logits_unbiased"]
        self.network = FeatureExtractorInceptionV3("inception", wanted, feature_extractor_weights_path=content)

    @property
    def sizes(self) -> dict[str, int]:
        """Features, and those of sFID: seven channels at each of 17 x 17 places."""
        return {"features": self.num_features, "spatial": SPATIAL_CHANNELS * 17**2}

    def forward(self, images: Images) -> Float[Tensor, "N 2048"]:
        """Features of 8-bit images."""
        return self.outputs(images)["features"]

    def outputs(self, images: Images) -> dict[str, Float[Tensor, "N _"]]:
        """`features`; `spatial`, the 2,023 of sFID, in the ADM evaluator's order; and `logits` without their bias."""
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        seen: list[Tensor] = []
        # TensorFlow's mixed_6/conv, of which the ADM evaluator takes seven channels at each of 17 x 17 places: so says
        # torch-fidelity's utils/util_convert_inception_weights.py, which made the weights. (mixed_7 is Mixed_6e.)
        hook = self.network.Mixed_6d.branch1x1.register_forward_hook(lambda _, __, output: seen.append(output))
        try:
            features, logits = self.network(images)
        finally:
            hook.remove()
        spatial = seen[0][:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1).float()
        return {"features": features, "spatial": spatial, "logits": logits}


class Pixels(Features):
    """The pixels of images of `shape` (C, H, W), in [-1, 1]. Only for small images: F is the number of pixels."""

    name = "frechet_pixels"

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.num_features = math.prod(shape)

    def forward(self, images: Images) -> Float[Tensor, "N F"]:
        """Features of 8-bit images."""
        check_shape(self.name, images, self.shape)
        return centred(images).flatten(1)


def centred(images: Images) -> Float[Tensor, "N C H W"]:
    """In [-1, 1]."""
    return images.float() / 127.5 - 1


def check_shape(name: str, images: Images, shape: tuple[int, ...]) -> None:
    """Raise a UserError for images of another shape than (N, *shape)."""
    if images.shape[1:] != shape:
        raise UserError(
            f"features={name} takes images of shape {shape}, not {tuple(images.shape[1:])}: choose other features."
        )


def _inception_weights(path: Path) -> io.BytesIO:
    """The weights file in memory, read once and checked: torch-fidelity unpickles it without restrictions."""
    if not path.is_file():
        raise MissingFileError(
            f"There are no Inception-v3 weights at {path}: put torch-fidelity's {INCEPTION_FILE} there, "
            "or set features.weights to its path."
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(INCEPTION_SHA256):
        raise UserError(
            f"{path} is damaged or another file (SHA-256 {found[:8]}..., not {INCEPTION_SHA256}...): "
            f"replace it with torch-fidelity's {INCEPTION_FILE}."
        )
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than weights: replace it with torch-fidelity's own file.") from error
    return io.BytesIO(content)
