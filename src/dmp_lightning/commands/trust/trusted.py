"""The list of all that a config may build, and the function that builds it."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dmp_lightning.patching.own_code import is_own
from dmp_lightning.user_error import UserError

OURS = """
backbones.DiT backbones.load_diffusers
data.captioned.captioned_latents data.digits.Digits data.fashion_mnist.FashionMNIST data.latents.source.Latents
data.small_pictures.captioned_pictures data.stream.DiffusionData
data.synthetic.SyntheticConditions data.synthetic.SyntheticLatents
diffusion.ddpm.DDPM diffusion.flow.Flow diffusion.sampler.Sampler diffusion.schedule.cosine_betas
diffusion.schedule.linear_betas diffusion.schedule.scaled_linear_betas
diffusion.weighting.constant diffusion.weighting.min_snr diffusion.weighting.min_snr_v diffusion.weighting.p2
metrics.classifiers.DigitsClassifier metrics.classifiers.FashionClassifier metrics.emoji_encoder.EmojiEncoder
metrics.features.Inception metrics.features.Pixels metrics.own_pictures.OwnPictures
methods.AdaLN methods.DMP methods.Frozen methods.FullFinetune methods.LoRA methods.PromptTuning
prompts.ConstantGate prompts.HardGate prompts.LinearGate prompts.MLPGate prompts.SigmoidGate
training.csv_log.CSVLog training.loggers.wandb_logger training.sharding.FrozenShards
"""

LIGHTNING = """
Trainer
pytorch.Trainer
pytorch.loggers.CSVLogger pytorch.loggers.TensorBoardLogger
pytorch.strategies.DDPStrategy pytorch.strategies.SingleDeviceStrategy
"""

OPTIMISERS = "ASGD Adadelta Adagrad Adam AdamW Adamax NAdam RAdam RMSprop Rprop SGD"

RATES = """
ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR LinearLR
MultiStepLR OneCycleLR PolynomialLR SequentialLR StepLR
"""

SAMPLERS = """
DDIMScheduler DDPMScheduler DEISMultistepScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler
EulerAncestralDiscreteScheduler EulerDiscreteScheduler FlowMatchEulerDiscreteScheduler HeunDiscreteScheduler
KDPM2AncestralDiscreteScheduler KDPM2DiscreteScheduler LMSDiscreteScheduler PNDMScheduler SASolverScheduler
UniPCMultistepScheduler
"""

TRUSTED = frozenset(
    f"{prefix}.{name}"
    for prefix, names in {
        "dmp_lightning": OURS,
        "lightning": LIGHTNING,
        "torch.optim": OPTIMISERS,
        "torch.optim.lr_scheduler": RATES,
        "diffusers": SAMPLERS,
    }.items()
    for name in names.split()
)
"""Exact names of constructors. None of them runs code that its arguments name, or reads pickles."""

LOGGERS = {
    "dmp_lightning.training.csv_log.CSVLog": "path",
    "dmp_lightning.training.loggers.wandb_logger": "save_dir",
    "lightning.pytorch.loggers.CSVLogger": "save_dir",
    "lightning.pytorch.loggers.TensorBoardLogger": "save_dir",
}
"""Those that write files, and the argument that says where. They stand below `logger`, where it is checked."""

LIBRARIES = ("lightning.", "torch.", "diffusers.")
"""Where nothing else is built, an error of whatever kind says that the arguments are wrong."""

SWITCHES = ("_partial_", "_recursive_")


def build(node: Any, **arguments: Any) -> Any:
    """Build what a node of the config describes, with more `arguments`; None where there is none.

    The node is resolved once, and what is checked is what is built: no interpolation is left in it.

    Raises:
        UserError: it names something that is not trusted; or a class of another library refuses its arguments.
    """
    if node is None:
        return None
    if not OmegaConf.is_config(node):
        raise UserError(f"{node!r} cannot be built: choose a file of its group, or give a `_target_`.")
    plain = OmegaConf.to_container(node, resolve=True)
    check_node(plain, node._get_full_key(None))
    try:
        return instantiate(OmegaConf.create(plain), **arguments)
    except InstantiationException as error:
        built = [str(value) for _, key, value in _leaves(plain, "") if key == "_target_"]
        cause = error.__cause__
        if cause and not isinstance(cause, UserError) and all(target.startswith(LIBRARIES) for target in built):
            raise UserError(f"{node._get_full_key(None)} cannot be built: {cause}") from error
        raise


def check_targets(config: DictConfig) -> None:
    """Make sure, before any work, that all parts of a config describe only what is trusted.

    A config that cannot be resolved as a whole is taken as it is written: `build` checks each part again.

    Raises:
        UserError: one does not, or there is no such thing.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:
        check_node(OmegaConf.to_container(config, resolve=False), "", resolved=False)
    else:
        check_node(plain, "")


def check_node(plain: Any, where: str, resolved: bool = True) -> None:
    """Make sure that plain containers name only trusted targets, at any depth, and hold no interpolation.

    Raises:
        UserError: they do not; the sentence names the key below `where`.
    """
    for path, key, value in _leaves(plain, where):
        if key == "_target_":
            check_target(path, value)
        elif resolved and key in SWITCHES and not isinstance(value, bool):
            raise UserError(f"{path}={value}: choose true or false.")
        elif resolved and isinstance(value, str) and "${" in value:
            raise UserError(f"{path}={value} is an interpolation inside a value: write the value itself.")


def check_target(where: str, target: object) -> None:
    """Make sure that a config may build `target`: by its exact name, or as defined in one of the user's `OWN` packages.

    Raises:
        UserError: it may not, or there is no such thing.
    """
    if isinstance(target, str) and (target in TRUSTED or is_own(where, target)):
        if target in LOGGERS and not where.startswith("logger."):
            raise UserError(f"{where}={target} is a logger: put it below logger.")
        return
    close = get_close_matches(str(target), TRUSTED, n=1, cutoff=0.8)
    hint = (
        f"did you mean {close[0]}? For" if close else "dmp_lightning/commands/trust/trusted.py lists what it may; for"
    )
    raise UserError(f"A config may not build {where}={target}: {hint} your own code, set DMP_TRUSTED to its package.")


def _leaves(node: Any, where: str) -> Iterator[tuple[str, object, Any]]:
    """Path, key and value of all that nested containers hold; what stands at Hydra's own keys as a whole."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        path = f"{where}.{key}".lstrip(".")
        if key in ("_target_", *SWITCHES) or not isinstance(value, dict | list):
            yield path, key, value
        else:
            yield from _leaves(value, path)
