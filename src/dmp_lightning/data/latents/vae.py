"""The VAE between images and latents: diffusers' AutoencoderKL, always in float32."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.tensors import hash_tensors
from dmp_lightning.user_error import MissingFileError, UserError

HUB = "hf://"
"""Before the name of a VAE on the hub, hf://ORGANISATION/NAME; all else are folders."""

PATIENCE = 10
"""Seconds that the hub has to answer."""


def has_vae(vae: str) -> bool:
    """Whether `vae` is a folder in diffusers' format, or has been downloaded from the hub."""
    if not vae.startswith(HUB):
        return (Path(vae) / "config.json").is_file()
    try:
        return isinstance(try_to_load_from_cache(vae.removeprefix(HUB), "config.json"), str)
    except HFValidationError:
        return False


def load_vae(vae: str, download: bool = False) -> Any:
    """The AutoencoderKL `vae`, frozen, in float32.

    Raises:
        MissingFileError: there is none; with `download`, also if the hub cannot be reached.
        UserError: its files are damaged, or of another model.
    """
    download = download and vae.startswith(HUB) and not has_vae(vae)
    if not download and not has_vae(vae):
        raise MissingFileError(
            f"There is no VAE at {vae}: set vae to a folder in diffusers' format, or {HUB}stabilityai/sd-vae-ft-ema."
        )
    name = vae.removeprefix(HUB)
    if download:
        _reach_hub(name)
    from diffusers import AutoencoderKL  # slow to import, and only needed for pictures

    try:
        if AutoencoderKL.load_config(name, local_files_only=not download).get("quantization_config"):
            raise UserError("its config.json names a quantiser, which would choose other code")
        model = AutoencoderKL.from_pretrained(name, local_files_only=not download, low_cpu_mem_usage=False)
    except Exception as error:  # diffusers, the hub and safetensors raise many kinds
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{vae} cannot be loaded as an AutoencoderKL ({reason}): set vae to another.") from error
    return model.float().eval().requires_grad_(False)


def _reach_hub(name: str) -> None:
    """Ask for a file once: loading would try for half a minute, and then report a missing file."""
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=PATIENCE)
    except (HfHubHTTPError, HFValidationError):
        pass  # the hub has answered, or need not be asked: loading reports what is wrong
    except Exception as error:  # of requests or httpx, depending on the hub's version
        raise MissingFileError(
            f"The hub cannot be reached for {HUB}{name} ({error}), and it is not in the cache: set vae to a folder in "
            "diffusers' format, or copy the cache (HF_HOME) from a machine with a network."
        ) from error


class Scaling(NamedTuple):
    """A latent is `(z - shift) * scale` for the model, z being the VAE's own, of `channels` if that is known."""

    scale: float
    shift: float
    channels: int | None


def scaling(config: Mapping[str, Any]) -> Scaling:
    """Scale, shift and channels of a VAE, from its configuration."""
    return Scaling(
        float(config["scaling_factor"]), float(config.get("shift_factor") or 0), config.get("latent_channels")
    )


def configured_scaling(vae: str) -> Scaling:
    """`scaling` of a VAE that is not loaded."""
    from diffusers import AutoencoderKL  # slow to import, and only needed here

    return scaling(AutoencoderKL.load_config(vae.removeprefix(HUB), local_files_only=True))


def downsampling(vae: Any) -> int:
    """The width in pixels of a latent's pixel."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def weights_hash(vae: Any) -> str:
    """SHA-256 of the weights, their names and shapes, independent of the file they came from."""
    return hash_tensors(vae.state_dict())


@torch.no_grad()
def posterior(vae: Any, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 2 2 C2 H2 W2"]:
    """Of each image in [-1, 1] and of its mirror: the mean and the standard deviation of the posterior."""
    both = torch.stack([images, images.flip(-1)], dim=1).flatten(0, 1)
    with torch.autocast(images.device.type, enabled=False):
        distribution = vae.encode(both.float()).latent_dist
    return torch.stack([distribution.mean, distribution.std], dim=1).unflatten(0, (-1, 2))


@torch.no_grad()
def decode(vae: Any, latents: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
    """Images of the VAE's own latents, in float32: bf16 autocast would change their Fréchet distance."""
    with torch.autocast(latents.device.type, enabled=False):
        return vae.to(latents.device).decode(latents.float()).sample
