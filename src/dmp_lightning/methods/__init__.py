"""Ways to go on from a pre-trained backbone, all with the interface of `Method`."""

from dmp_lightning.methods.adaln import AdaLN
from dmp_lightning.methods.base import Method, Prediction
from dmp_lightning.methods.dmp import DMP
from dmp_lightning.methods.frozen import Frozen
from dmp_lightning.methods.full_finetune import FullFinetune
from dmp_lightning.methods.lora import LoRA
from dmp_lightning.methods.patches import load_patch, read_patch, save_patch
from dmp_lightning.methods.prompt_tuning import PromptTuning

__all__ = [
    "DMP",
    "AdaLN",
    "Frozen",
    "FullFinetune",
    "LoRA",
    "Method",
    "Prediction",
    "PromptTuning",
    "load_patch",
    "read_patch",
    "save_patch",
]
