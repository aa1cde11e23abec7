"""Pictures with captions as a `Source`: samples of any source, under the states of their texts."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num
from torch import Tensor

from dmp_lightning.data.latents.remote import is_remote
from dmp_lightning.data.latents.source import Latents
from dmp_lightning.data.source import KnowsPictures, Source, Stored
from dmp_lightning.data.texts.manifest import FOLDER
from dmp_lightning.data.texts.store import CHANCES, Texts
from dmp_lightning.user_error import UserError


class Captioned:
    """Samples of a source under one of their captions: training draws which, and held-out samples take the first.

    Args:
        samples: the pictures or latents. A source that `KnowsPictures` says which picture of the texts each sample is;
            else sample n is picture n.
        texts: of all pictures. conditions: texts to sample, by their captions; or that many held-out pictures' first.

    Attributes:
        conditions, shown: those to sample, and their captions. null: the empty text.

    Raises:
        UserError: the texts are of other pictures; or one of the `conditions` is not among them.
    """

    def __init__(self, samples: Source, texts: Texts, conditions: int | Sequence[str] = 8) -> None:
        self.samples, self.texts = samples, texts
        self.sample_shape, self.moments = samples.sample_shape, samples.moments
        self.versions = samples.versions * CHANCES
        self.cache, self.fingerprint = samples.cache, f"{samples.fingerprint}-{texts.digest[:16]}"
        self.pictures, held_out = _pictures(samples, texts)
        numbers = _first(texts, held_out, conditions) if isinstance(conditions, int) else texts.find(conditions)
        self.shown = [texts.captions[number] for number in numbers]
        self.conditions, self.null = texts.read(numbers), texts.null

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, indices: Sequence[int], versions: Sequence[int] | None = None) -> Stored:
        """The samples at `indices`; the number of a version says the sample's own, and the chance of its caption."""
        drawn = np.zeros(len(indices), np.int64) if versions is None else np.asarray(versions)
        chances, own = np.divmod(drawn, self.samples.versions)
        x = self.samples.read(indices, own.tolist()).x
        return Stored(x, self.texts.read(self.texts.choose(self.pictures[np.asarray(indices)], chances)))

    def draw(self, x: Num[Tensor, "B ..."], noise: Float[Tensor, "B C H W"] | None = None) -> Float[Tensor, "B C H W"]:
        return self.samples.draw(x, noise)

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        return self.samples.decode(x)

    @property
    def vae_sha256(self) -> str | None:
        """Hash of the weights of the VAE that decodes, where there is one."""
        return getattr(self.samples, "vae_sha256", None)


def captioned_latents(
    folder: str,
    train: bool,
    vae: str,
    texts: str | None = None,
    takes: Collection[str] | Mapping[str, Sequence[int]] | None = None,
    conditions: int | Sequence[str] = 8,
    dtype: str = "float32",
) -> Captioned:
    """Latents and texts that `python -m dmp_lightning.encode` wrote.

    Args:
        folder, train, vae: of the latents, see `Latents`. texts: their folder, if it is not in that of the latents.
        takes, dtype: see `Texts`. conditions: see `Captioned`.

    Raises:
        MissingFileError: something is missing. UserError: a file is damaged, or they do not go together.
    """
    below = f"{folder}/{FOLDER}" if is_remote(folder) else Path(folder) / FOLDER
    return Captioned(Latents(folder, train, vae), Texts(texts or below, takes, dtype), conditions)


def _pictures(samples: Source, texts: Texts) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " H"]]:
    """The picture of each sample, and the held-out ones."""
    kept = np.arange(texts.pictures)
    if not isinstance(samples, KnowsPictures):
        indices, fit = np.arange(len(samples)), len(samples) == len(kept)
        held_out = kept
    else:
        if samples.skipped:
            gone = set(samples.skipped)
            kept = np.array([number for number, name in enumerate(texts.names) if name not in gone], np.int64)
        fit = len(kept) == samples.count and samples.may_be_of(texts.plan.source)
        indices, held_out = samples.indices, samples.held_out
    if not fit:
        raise UserError(
            f"The texts in {texts.folder} are of other pictures ({texts.pictures:,}) than the samples: encode pictures "
            "and captions with one command."
        )
    return kept[indices], kept[held_out]


def _first(texts: Texts, pictures: Int[np.ndarray, " H"], count: int) -> list[int]:
    """The first captions of the first pictures that have some."""
    numbers = texts.choose(pictures)
    return numbers[numbers < len(texts)][:count].tolist() or [len(texts)]
