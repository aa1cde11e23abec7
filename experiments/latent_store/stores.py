"""Ways to keep latents and their labels: for each, how it is written, and how it is opened to gather a batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

Gather = Callable[[np.ndarray], tuple[Tensor, Tensor]]
Write = Callable[[np.ndarray, np.ndarray, Path], object]


def write_files(latents: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    for kind in ("features", "labels"):
        (folder / kind).mkdir()
    for index, (latent, label) in enumerate(zip(latents, labels, strict=True)):
        np.save(folder / "features" / f"{index}.npy", latent[None])
        np.save(folder / "labels" / f"{index}.npy", label[None])


def open_files(folder: Path) -> Gather:
    def gather(indices: np.ndarray) -> tuple[Tensor, Tensor]:
        latents = [torch.from_numpy(np.load(folder / "features" / f"{index}.npy")) for index in indices]
        labels = [torch.from_numpy(np.load(folder / "labels" / f"{index}.npy")) for index in indices]
        return torch.cat(latents), torch.cat(labels)

    return gather


def write_npy(latents: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    np.save(folder / "latents.npy", latents)
    np.save(folder / "labels.npy", labels)


def open_npy(folder: Path) -> Gather:
    latents, labels = np.load(folder / "latents.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    return lambda indices: (torch.from_numpy(latents[indices]), torch.from_numpy(labels[indices]))


def write_safetensors(latents: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    save_file({"latents": latents, "labels": labels}, folder / "all.safetensors")


def open_safetensors(folder: Path) -> Gather:
    with safe_open(folder / "all.safetensors", "pt") as file:
        latents, labels = file.get_tensor("latents").numpy(), file.get_tensor("labels").numpy()
    return lambda indices: (torch.from_numpy(latents[indices]), torch.from_numpy(labels[indices]))


def columns(latents: np.ndarray, labels: np.ndarray) -> "pa.Table":
    import pyarrow as pa

    flat = pa.FixedSizeListArray.from_arrays(pa.array(latents.reshape(-1)), latents[0].size)
    return pa.table({"latents": flat, "labels": labels})


def write_arrow(latents: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    from datasets import Dataset

    Dataset(columns(latents, labels), fingerprint="latents").save_to_disk(folder / "arrow")


def open_arrow(folder: Path) -> Gather:
    from datasets import load_from_disk

    data = load_from_disk(folder / "arrow").with_format("torch")

    def gather(indices: np.ndarray) -> tuple[Tensor, Tensor]:
        batch = data[indices.tolist()]
        return batch["latents"].view(-1, 4, 32, 32), batch["labels"]

    return gather


def write_lance(latents: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    import lance

    lance.write_dataset(columns(latents, labels), folder / "lance")


def open_lance(folder: Path) -> Gather:
    import lance

    data = lance.dataset(folder / "lance")

    def gather(indices: np.ndarray) -> tuple[Tensor, Tensor]:
        batch = data.take(indices.tolist()).combine_chunks()
        flat = batch["latents"].chunk(0).flatten().to_numpy()
        return torch.from_numpy(flat.reshape(-1, 4, 32, 32)), torch.from_numpy(batch["labels"].to_numpy())

    return gather


def zarr(folder: Path, shape: tuple[int, ...]) -> "tensorstore.TensorStore":
    import tensorstore

    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(folder / "latents.zarr")}}
    # A sample a chunk would be a file a sample: 256 samples are 4 MB.
    metadata = {"shape": shape, "chunks": [256, *shape[1:]], "dtype": "<f4", "compressor": None}
    return tensorstore.open(spec | {"metadata": metadata}, create=True, open=True).result()


def write_zarr(latents: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    zarr(folder, latents.shape).write(latents).result()
    np.save(folder / "labels.npy", labels)


def open_zarr(folder: Path) -> Gather:
    labels = np.load(folder / "labels.npy")
    latents = zarr(folder, (len(labels), 4, 32, 32))
    return lambda indices: (torch.from_numpy(latents[indices].read().result()), torch.from_numpy(labels[indices]))


STORES: dict[str, tuple[Write, Callable[[Path], Gather]]] = {
    "a file a sample, two np.load (fast-DiT)": (write_files, open_files),
    "one .npy, memory-mapped": (write_npy, open_npy),
    "safetensors, memory-mapped": (write_safetensors, open_safetensors),
    "Arrow, through datasets": (write_arrow, open_arrow),
    "Lance": (write_lance, open_lance),
    "Zarr, through tensorstore": (write_zarr, open_zarr),
}
