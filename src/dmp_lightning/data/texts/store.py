"""Reading conditions from a store of texts, a batch at a time."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.captions.captions import Captions, read_captions
from dmp_lightning.data.latents.checksums import check_shards
from dmp_lightning.data.latents.manifest import MANIFEST
from dmp_lightning.data.latents.parts import read_tensors
from dmp_lightning.data.latents.remote import fetch_store, is_remote
from dmp_lightning.data.texts.manifest import CAPTIONS, DTYPES, STATES, Plan, files_of, read_manifest
from dmp_lightning.user_error import MissingFileError, UserError

CHANCES = 2**16
"""A caption is drawn by a number below this one. Which of three it is, is so even to one in 20,000."""


class Texts:
    """The captions of pictures as states of a text encoder, memory-mapped, and the empty text as their `null`.

    Args:
        folder: of the texts, as `python -m dmp_lightning.encode` writes it.
        takes: which tensors of a condition the model takes, maybe with their shapes, see `Called.needs`; None for all
            that there are. Of a store with a mask, a model that takes none gets texts padded with zeros to the length
            at which they are cut.
        dtype: of the numbers that are read, `float32` or `bfloat16`.

    Attributes:
        pictures: how many. captions: of each number. numbers: `first` caption of each picture, and one behind.

    Raises:
        MissingFileError: there is no store, or a file of it is missing.
        UserError: a file is damaged; or the model takes tensors that the store does not have, or of other widths.
    """

    def __init__(
        self,
        folder: str | Path,
        takes: Collection[str] | Mapping[str, Sequence[int]] | None = None,
        dtype: str = "float32",
    ) -> None:
        self.dtype, self.folder = DTYPES[dtype], Path(folder)
        if is_remote(str(folder)):
            self.folder = fetch_store(str(folder), lambda path: files_of(read_manifest(path)))
        if not (self.folder / MANIFEST).is_file():
            raise MissingFileError(
                f"There are no texts at {folder}: encode the captions with `python -m dmp_lightning.encode "
                "text_encoder=...`, or set the folder to theirs."
            )
        manifest = read_manifest(self.folder / MANIFEST)
        self.plan = plan = manifest.plan
        check_shards(self.folder, files_of(manifest))
        self.digest = plan.captions_sha256[:8] + "".join(shard.sha256[:8] for shard in manifest.shards)
        self.takes = self._taken(takes)
        paths = [(self.folder / shard.name, shard.count) for shard in manifest.shards]
        self.states = {name: Ragged(paths, name, plan) for name in plan.widths if name in self.takes}
        of = torch.cat([read_tensors(path, ["pictures"])[0] for path, _ in paths]).numpy()
        self.pictures, self.first = plan.pictures, np.searchsorted(of, np.arange(plan.pictures + 1))
        if len(of) != plan.captions + 1 or of[-1] != plan.pictures or (np.diff(of) < 0).any():
            raise UserError(f"{self.folder} holds {len(of):,} texts, not those of its manifest: encode again.")

    def __len__(self) -> int:
        """How many captions there are, without the empty text."""
        return self.plan.captions

    @cached_property
    def names(self) -> Sequence[str]:
        """The names of the pictures."""
        return self._listed.names

    @cached_property
    def captions(self) -> list[str]:
        """All captions by their number, and the empty text."""
        return [*self._listed.all, ""]

    @cached_property
    def null(self) -> Condition:
        """The empty text, one row."""
        return self.read([len(self)])

    def find(self, texts: Sequence[str]) -> list[int]:
        """The numbers of captions.

        Raises:
            UserError: one is not in the store.
        """
        known = {text: number for number, text in reversed(list(enumerate(self.captions)))}
        missing = next((text for text in texts if text not in known), None)
        if missing is not None:
            raise UserError(
                f"{missing!r} is not among the captions of {self.folder}: choose one of {self.folder / CAPTIONS}."
            )
        return [known[text] for text in texts]

    def choose(self, pictures: Int[np.ndarray, " B"], chances: Int[np.ndarray, " B"] | int = 0) -> np.ndarray:
        """The numbers of a caption of each picture: by a chance below `CHANCES`, or the first.

        Of pictures without any, that of the empty text.
        """
        first = self.first[pictures]
        counts = self.first[pictures + 1] - first
        return np.where(counts == 0, len(self), first + chances * counts // CHANCES)

    def read(self, numbers: Sequence[int] | Int[np.ndarray, " B"]) -> Condition:
        """The captions of these numbers as a condition: padded to the longest of them, or to the store's length."""
        chosen, tensors = np.asarray(numbers), dict[str, Tensor]()
        for name, mask in zip(STATES, ("mask", "mask2"), strict=True):
            if name in self.takes:
                lengths = self.states[name].lengths[chosen]
                whole = self.plan.encoding.fixed or mask not in self.takes
                longest = self.plan.encoding.lengths[name] if whole else int(lengths.max())
                tensors[name] = self.states[name].gather(chosen, longest).to(self.dtype)
                if mask in self.takes:
                    tensors[mask] = torch.from_numpy(np.arange(longest) < lengths[:, None])
        if "pooled" in self.takes:
            tensors["pooled"] = self.states["pooled"].gather(chosen, 1).to(self.dtype)[:, 0]
        return Condition(**tensors)

    @cached_property
    def _listed(self) -> Captions:
        return read_captions(self.folder / CAPTIONS, self.plan.source)

    def _taken(self, takes: Collection[str] | Mapping[str, Sequence[int]] | None) -> set[str]:
        widths, encoding = self.plan.widths, self.plan.encoding
        has = set(widths)
        if encoding.masked:
            has |= {name.replace("text", "mask") for name in encoding.lengths}
        if takes is None:
            return has
        shapes = takes if isinstance(takes, Mapping) else {}
        wrong = [f"has no {name}" for name in sorted(set(takes) - has)]
        wrong += [
            f"has a {name} of width {widths[name]:,}, not {shape[-1]:,}"
            for name, shape in shapes.items()
            if name in widths and widths[name] != shape[-1]
        ]
        if wrong:
            raise UserError(
                f"{self.folder}, which {encoding.encoder} encoded, {' and '.join(wrong)}, as the model takes it: "
                "encode the captions with the text encoder of this model."
            )
        return set(takes)


class Ragged:
    """The states of all texts of a store, `text` or `text2`; or their `pooled` vectors, one each.

    They are held as bytes: numpy knows neither bfloat16 nor numbers of eight bits.

    Attributes:
        lengths: tokens of each text.
    """

    def __init__(self, paths: Sequence[tuple[Path, int]], name: str, plan: Plan) -> None:
        self.dtype, self.parts = DTYPES[plan.dtype], list[np.ndarray]()
        self.width = plan.widths[name] * self.dtype.itemsize
        lengths = []
        for path, count in paths:
            (states,) = read_tensors(path, [name])
            most = plan.encoding.lengths.get(name, 1)
            found = torch.ones(count, dtype=torch.long)
            if name in STATES:
                (found,) = read_tensors(path, [f"{name}_lengths"])
            fits = states.shape[1:] == (plan.widths[name],) and states.dtype == self.dtype and len(found) == count
            if not fits or found.sum() != len(states) or not ((found > 0) & (found <= most)).all():
                raise UserError(f"{path} does not hold the texts of its manifest: encode again.")
            self.parts.append(states.view(torch.uint8).numpy())
            lengths.append(found.numpy())
        self.lengths = np.concatenate(lengths)
        self.ends = np.concatenate([np.cumsum(each) for each in lengths])
        self.begins = np.cumsum([0, *(count for _, count in paths)])

    def gather(self, numbers: Int[np.ndarray, " B"], longest: int) -> Tensor:
        """The states of these texts (B, N, D), with zeros behind the shorter ones."""
        found = np.empty((len(numbers), longest, self.width), np.uint8)
        parts = np.searchsorted(self.begins, numbers, side="right") - 1
        ends, lengths = self.ends[numbers].tolist(), self.lengths[numbers].tolist()
        for place, (part, end, length) in enumerate(zip(parts.tolist(), ends, lengths, strict=True)):
            found[place, :length] = self.parts[part][end - length : end]
            found[place, length:] = 0
        return torch.from_numpy(found).view(self.dtype)
