"""Measuring a base and its patch: samples and reference through one extractor, kept in chunks, then all metrics."""

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, distributed
from tqdm import tqdm

from dmp_lightning.commands.build import check_features
from dmp_lightning.commands.earlier import begin, settings_of
from dmp_lightning.commands.models import Sampling, build_sampling
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.folders import component
from dmp_lightning.methods.patches import fingerprint
from dmp_lightning.metrics.chunks import Chunks, Make
from dmp_lightning.metrics.features import Features
from dmp_lightning.metrics.metrics import measure, of_too_few
from dmp_lightning.metrics.references import PictureReference, Reference, SourceImages, check_reference, open_reference
from dmp_lightning.reports.tables import print_metrics
from dmp_lightning.runs.folder import EVALUATION, RESULTS, check_folder
from dmp_lightning.runs.identity import SAMPLED, settings
from dmp_lightning.runs.record import Results, provenance, write_results
from dmp_lightning.runs.said import SaidBase, SaidMeasure, SaidMethod, base_name, in_sweep, parts
from dmp_lightning.training.ctrl_c import promise


def evaluate(config: DictConfig) -> dict[str, dict[str, float]]:
    """Write `results.json` into the folder `run_dir`, print the metrics, and return them by model.

    Under torchrun the processes share the work. What has been made stays in `run_dir`: started again, it goes on.

    Raises:
        MissingFileError: one sentence for each file that has to be prepared.
        UserError: the parts do not go together.
    """
    started = _join_group()
    try:
        if _rank() == 0:
            check_folder(Path(config.run_dir), component(config.name, "name"), EVALUATION)
        return _evaluate(config)
    finally:
        if started:
            distributed.destroy_process_group()


def _evaluate(config: DictConfig) -> dict[str, dict[str, float]]:
    sampling, features = build_sampling(config), build(config.features).eval()
    check_features(features, config.evaluation.samples)
    source, folder, count = sampling.source, Path(config.run_dir), config.evaluation.samples
    reference: Reference = SourceImages(source, sampling.device)
    if config.reference is not None:
        reference = open_reference(Path(config.reference), shape_of_samples(sampling))
    check_reference(reference, features)
    known = fingerprints(config, sampling, features, reference)
    if _rank() == 0:
        begin(folder, config, EVALUATION)
    promise(lambda: f"\nInterrupted. Finished work is kept in {folder}: the same command resumes.")
    features.to(sampling.device)

    def reference_images(part: range) -> Iterator[Tensor]:
        for start in range(part.start, part.stop, config.evaluation.batch_size):
            yield reference.read(range(start, min(start + config.evaluation.batch_size, part.stop)))

    seen = _key(sampling.device.type, known["features"], known.get("vae"))
    kept = Chunks(folder / f"reference-{_key(seen, known['reference'])}", len(reference), features)
    _complete(kept, reference_images, "Reference", sampling.device)
    if isinstance(reference, PictureReference):
        reference.log_changes()
    compared, metrics, few = kept.load(), dict[str, dict[str, float]](), list[str]()
    for name in sampling.models:
        chunks = Chunks(folder / f"{name}-{_samples_key(config, known, name, seen)}", count, features, config.npz)
        _complete(chunks, _samples_of(sampling, name, config.evaluation.seed), f"Sampling {name}", sampling.device)
        if _rank() == 0:
            found = chunks.load()
            metrics[name] = measure(found, compared, reference.statistics, features.name)
            few = of_too_few(found, compared, reference.statistics, features.name)
            if config.npz:
                chunks.write_npz(folder / f"{name}.npz")
    if _rank() == 0:
        _report(config, sampling, metrics, known, len(reference), few)
    return metrics


@torch.no_grad()
def shape_of_samples(sampling: Sampling) -> tuple[int, int, int]:
    """(C, H, W) of the pictures that are drawn: a VAE says it by decoding."""
    source = sampling.source
    _, channels, height, width = source.decode(torch.zeros(1, *source.sample_shape, device=sampling.device)).shape
    return channels, height, width


def fingerprints(config: DictConfig, sampling: Sampling, features: Features, reference: Reference) -> dict[str, str]:
    """Hashes of all that the numbers depend on and the config only names."""
    vae = getattr(sampling.source, "vae_sha256", None)
    found = {f"weights_{name}": fingerprint(model) for name, model in sampling.models.items()}
    if config.patch is not None:
        found["patch"] = hashlib.sha256(Path(config.patch).read_bytes()).hexdigest()
    found |= {"features": features.fingerprint, "reference": reference.fingerprint}
    return found if vae is None else found | {"vae": vae}


def _samples_of(sampling: Sampling, name: str, seed: int) -> Make:
    """Images of the samples of these numbers."""

    def make(part: range) -> Iterator[Tensor]:
        for _, samples in sampling.drawing.draw(sampling.models[name], sampling.conditions, part, seed):
            yield to_uint8(samples)

    return make


def _complete(chunks: Chunks, make: Make, what: str, device: torch.device) -> None:
    with tqdm(total=chunks.count, desc=what, unit="image", leave=False, disable=_rank() > 0) as bar:
        chunks.complete(make, device, lambda done: bar.update(done) and None)


def _report(
    config: DictConfig,
    sampling: Sampling,
    metrics: dict[str, dict[str, float]],
    known: dict[str, str],
    images: int,
    few: list[str],
) -> None:
    plain, method = settings_of(config), list(sampling.models.values())[-1]
    said, parameters = parts(plain), sum(weight.numel() for weight in sampling.models["base"].backbone.parameters())
    results = Results(
        name=config.name,
        base=SaidBase(base_name(plain), parameters, said.base),
        measure=SaidMeasure(None, images, None, few, said.measure),
        method=SaidMethod(method.label, method.label, method.size, said.method),
        **in_sweep(plain),
        config=plain,
        seeds={"evaluation": config.evaluation.seed},
        metrics=metrics | {"depend_on": known},
        **provenance(str(sampling.device)),
    )
    path = write_results(results, Path(config.run_dir) / RESULTS)
    print_metrics(metrics, few)
    print(f"{config.evaluation.samples:,} samples each, reference {known['reference']}: {path}")


def _samples_key(config: DictConfig, known: dict[str, str], name: str, seen: str) -> str:
    """Of all that samples depend on, and how they are `seen`; not of their number, so that more can be added."""
    weights, labels = known[f"weights_{name}"], config.classes and list(config.classes)
    if name != "base":
        weights += known["patch"]  # which also says what the method does with its weights
    return _key(settings(settings_of(config), SAMPLED), weights, labels, seen)


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([*parts, torch.__version__], sort_keys=True).encode()).hexdigest()[:16]


def _join_group() -> bool:
    """Join the processes that torchrun started, if it did."""
    if "RANK" not in os.environ or distributed.is_initialized():
        return False
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    # They only wait for each other, at the end of hours of work.
    distributed.init_process_group("gloo", timeout=timedelta(days=30))
    return True


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
