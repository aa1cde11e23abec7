"""DiT (Peebles and Xie 2023, arXiv 2212.09748), with the key names of the public checkpoints, on timm's layers."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Num
from timm.layers import GELUTanh, Mlp, PatchEmbed
from timm.models.vision_transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from dmp_lightning.backbones.base import Backbone, Embeddings, Enter, Site
from dmp_lightning.backbones.positions import sincos_positions
from dmp_lightning.condition import Condition
from dmp_lightning.user_error import UserError

FREQUENCIES = 256  # size of the sinusoidal timestep features
PREDICTS = {"epsilon_and_variance": 2, "epsilon": 1, "v": 1, "velocity": 1, "sit": 2}
"""Predictions that a DiT may be trained for, and for each the output's channels as a multiple of the input's."""
LAST_STEPS = {"release": FREQUENCIES // 2, "diffusers": FREQUENCIES // 2 - 1}


class DiT(Backbone):
    """Diffusion transformer with adaLN-Zero blocks.

    Args:
        input_size: (H, W) of the input, or the side of a square. in_channels: C.
        patch_size: side of a token's patch.
        width: D. depth: L, the number of blocks. heads: attention heads.
        num_classes: labels; class_dropout_prob: above 0 adds the null label, `num_classes`, that guidance needs.
        timestep_frequencies: of the timestep's features, `release` (10,000^(-i/128) for i from 0, as the public code
            trains) or `diffusers` (10,000^(-i/127), as its `DiTTransformer2DModel` computes with the same weights).
        predicts: `epsilon_and_variance` (DiT, 2C channels); `epsilon`, `v` or `velocity` (C channels; the last is
            REPA's, of times from 0, data, to 1, noise); or `sit`, the velocity of a SiT, whose own time and direction
            are the reverse, and which gives C more channels that mean nothing.

    Raises:
        UserError: the sizes do not divide each other, or there are no such frequencies or predictions.
    """

    takes_more_tokens = True
    fixed = frozenset({"pos_embed"})
    modulation = ("adaLN_modulation",)

    def __init__(
        self,
        *,
        input_size: int | Sequence[int],
        in_channels: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        num_classes: int,
        class_dropout_prob: float,
        timestep_frequencies: str = "release",
        predicts: str = "epsilon_and_variance",
    ) -> None:
        super().__init__()
        if predicts not in PREDICTS:
            raise UserError(f"backbone.model.predicts={predicts} is unknown: choose {', '.join(PREDICTS)}.")
        self.trained_for, self.predicts = predicts, "velocity" if predicts == "sit" else predicts
        if timestep_frequencies not in LAST_STEPS:
            raise UserError(
                f"backbone.model.timestep_frequencies={timestep_frequencies} is unknown: choose "
                f"{' or '.join(LAST_STEPS)}."
            )
        self.timestep_frequencies = timestep_frequencies
        rows, columns = (input_size, input_size) if isinstance(input_size, int) else input_size
        if rows % patch_size or columns % patch_size or width % heads or width % 4:
            raise UserError(
                f"A DiT of input_size={input_size}, patch_size={patch_size}, width={width}, heads={heads} cannot be "
                "built: patch_size must divide input_size, and heads and 4 must divide width."
            )
        self.width, self.patch_size, self.num_classes = width, patch_size, num_classes
        self.class_dropout_prob = class_dropout_prob
        self.sample_shape = (in_channels, rows, columns)
        self.grid = (rows // patch_size, columns // patch_size)
        self.null_label = num_classes if class_dropout_prob > 0 else None
        self.x_embedder = PatchEmbed((rows, columns), patch_size, in_channels, width, bias=True)
        self.t_embedder = TimestepEmbedder(width, LAST_STEPS[timestep_frequencies])
        self.y_embedder = LabelEmbedder(num_classes + (self.null_label is not None), width)
        self.pos_embed = nn.Parameter(sincos_positions(width, self.grid)[None], requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_layer = FinalLayer(width, patch_size, PREDICTS[predicts] * in_channels)
        self._initialise()

    def embed(self, t: Num[Tensor, " B"], condition: Condition) -> Embeddings:
        """The embeddings of `t` (0..999, or of a velocity 0 to 1) and of labels, or the null label."""
        assert condition.label is not None
        return Embeddings(self.t_embedder(1 - t if self.trained_for == "sit" else t), self.y_embedder(condition.label))

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        t: Num[Tensor, " B"],
        condition: Condition,
        enter: Enter | None = None,
    ) -> Float[Tensor, "B C2 H W"]:
        """The prediction, for `epsilon_and_variance` with the interpolation of the variance behind it.

        Weights in bfloat16 compute in bfloat16; between the blocks the tokens are of `x`'s type all the same.
        """
        with self.precision(x.device):
            embeddings = self.embed(t, condition)
            tokens = (self.x_embedder(x) + self.pos_embed).to(x.dtype)
            for index, block in enumerate(self.blocks):
                if enter is not None:
                    tokens = enter(tokens, Site(index, embeddings))
                tokens = self.run(block, tokens, embeddings)
            output = self._unpatchify(self.final_layer(tokens[:, -self.tokens :], embeddings))
            return -output[:, : x.shape[1]] if self.trained_for == "sit" else output

    def _unpatchify(self, patches: Float[Tensor, "B T out"]) -> Float[Tensor, "B C2 H W"]:
        p = self.patch_size
        grid = patches.unflatten(1, self.grid).unflatten(3, (p, p, -1))
        return grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def _initialise(self) -> None:
        """The initialisation of the DiT paper: each block starts as the identity, the output as zero."""
        for name, parameter in self.named_parameters():
            if name in self.fixed:
                continue
            if name.endswith("bias") or "adaLN_modulation" in name or name == "final_layer.linear.weight":
                nn.init.zeros_(parameter)
            elif name.startswith(("t_embedder", "y_embedder")):
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.xavier_uniform_(parameter.flatten(1))  # patches are embedded as by a linear layer


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the embeddings (adaLN-Zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(width, heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(width, 4 * width, act_layer=GELUTanh)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Float[Tensor, "B N D"], embeddings: Embeddings) -> Float[Tensor, "B N D"]:
        modulation = self.adaLN_modulation(embeddings.timestep + embeddings.label)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class FinalLayer(nn.Module):
    """Modulated norm and a linear map from each token to its patch of the output."""

    def __init__(self, width: int, patch_size: int, out_channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, patch_size**2 * out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Float[Tensor, "B T D"], embeddings: Embeddings) -> Float[Tensor, "B T out"]:
        shift, scale = self.adaLN_modulation(embeddings.timestep + embeddings.label)[:, None].chunk(2, dim=-1)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class TimestepEmbedder(nn.Module):
    """Sinusoidal features of the timestep, then a two-layer MLP; the period is 10,000 at the frequency `last_step`."""

    def __init__(self, width: int, last_step: int = FREQUENCIES // 2) -> None:
        super().__init__()
        self.last_step = last_step
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Num[Tensor, " B"]) -> Float[Tensor, "B D"]:
        half = FREQUENCIES // 2
        frequencies = torch.exp(
            -math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / self.last_step
        )
        angles = t[:, None].float() * frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(next(self.parameters()).dtype))


class LabelEmbedder(nn.Module):
    """One row a label, and one for the null label where there is one."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(rows, width)

    def forward(self, y: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
        return F.embedding(y, self.embedding_table.weight)
