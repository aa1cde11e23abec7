"""Pre-trained diffusion transformers, which let others at the tokens before each block."""

from dmp_lightning.backbones.base import Backbone, Embeddings, Enter, Site
from dmp_lightning.backbones.diffusers import Adapter
from dmp_lightning.backbones.dit import DiT
from dmp_lightning.backbones.families import Family, family_of
from dmp_lightning.backbones.from_diffusers import load_diffusers
from dmp_lightning.backbones.layouts import Grid, Place, Sites
from dmp_lightning.backbones.recognise import check_prediction
from dmp_lightning.backbones.spots import Addition
from dmp_lightning.backbones.weights import in_dtype, load_weights

__all__ = [
    "Adapter",
    "Addition",
    "Backbone",
    "DiT",
    "Embeddings",
    "Enter",
    "Family",
    "Grid",
    "Place",
    "Site",
    "Sites",
    "check_prediction",
    "family_of",
    "in_dtype",
    "load_diffusers",
    "load_weights",
]
