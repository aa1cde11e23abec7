"""How many images a Fréchet distance is of, against how many features: too few leave a covariance singular."""

from typing import NamedTuple


class Counts(NamedTuple):
    """Generated `samples`, `reference_images` (None where only their statistics are known), and `features` F.

    The covariance of n images has rank n - 1 at most. With F images or fewer it is singular: the distance then says
    more about their number than about the models, and no jackknife of it can be trusted.
    """

    samples: int
    reference_images: int | None
    features: int

    @property
    def too_few(self) -> bool:
        """Whether either side has no more images than there are features."""
        return min(self.samples, self.reference_images or self.samples) <= self.features

    @property
    def warning(self) -> str:
        """What is told of too few, and what can be done."""
        reference = "" if self.reference_images is None else f" and {self.reference_images:,} reference images"
        return (
            f"{self.samples:,} samples{reference} for {self.features:,} features: a covariance is singular, so the "
            "Fréchet distance is marked †, and nothing can be concluded from it. Take more images than features."
        )
