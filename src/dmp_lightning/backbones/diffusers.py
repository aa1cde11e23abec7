"""One adapter for the models of diffusers: they keep their own forward pass, and patches enter it at their blocks."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from dmp_lightning.backbones.base import Embeddings, Enter
from dmp_lightning.backbones.called import Called
from dmp_lightning.backbones.families import Family
from dmp_lightning.backbones.layouts import Grid, Sites, count, halved
from dmp_lightning.backbones.sources import Ending, PassEndedError, Source
from dmp_lightning.backbones.spots import Entering, KeepsPass, Spot, put_on, take_off
from dmp_lightning.condition import Condition
from dmp_lightning.user_error import UserError


class Adapter(Called):
    """A model of diffusers as a base of patches. While there are patches, a call of the model is one of all of them.

    It puts hooks on the model's forward pass and on its timestep embedding, and takes them off with the last patch. The
    tensors of a pass lie on the blocks (`Spot`) while it lasts. Under activation checkpointing they are handed on with
    the block, because the block runs again when another pass may have begun.

    Args:
        model: it stays as it is. family: says where its sites and its timestep embedding are.

    Raises:
        UserError: the model does not have what the family says.
    """

    def __init__(self, model: nn.Module, family: Family) -> None:
        super().__init__(model, family)
        self.names = list(inspect.signature(type(model).forward).parameters)[1:]
        if "timestep" not in self.names:
            raise UserError(f"The forward pass of {type(model).__name__} takes no argument timestep: write a subclass.")
        self.lists = family.sites(model) if callable(family.sites) else family.sites
        self.sites: list[tuple[Sites, nn.Module]] = []
        self.owners: list[Any] = []
        for sites in self.lists:
            blocks = _part(model, sites.path)
            self.owners.append(_part(model, sites.path.rpartition(".")[0]))
            self.sites += [(sites, block) for block in blocks.children()]
        named = [family.embedding] if isinstance(family.embedding, str) else family.embedding
        found = (name for name in named if any(name == each for each, _ in model.named_modules()))
        self.embedder = _part(model, next(found, named[0]))
        self.sources: tuple[Source, ...] = ()
        self._spots: list[Spot] = []
        self._handles: list[Any] = []
        self._call: dict[str, Any] | None = None

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The block of each site, in running order."""
        return nn.ModuleList([block for _, block in self.sites])

    @property
    def embedding_width(self) -> int:
        """E, the size of the timestep embedding."""
        return [each.out_features for each in self.embedder.modules() if isinstance(each, nn.Linear)][-1]

    def widths(self) -> list[int]:
        """D of each site."""
        return [self.family.width(self.model, sites) for sites, _ in self.sites]

    def usual_grids(self) -> list[Grid | None]:
        """Rows and columns of each site's tokens in a picture of the usual size, None where there is none."""
        usual = self.family.usual(self.model)
        return [None if usual is None else halved((1, *usual), sites.halvings)[1:] for sites, _ in self.sites]

    def join(self, source: Source) -> None:
        """Let a patch in, behind those that are there.

        Raises:
            UserError: the blocks have hooks already, of a cache or of offloading.
        """
        self._put_on()
        self.sources = (*self.sources, source)

    @contextmanager
    def letting(self, enter: Enter | Source | None) -> Iterator[None]:
        """Let the pass of a method in, behind the patches that are there, but not behind one of that very method."""
        kept = self.sources
        if isinstance(enter, Source):
            self._put_on()  # and leave it: under activation checkpointing blocks run again later
            method = getattr(enter, "method", None)
            self.sources = (*(each for each in kept if getattr(each, "method", None) is not method), enter)
        try:
            yield
        finally:
            self.sources = kept

    @torch.no_grad()
    def embed(self, t: Num[Tensor, " B"], condition: Condition) -> Embeddings:
        """As a pass computes them, which ends there. There is no embedding of a label alone."""
        found: list[Tensor] = []
        x = torch.zeros(1, *self.sample_shape, device=t.device)
        for number, time in enumerate(t):  # one at a time, because the tokens of the picture are made before
            try:
                with self.letting(Ending()):
                    self(x, time[None], condition.take([number]))
            except PassEndedError as ended:
                found += ended.args
        e = torch.cat(found)
        return Embeddings(e, torch.zeros_like(e))

    def _put_on(self) -> None:
        if self._handles:
            return
        self._spots = put_on(self.blocks)
        self._handles = [
            self.model.register_forward_pre_hook(self._begin, with_kwargs=True),
            self.model.register_forward_hook(self._end, always_call=True),
        ]
        if self.family.embed is None:
            self._handles.append(self.embedder.register_forward_hook(self._embedded))

    def leave(self, source: Source) -> None:
        """Take a patch off; with the last, the model is as it was."""
        self.sources = tuple(each for each in self.sources if each is not source)
        if not self.sources:
            take_off(self.blocks)
            for handle in self._handles:
                handle.remove()
            for owner in self.owners:
                kept = getattr(owner, "_gradient_checkpointing_func", None)
                if isinstance(kept, KeepsPass):
                    owner._gradient_checkpointing_func = kept.checkpoint
            self._spots, self._handles = [], []

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = self._call = dict(zip(self.names, args, strict=False)) | kwargs
        for owner in self.owners:
            checkpoint = getattr(owner, "_gradient_checkpointing_func", None)
            if checkpoint is not None and not isinstance(checkpoint, KeepsPass):
                owner._gradient_checkpointing_func = KeepsPass(checkpoint)
        t = call.get("timestep")
        if isinstance(t, Tensor) and t.ndim > 1:
            raise UserError(f"{type(model).__name__} got a timestep for each token, which gates are not made for.")
        if self.family.embed is not None:
            self._enter(self.family.embed(model, call))

    def _embedded(self, _module: nn.Module, _args: tuple[Any, ...], e: Float[Tensor, "B E"]) -> None:
        if self._call is not None:
            self._enter(e)

    def _enter(self, e: Float[Tensor, "B2 E"]) -> None:
        """Lay on each block what enters there in this pass."""
        assert self._call is not None
        samples = len(self._call[self.names[0]])
        place = self.family.place(self.model, self._call)
        places = [halved(place, sites.halvings) for sites, _ in self.sites]
        e = e[:samples]  # Qwen-Image embeds 0 behind them
        t = self._time_of_process(torch.as_tensor(self._call["timestep"], device=e.device).expand(samples))
        each = [source.additions(t, e, places) for source in self.sources]
        taking_part = [additions for additions in each if additions is not None]
        images = {
            each.path: each.image if isinstance(each.image, str) else each.image(self._call) for each in self.lists
        }
        for site, (sites, _) in enumerate(self.sites):
            additions = tuple(found for part in taking_part if (found := part[site]) is not None)
            here = Entering(additions, count(places[site]), images[sites.path])
            self._spots[site].entering = here if additions else None
        self._call = None

    def _end(self, model: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        missed = self._call is not None and output is not None  # which is None where the pass has failed
        self._call = None
        for spot in self._spots:
            spot.entering = None
        if missed:
            raise UserError(f"{type(model).__name__} did not call {self.family.embedding}: its patch had no effect.")


def _part(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise UserError(f"This {type(model).__name__} has no {name}, which its family names.") from error
