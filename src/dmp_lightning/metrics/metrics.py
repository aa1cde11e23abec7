"""Metrics of generated images, from their features and those of a reference; most are torch-fidelity's."""

import logging
import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from dmp_lightning.metrics.moments import Counts, Moments, Reference, moments
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

Outputs = Mapping[str, Float[Tensor, "_ _"]]
"""Outputs of an extractor: `features`, and if it has them `spatial` features and `logits`."""

DISTANCES = {"fid": "features", "sfid": "spatial"}
PER_SPLIT = 5_000  # samples of which one Inception score is taken; the mean counts (the ADM evaluator)
NEIGHBOURS = 3  # Kynkäänniemi et al. 2019
SUBSETS, SUBSET_SIZE = 100, 1_000  # Bińkowski et al. 2018


def names(features: str) -> dict[str, str]:
    """The name of each metric over features of that name; the established names are for Inception's alone."""
    if features == "fid":
        return {name: name for name in ("fid", "sfid", "inception_score", "precision", "recall", "kid")}
    kind = features.removeprefix("frechet_")
    roles = {"fid": "frechet", "sfid": "spatial_frechet", "inception_score": "score", "kid": "kernel"}
    roles |= {"precision": "precision", "recall": "recall"}
    return {name: f"{role}_{kind}" for name, role in roles.items()}


def of_too_few(generated: Outputs, reference: Outputs, given: Mapping[str, Moments], features: str) -> list[str]:
    """Names of the distances with no more samples or reference images than features; arguments as of `measure`.

    The number of images behind `given` moments is unknown, and not counted.
    """
    known = names(features)
    return [
        known[name]
        for name, output in DISTANCES.items()
        if output in generated
        and Counts(
            len(generated[output]),
            len(reference[output]) if output in reference and output not in given else None,
            generated[output].shape[1],
        ).too_few
    ]


def measure(generated: Outputs, reference: Outputs, given: Mapping[str, Moments], features: str) -> dict[str, float]:
    """All metrics that the outputs allow, by name.

    Fréchet distances over `features` (FID) and `spatial` (sFID, Nash et al. 2021); Inception score over `logits`, in
    order and without their bias; precision and recall (Kynkäänniemi et al. 2019) and the kernel distance (KID) over
    `features` as well, the same ones.

    Args:
        generated, reference: outputs of one extractor. given: moments to use instead of the reference's own.
        features: name of the extractor, see `names`.

    Raises:
        UserError: there are too few images, or features that are not finite.
    """
    if len(generated["features"]) <= NEIGHBOURS:
        count = len(generated["features"])
        raise UserError(f"evaluation.samples={count}: the metrics need {NEIGHBOURS + 1} or more.")
    for side, outputs in (("samples", generated), ("reference", reference)):
        broken = next((name for name, values in outputs.items() if not values.isfinite().all()), None)
        if broken is not None:
            raise UserError(f"The {broken} of the {side} are not finite, so {features} cannot measure them.")
    known, found = names(features), dict[str, float]()
    for name, output in DISTANCES.items():
        against = given.get(output) or (moments(reference[output]) if len(reference.get(output, ())) > 1 else None)
        if output in generated and against is not None:
            found[known[name]] = Reference(against).distance(moments(generated[output]))
    if "logits" in generated:
        splits = math.ceil(len(generated["logits"]) / PER_SPLIT)
        score = isc_features_to_metric(generated["logits"], splits=splits, shuffle=False)
        found[known["inception_score"]] = score["inception_score_mean"]
    ours, theirs = generated["features"], reference.get("features")
    if theirs is None or len(theirs) <= NEIGHBOURS:
        log.warning(
            "The reference has statistics but no images, so precision, recall and kernel distance are left out."
        )
        return found
    size = min(SUBSET_SIZE, len(ours), len(theirs))
    kernel = kid_features_to_metric(
        ours.double(), theirs.double(), kid_subsets=SUBSETS, kid_subset_size=size, verbose=False
    )
    found[known["kid"]] = kernel["kernel_inception_distance_mean"]
    manifold = prc_features_to_metric(ours, theirs, prc_neighborhood=NEIGHBOURS, save_cpu_ram=True, verbose=False)
    return found | {known[name]: manifold[name] for name in ("precision", "recall")}
