"""Pre-trained diffusion transformers, which let others at the tokens before each block."""

from dmp_lightning.backbones.base import Backbone, Embeddings, Enter, Site
from dmp_lightning.backbones.dit import DiT
from dmp_lightning.backbones.families import check_prediction
from dmp_lightning.backbones.weights import in_dtype, load_weights

__all__ = [
    "Backbone",
    "DiT",
    "Embeddings",
    "Enter",
    "Site",
    "check_prediction",
    "in_dtype",
    "load_weights",
]
