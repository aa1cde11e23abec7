"""The interface of a diffusion process: noise, objective and sampling."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

Samples = Float[Tensor, "B C H W"]
Output = Float[Tensor, "B C2 H W"]
Times = Num[Tensor, " B"]


class Losses(NamedTuple):
    """Per sample, (B,): the `total`, whose mean training minimises, and its `parts` by name."""

    total: Float[Tensor, " B"]
    parts: dict[str, Float[Tensor, " B"]]


class Process(ABC):
    """A process and its objective. Only the process itself knows the meaning and range of its times."""

    predicts: str
    """The model's output: `epsilon_and_variance` (2C channels), `epsilon`, `v`, or `velocity`, noise minus data. Of the
    last three, channels beyond the samples' own are ignored."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The arguments that make the same process again, by name."""

    @abstractmethod
    def draw(self, count: int, source: torch.Generator | None, device: torch.device) -> Times:
        """The times of a training batch."""

    @abstractmethod
    def in_strata(self, offsets: Float[Tensor, "N S"]) -> Num[Tensor, "N S"]:
        """One time from each of S equal parts of the process, noisiest last, at `offsets` in [0, 1) within it."""

    @abstractmethod
    def centres(self, strata: int) -> Float[Tensor, " S"]:
        """The time in the middle of each of these parts."""

    @abstractmethod
    def spread(self, count: int) -> Times:
        """Evenly spread times, both ends of the process included, noisiest last."""

    @abstractmethod
    def place(self, t: Times) -> Float[Tensor, " B"]:
        """Where times are in the process: 0 clean, 1 pure noise."""

    @abstractmethod
    def log_snr(self, t: Times) -> Float[Tensor, " B"]:
        """The logarithm of the signal-to-noise ratio, in float32."""

    @abstractmethod
    def add_noise(self, x0: Samples, noise: Samples, t: Times) -> Samples:
        """`x_t` of clean samples `x0` under standard normal `noise`."""

    @abstractmethod
    def losses(self, output: Output, x0: Samples, x_t: Samples, noise: Samples, t: Times) -> Losses:
        """The objective of a model's `output`."""

    @abstractmethod
    def scheduler(self, build: Callable[..., Any], steps: int, respaced: bool) -> Any:
        """A fresh scheduler of diffusers with its timesteps set (multistep solvers keep a history).

        Args:
            build: the scheduler's class, with options. steps, respaced: see `Sampler`.

        Raises:
            UserError: the scheduler is of another kind of process, or refuses its options; the process does not have
                that many steps; or `respaced` does not go with the scheduler.
        """

    def time(self, timestep: int | float) -> int | float:
        """The time that a scheduler of diffusers calls `timestep`."""
        return timestep

    def for_scheduler(self, output: Output, channels: int, scheduler: Any) -> Float[Tensor, "B C3 H W"]:
        """The part of a model's `output` for samples of C `channels` that a scheduler takes."""
        return output[:, :channels]
