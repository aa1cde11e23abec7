"""Feature extractors: the digits' classifier, Inception-v3 against an independent port, and what users get wrong."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import pytorch_fid.inception
import torch

from dmp_lightning.commands.resolvers import PACKAGE
from dmp_lightning.data.digits import HELD_OUT, load_split
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.metrics import features
from dmp_lightning.metrics.classifiers import Classifier, DigitsClassifier, FashionClassifier
from dmp_lightning.metrics.features import Inception, Pixels

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", [DigitsClassifier, FashionClassifier])
def test_shipped_classifier_is_the_one_whose_accuracy_is_stated(kind: type[Classifier]):
    name = kind.file.replace("_classifier.safetensors", "").replace("fashion", "fashion_mnist")
    record = json.loads((ROOT / f"experiments/classifiers/results/{name}.json").read_text())
    stated = f"{record['runs'][0]['held_out_correct']:,} of {record['held_out']:,}"
    assert stated in (ROOT / "experiments/classifiers/README.md").read_text()
    assert kind().fingerprint == record["shipped"]["fingerprint"]
    assert (PACKAGE / "assets" / kind.file).stat().st_size < 300_000


def test_the_digits_classifier_has_the_accuracy_that_is_stated():
    record = json.loads((ROOT / "experiments/classifiers/results/digits.json").read_text())
    pixels, labels = load_split(train=False)
    correct = int((DigitsClassifier().classify(to_uint8(pixels)).argmax(1) == labels).sum())
    assert (correct, len(labels)) == (record["runs"][0]["held_out_correct"], HELD_OUT)


@pytest.mark.parametrize("kind", [DigitsClassifier, FashionClassifier])
def test_classifier_is_frozen_and_its_features_are_alive(kind: type[Classifier]):
    images = torch.rand(100, 1, kind.side, kind.side, generator=torch.Generator().manual_seed(0))
    out = kind()((images * 255).to(torch.uint8))
    assert out.shape == (100, 64)
    assert out.dtype == torch.float32
    assert not out.requires_grad
    assert not kind().training
    assert (out.std(0) > 0.01).all()


def test_pixels_span_minus_one_to_one():
    images = torch.tensor([0, 255, 51, 204], dtype=torch.uint8).view(1, 1, 2, 2)
    torch.testing.assert_close(Pixels([1, 2, 2])(images), torch.tensor([[-1.0, 1.0, -0.6, 0.6]]))


@pytest.mark.parametrize("extractor", [DigitsClassifier(), Pixels((3, 8, 8))], ids=lambda e: e.name)
def test_images_of_another_shape_are_refused(extractor: features.Features):
    with pytest.raises(ValueError, match=rf"{extractor.name} takes images of shape \(., 8, 8\), not \(2, 8, 8\)"):
        extractor(torch.zeros(4, 2, 8, 8, dtype=torch.uint8))


def test_fingerprint_follows_extractor_and_weights():
    changed = DigitsClassifier(pretrained=True)
    with torch.no_grad():
        changed.head[1].bias[0] += 1e-6
    extractors = [DigitsClassifier(), changed, Pixels((1, 8, 8)), Pixels((1, 8, 9))]
    assert len({extractor.fingerprint for extractor in extractors}) == 4
    assert DigitsClassifier().fingerprint == extractors[0].fingerprint


def test_inception_agrees_with_pytorch_fid(inception: Inception, random_inception, monkeypatch: pytest.MonkeyPatch):
    """At 299x299, where the two ports' ways to resize do not matter; pytorch-fid's own scaling of pixels is undone."""
    monkeypatch.setattr(pytorch_fid.inception, "fid_inception_v3", lambda: random_inception.network)
    theirs = pytorch_fid.inception.InceptionV3(normalize_input=True)
    images = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(images.float() / 256)[0].flatten(1)
    torch.testing.assert_close(inception(images), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


def test_inception_resizes_as_tensorflow_did_and_repeats_grey(inception: Inception):
    seen = []
    inception.network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    grey = torch.randint(0, 256, (1, 1, 5, 600), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    inception(grey)
    # Pixel i of the output lies at i * size / 299 of the input: corners meet, and nothing is averaged on shrinking.
    rows, columns = np.arange(299) * 5 / 299, np.arange(299) * 600 / 299
    pixels = grey[0, 0].numpy().astype(float)
    wide = np.stack([np.interp(columns, np.arange(600), row) for row in pixels])
    resized = np.stack([np.interp(rows, np.arange(5), column) for column in wide.T], axis=1)
    expected = torch.from_numpy((resized - 128) / 128).float().expand(1, 3, 299, 299)
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=0)


def test_inception_weights_that_are_missing_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("a download"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    default = tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    for weights, path in [(None, default), (tmp_path / "mine.pth", tmp_path / "mine.pth")]:
        with pytest.raises(FileNotFoundError, match=rf"at {path}: put torch-fidelity's .* there"):
            Inception(weights)


def test_inception_weights_with_another_hash_are_refused(random_inception):
    with pytest.raises(ValueError, match="not 6726825d"):
        Inception(random_inception.file)


class _Command:
    def __reduce__(self) -> tuple:
        return exec, ("raise SystemExit('unpickled')",)


def test_inception_weights_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = pickle.dumps({"fc.weight": _Command()}, protocol=2)
    (tmp_path / "evil.pth").write_bytes(content)
    monkeypatch.setattr(features, "INCEPTION_SHA256", hashlib.sha256(content).hexdigest()[:8])
    with pytest.raises(ValueError, match="holds more than weights"):
        Inception(tmp_path / "evil.pth")
