"""Pre-trained diffusion transformers as three steps: `embed`, `blocks`, `unembed`."""

from dmp_lightning.backbones.base import Backbone, Conditioning
from dmp_lightning.backbones.dit import DiT
from dmp_lightning.backbones.families import check_prediction
from dmp_lightning.backbones.weights import in_dtype, load_weights

__all__ = ["Backbone", "Conditioning", "DiT", "check_prediction", "in_dtype", "load_weights"]
