"""Each metric against a closed form, and over Inception's features against pytorch-fid and torch-fidelity."""

import numpy as np
import pytest
import torch
import torch_fidelity
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor
from torch.utils.data import TensorDataset

from dmp_lightning.metrics.features import Inception
from dmp_lightning.metrics.metrics import measure, names
from dmp_lightning.metrics.moments import moments


def normal(count: int, width: int = 6, seed: int = 0, mean: float = 0.0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + mean


def test_precision_and_recall_are_told_apart() -> None:
    """The reference has two far clusters; the samples are in one of them, and a few far from both."""
    one, two = normal(60, seed=1), normal(60, seed=2, mean=100)
    samples = torch.cat([one + 1e-3, normal(20, seed=3, mean=-300)])
    found = measure({"features": samples}, {"features": torch.cat([one, two])}, {}, "fid")
    assert found["precision"] == pytest.approx(60 / 80)
    # Lone samples' own neighbourhoods hold nothing of the reference.
    assert found["recall"] == pytest.approx(60 / 120)


def test_the_kernel_distance_is_that_of_its_definition() -> None:
    """With fewer than a thousand images each subset is all of them, and the estimate the unbiased one (Bińkowski)."""
    x, y = normal(40).double(), normal(40, seed=1, mean=0.5).double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / 6 + 1) ** 3

    off = ~torch.eye(40, dtype=torch.bool)
    expected = kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y).mean()
    found = measure({"features": x.float()}, {"features": y.float()}, {}, "fid")
    assert found["kid"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("classes", "expected"), [(1, 1.0), (4, 4.0)])
def test_the_score_of_sure_and_balanced_samples_is_their_number_of_classes(classes: int, expected: float) -> None:
    logits = 50 * torch.nn.functional.one_hot(torch.arange(40) % classes, 10).float()
    found = measure({"features": normal(40), "logits": logits}, {"features": normal(40)}, {}, "fid")
    assert found["inception_score"] == pytest.approx(expected, rel=1e-4)


def test_statistics_stand_for_the_reference_and_what_needs_images_is_left_out() -> None:
    samples = {"features": normal(50), "spatial": normal(50, 4)}
    reference = {"features": normal(70, seed=1), "spatial": normal(70, 4, seed=2)}
    full = measure(samples, reference, {}, "fid")
    assert full.keys() == {"fid", "sfid", "kid", "precision", "recall"}
    given = {name: moments(value) for name, value in reference.items()}
    assert measure(samples, {}, given, "fid") == {"fid": full["fid"], "sfid": full["sfid"]}
    expected = calculate_frechet_distance(
        *_mean_and_covariance(samples["spatial"]), *_mean_and_covariance(reference["spatial"])
    )
    assert full["sfid"] == pytest.approx(expected, rel=1e-6)


def test_only_inceptions_metrics_have_their_established_names() -> None:
    samples = {"features": normal(9), "logits": normal(9, 3)}
    found = measure(samples, {"features": normal(9, seed=1)}, {}, "frechet_digits_classifier")
    assert found.keys() == {
        f"{role}_digits_classifier" for role in ("frechet", "score", "kernel", "precision", "recall")
    }
    assert not set(names("frechet_pixels").values()) & set(names("fid").values())


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation\.samples=3: the metrics need 4"):
        measure({"features": normal(3)}, {"features": normal(9)}, {}, "fid")


def _mean_and_covariance(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    array = features.double().numpy()
    return array.mean(0), np.cov(array, rowvar=False)


def images(seed: int) -> Tensor:
    """Smooth random pictures of Inception's own size, where ways to resize do not matter."""
    coarse = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * (255 if seed else 180)
    return torch.nn.functional.interpolate(coarse, 299, mode="bicubic").round().clamp(0, 255).to(torch.uint8)


@pytest.mark.slow  # Inception, three times
@torch.no_grad()
def test_torch_fidelity_and_ours_agree(inception: Inception, random_inception) -> None:
    """The same extractor with random weights, each with its own code from pixels to number."""
    generated, real = images(0), images(1)
    outputs = inception.outputs(generated), inception.outputs(real)
    ours = measure(*outputs, {}, inception.name)

    theirs = torch_fidelity.calculate_metrics(
        input1=_Images(generated), input2=_Images(real), cuda=False, verbose=False, cache=False, batch_size=4,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(random_inception.file),
        fid=True, kid=True, isc=True, prc=True, isc_splits=1, kid_subset_size=8, samples_shuffle=False,
    )  # fmt: skip
    established = {
        "fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean",
        "inception_score": "inception_score_mean", "precision": "precision", "recall": "recall",
    }  # fmt: skip
    for name, key in established.items():
        assert ours[name] == pytest.approx(theirs[key], rel=1e-3), name


@pytest.mark.slow  # the root of a general matrix of 2,048 columns
@torch.no_grad()
def test_pytorch_fid_and_ours_agree(inception: Inception, random_inception) -> None:
    ours = measure(inception.outputs(images(0)), inception.outputs(images(1)), {}, inception.name)
    features = [_of_pytorch_fid(random_inception.network, images(seed))[0] for seed in (0, 1)]
    expected = calculate_frechet_distance(*_mean_and_covariance(features[0]), *_mean_and_covariance(features[1]))
    assert ours["fid"] == pytest.approx(expected, rel=1e-3)


@torch.no_grad()
def test_all_outputs_are_those_of_pytorch_fids_network(inception: Inception, random_inception) -> None:
    pooled, mixed, logits = _of_pytorch_fid(random_inception.network, images(0))
    expected = {"features": pooled, "spatial": mixed[:, :7].permute(0, 2, 3, 1).flatten(1), "logits": logits}
    found = inception.outputs(images(0))
    assert found["spatial"].shape == (8, 2023)
    for name, value in expected.items():
        assert value.std() > 0.01
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-3 * value.std().item())


def _of_pytorch_fid(network: torch.nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled features, those of the branch that TensorFlow calls mixed_6/conv, and logits without their bias."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name, module in {"pooled": network.avgpool, "mixed": network.Mixed_6d.branch1x1}.items()
    ]
    logits = network((pixels.float() - 128) / 128) - network.fc.bias
    for hook in hooks:
        hook.remove()
    return seen["pooled"].flatten(1), seen["mixed"], logits


class _Images(TensorDataset):
    def __getitem__(self, index: int) -> Tensor:
        return super().__getitem__(index)[0]


def test_a_distance_of_nothing_is_not_below_zero() -> None:
    """pytorch-fid's is, by rounding."""
    features = normal(192, 192)
    assert measure({"features": features}, {"features": features}, {}, "fid")["fid"] >= 0


@pytest.mark.parametrize("side", ["samples", "reference"])
def test_features_that_are_not_finite_are_not_measured(side: str) -> None:
    outputs = {"samples": {"features": normal(40)}, "reference": {"features": normal(40, seed=1)}}
    outputs[side]["features"][3, 2] = torch.nan
    with pytest.raises(ValueError, match=f"features of the {side} are not finite"):
        measure(outputs["samples"], outputs["reference"], {}, "fid")
