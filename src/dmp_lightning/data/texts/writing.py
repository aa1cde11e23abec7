"""Encoding captions into a store of texts, shard by shard, by as many processes as are started."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from filelock import FileLock
from jaxtyping import Bool, Float
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from dmp_lightning.condition import Condition
from dmp_lightning.data.captions.captions import Captions, hash_of
from dmp_lightning.data.encode.plans import RECORDS, changing_plan, clear, plan_path, shards_of
from dmp_lightning.data.encode.shards import fill_each
from dmp_lightning.data.latents.checksums import sha256
from dmp_lightning.data.latents.manifest import MANIFEST, Shard, differences, read_shard, write_record
from dmp_lightning.data.texts.manifest import (
    CAPTIONS,
    DTYPES,
    STATES,
    Encoding,
    Manifest,
    Plan,
    read_manifest,
    read_plan,
    write_plan,
)
from dmp_lightning.files import replacing
from dmp_lightning.user_error import UserError

SHARD_BYTES = 2**30
"""Most of one shard, which is held in memory while its texts are encoded."""
CUT = "captions longer than the encoder takes, and cut"


@runtime_checkable
class Encoder(Protocol):
    """A text encoder; `encoding` says which."""

    encoding: Encoding

    def encode(self, texts: Sequence[str]) -> Condition:
        """The states of each text, (B, N, D) with any N, and what belongs to them."""

    def null(self) -> Condition:
        """Those that stand for no text, one row."""

    def count_cut(self, texts: Sequence[str]) -> int:
        """How many texts have more tokens than the encoder takes."""


def write_texts(
    captions: Captions, encoder: Encoder, out: Path, *, dtype: str, batch_size: int, shard_bytes: int = SHARD_BYTES
) -> Manifest | None:
    """Encode the captions, and the empty text behind them, into the folder `out`, or continue there.

    A shard depends on its own texts alone, so it is the same whichever process encodes it, and if one is killed.

    Args:
        dtype: of the stored numbers, one of `DTYPES`. batch_size: texts encoded at a time.

    Returns:
        The manifest; None where other processes are still encoding.

    Raises:
        UserError: `out` holds other texts; or the states do not fit into `dtype`.
        OSError: the store cannot be written.
    """
    texts, null = captions.all, encoder.null()
    plan = _plan(captions, encoder.encoding, null, dtype, shard_bytes)
    _begin(plan, captions, out)
    of = torch.tensor([number for number, each in enumerate(captions.texts) for _ in each] + [len(captions.names)])
    shards = shards_of(out, len(of), plan.shard_texts)
    done = sum(len(span) for record, span in shards if record.exists())
    bar = tqdm(total=len(of), initial=done, desc="Encoding texts", unit="text", smoothing=0.05)

    def fill(record: Path, span: range) -> None:
        mine = texts[span.start : span.stop]
        batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
        rows = (encoder.encode(batch) for batch in batches)
        tensors = _tensors(chain(rows, [null] if len(mine) < len(span) else []), plan, bar)
        cut = encoder.count_cut(mine)
        _write_shard({"pictures": of[span.start : span.stop]} | tensors, cut, plan, record, out)

    with bar, torch.inference_mode():
        fill_each(shards, fill)
    return _finish(plan, out, [record for record, _ in shards])


def _plan(captions: Captions, encoding: Encoding, null: Condition, dtype: str, shard_bytes: int) -> Plan:
    widths = {name: shape[-1] for name, shape in null.shapes.items() if not name.startswith("mask")}
    size = sum(widths[name] * length for name, length in encoding.lengths.items()) * DTYPES[dtype].itemsize
    return Plan(
        encoding=encoding,
        widths=widths,
        dtype=dtype,
        pictures=len(captions.names),
        captions=len(captions.all),
        source=captions.pictures,
        captions_sha256=hash_of(captions.to_bytes()),
        shard_texts=max(1, shard_bytes // size),
    )


def _begin(plan: Plan, captions: Captions, out: Path) -> None:
    """Write plan and captions into a new store, or make sure that they are the store's own."""
    with changing_plan(out):
        known = plan_path(out)
        if known.exists():
            begun = read_plan(known)
            other = differences(begun.encoding, plan.encoding)
            other += differences(replace(begun, encoding=plan.encoding), plan)
            if other:
                raise UserError(
                    f"{out} holds texts of another {', '.join(other)}: choose another folder with out=, or remove it."
                )
        elif (out / MANIFEST).exists():
            raise UserError(f"{out} already holds texts: choose another folder with out=, or remove it.")
        else:
            write_plan(plan, known)
        clear(out / CAPTIONS)
        if not (out / CAPTIONS).is_file() or sha256(out / CAPTIONS) != plan.captions_sha256:
            with replacing(out / CAPTIONS) as temporary:
                temporary.write_bytes(captions.to_bytes())


def _tensors(rows: Iterable[Condition], plan: Plan, bar: tqdm) -> dict[str, Tensor]:
    """The tensors of a shard: the tokens that are there, one text after the other, and how many each text has."""
    found: dict[str, list[Tensor]] = {name: [] for name in plan.widths}
    for row in rows:
        for name, mask in zip(STATES, ("mask", "mask2"), strict=True):
            if name in found:
                found[name] += [_stored(one, plan.dtype) for one in _there(getattr(row, name), getattr(row, mask))]
        if row.pooled is not None:
            found["pooled"] += [_stored(row.pooled, plan.dtype)]
        bar.update(row.rows)
    lengths = {f"{name}_lengths": torch.tensor([len(one) for one in found[name]]) for name in plan.encoding.lengths}
    return {name: torch.cat(each) for name, each in found.items()} | lengths


def _stored(states: Tensor, dtype: str) -> Tensor:
    if not (states.abs() <= torch.finfo(DTYPES[dtype]).max).all():  # of eight bits, torch would give the nearest
        raise UserError(f"The encoder gives states beyond the range of {dtype}: set text_dtype=bfloat16.")
    return states.to(DTYPES[dtype]).cpu()


def _write_shard(tensors: dict[str, Tensor], cut: int, plan: Plan, record: Path, out: Path) -> None:
    path = out / f"{record.stem}.safetensors"
    for file in (path, record):
        clear(file)
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    shard = Shard(path.name, len(tensors["pictures"]), sha256(path), (), {CUT: cut} if cut else {})
    with changing_plan(out):
        if read_plan(plan_path(out)) != plan:
            raise UserError(f"Another process has restarted {out} with other options: choose another folder with out=.")
        write_record(shard, record)


def _there(states: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None) -> list[Float[Tensor, "n D"]]:
    """The tokens of each text that are there, at least one. Without a mask zeros at the end are left out."""
    if mask is None:
        places = torch.arange(1, states.shape[1] + 1, device=states.device)
        lengths = (states.ne(0).any(2) * places).amax(1).clamp(min=1)
        return [row[:length] for row, length in zip(states, lengths.tolist(), strict=True)]
    return [row[there] if there.any() else row[:1] for row, there in zip(states, mask, strict=True)]


def _finish(plan: Plan, out: Path, records: Sequence[Path]) -> Manifest | None:
    """Write the manifest if all shards are there. Any process may do so: they write the same."""
    if not all(record.exists() for record in records):
        return None
    with FileLock(out / RECORDS / "manifest.lock"):
        clear(out / MANIFEST)
        if not (out / MANIFEST).exists():
            write_plan(Manifest(plan, tuple(read_shard(record) for record in records)), out / MANIFEST)
    return read_manifest(out / MANIFEST)
