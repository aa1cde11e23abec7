"""The arguments of a call of each model of diffusers, and its answer, as the pipeline of that model has them."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmp_lightning.condition import Condition

EMBEDDINGS = "diffusers.models.embeddings"  # imported late: patching works without diffusers
PIXELS = 8  # side of a latent pixel in a picture


class Inputs(NamedTuple):
    """The parts of a call: the model's `config`, samples, times, conditions, and `guidance` for distilled models."""

    config: Any
    x: Tensor
    t: Tensor
    condition: Condition
    guidance: float

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the latents."""
        return self.x.shape[-2], self.x.shape[-1]

    @property
    def long_masks(self) -> tuple[Tensor | None, Tensor | None]:
        """The masks as whole numbers, as tokenizers give them."""
        return tuple(None if mask is None else mask.long() for mask in (self.condition.mask, self.condition.mask2))  # type: ignore[return-value]

    def for_all(self, numbers: Sequence[int | float]) -> Tensor:
        """The same numbers for each sample, (B, n), of the samples' type."""
        return torch.tensor(numbers, device=self.x.device).to(self.x.dtype).repeat(len(self.x), 1)


def of_dit(i: Inputs) -> dict[str, Any]:
    return {"hidden_states": i.x, "timestep": i.t, "class_labels": i.condition.label}


def with_text(i: Inputs) -> dict[str, Any]:
    return {"hidden_states": i.x, "timestep": i.t, "encoder_hidden_states": i.condition.text}


def with_mask(i: Inputs) -> dict[str, Any]:
    return with_text(i) | {"encoder_attention_mask": i.long_masks[0]}


def of_pixart(i: Inputs) -> dict[str, Any]:
    """The base of 1024 pixels sees the size and the shape of the picture, but that of PixArt-Sigma does not."""
    sizes: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
    sees = i.config.use_additional_conditions
    if i.config.sample_size == 128 if sees is None else sees:
        rows, columns = i.size
        sizes = {
            "resolution": i.for_all([PIXELS * rows, PIXELS * columns]),
            "aspect_ratio": i.for_all([rows / columns]),
        }
    return with_mask(i) | {"added_cond_kwargs": sizes}


def of_sd3(i: Inputs) -> dict[str, Any]:
    return with_text(i) | {"pooled_projections": i.condition.pooled}


def packed(x: Tensor) -> Tensor:
    """Squares of 2 x 2 latents as tokens: (B, C, H, W) to (B, H/2 * W/2, 4C)."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(x: Tensor, answer: Tensor) -> Tensor:
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    squares = answer.unflatten(1, (rows, columns)).unflatten(3, (-1, 2, 2))
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def of_flux(i: Inputs) -> dict[str, Any]:
    rows, columns = (torch.arange(side // 2, device=i.x.device) for side in i.size)
    place = torch.cartesian_prod(rows, columns).to(i.x.dtype)
    assert i.condition.text is not None
    return of_sd3(i) | {
        "hidden_states": packed(i.x),
        "img_ids": torch.cat([torch.zeros_like(place[:, :1]), place], 1),
        "txt_ids": place.new_zeros(i.condition.text.shape[1], 3),
        "guidance": torch.full_like(i.t, i.guidance) if i.config.guidance_embeds else None,
    }


def of_qwen(i: Inputs) -> dict[str, Any]:
    shape = (1, i.size[0] // 2, i.size[1] // 2)
    return with_text(i) | {
        "hidden_states": packed(i.x),
        "encoder_hidden_states_mask": i.long_masks[0],
        "img_shapes": [[shape]] * len(i.x),
    }


def of_hunyuan(i: Inputs) -> dict[str, Any]:
    config, (mask, mask2) = i.config, i.long_masks
    grid = i.size[0] // config.patch_size, i.size[1] // config.patch_size
    base = 512 // PIXELS // config.patch_size
    angles = import_module(EMBEDDINGS).get_2d_rotary_pos_embed(
        config.attention_head_dim, middle(grid, (base, base)), grid, device=i.x.device, output_type="pt"
    )
    sizes = [1024, 1024, PIXELS * i.size[0], PIXELS * i.size[1], 0, 0]  # of the original, of this one, cut off
    return with_text(i) | {
        "timestep": i.t.to(i.x.dtype),
        "text_embedding_mask": mask,
        "encoder_hidden_states_t5": i.condition.text2,
        "text_embedding_mask_t5": mask2,
        "image_meta_size": i.for_all(sizes),
        "style": torch.zeros_like(i.t, dtype=torch.long),
        "image_rotary_emb": angles,
    }


def middle(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last corner, on the `base` grid, of the largest box in its middle that has the shape of `grid`."""
    scale = min(base[0] / grid[0], base[1] / grid[1])
    inner = [round(scale * side) for side in grid]
    top, left = (round((whole - part) / 2) for whole, part in zip(base, inner, strict=True))
    return (top, left), (top + inner[0], left + inner[1])


def of_cogvideox(i: Inputs) -> dict[str, Any]:
    config, side, frames = i.config, i.config.patch_size, i.x.shape[2]
    grid, base = (i.size[0] // side, i.size[1] // side), (config.sample_height // side, config.sample_width // side)
    thick = getattr(config, "patch_size_t", None)
    angles = None
    if config.use_rotary_positional_embeddings:
        how: dict[str, Any] = {"crops_coords": middle(grid, base), "temporal_size": frames}
        if thick is not None:  # since version 1.5
            how = {"crops_coords": None, "temporal_size": -(-frames // thick), "grid_type": "slice", "max_size": base}
        angles = import_module(EMBEDDINGS).get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim, grid_size=grid, device=i.x.device, **how
        )
    return with_text(i) | {"hidden_states": i.x.transpose(1, 2), "image_rotary_emb": angles}


def of_unet(i: Inputs) -> dict[str, Any]:
    """SDXL sees the size of the original and of this picture, and what was cut off."""
    call = with_text(i)
    call["sample"] = call.pop("hidden_states")
    if i.config.addition_embed_type == "text_time":
        size = [float(PIXELS * side) for side in i.size]
        call["added_cond_kwargs"] = {
            "text_embeds": i.condition.pooled,
            "time_ids": i.for_all([*size, 0, 0, *size]),
        }
    return call


def frames_first(_: Tensor, answer: Tensor) -> Tensor:
    return answer.transpose(1, 2)


def same(_: Any, answer: Tensor) -> Tensor:
    return answer
