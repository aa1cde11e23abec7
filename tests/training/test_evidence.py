"""`evidence.safetensors`: what a run leaves for reports, against the patch and the pictures of the same run."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dmp_lightning.commands.train import train
from dmp_lightning.data.digits import Digits
from dmp_lightning.reports.evidence import captions_of, read_evidence
from tests.configs import small


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence") / "run"
    train(small(folder, "gate.top_k=0.25", "method.injection=[0,2]", "recipe.learning_rates.gate=1.0"))
    return folder


def test_it_holds_the_gate_of_the_patch_that_was_exported(run_dir: Path) -> None:
    evidence, patch = load_file(run_dir / "evidence.safetensors"), load_file(run_dir / "patch.safetensors")
    assert evidence["gate_blocks"].tolist() == [0, 2]
    assert evidence["gate_timesteps"][[0, -1]].tolist() == [0, 999]
    assert evidence["prompt_grid"].tolist() == [4, 4]
    weights, norms = evidence["gate_weights"], evidence["prompt_norms"]
    assert weights.dtype == norms.dtype == np.float32
    assert weights.shape == (2, len(evidence["gate_timesteps"]), 16)
    assert ((weights > 0).sum(-1) == 4).all()
    np.testing.assert_allclose(weights.mean(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(norms, np.linalg.norm(patch["mixture.prompts"], axis=-1), rtol=1e-5)


def test_it_holds_samples_from_the_same_noise_before_and_after(run_dir: Path) -> None:
    evidence = load_file(run_dir / "evidence.safetensors")
    before, after = evidence["samples_before"].astype(int), evidence["samples_after"].astype(int)
    assert evidence["samples_before"].dtype == evidence["samples_after"].dtype == np.uint8
    assert before.shape == after.shape == (24, 8, 8)
    assert np.abs(before - after).max() > 0
    # A few steps of training: each sample is still nearer to its own than to another.
    distances = np.abs(before[:, None] - after[None]).mean((2, 3))
    assert (distances.argmin(1) == np.arange(24)).all()


@pytest.mark.slow
def test_a_method_without_a_gate_leaves_its_samples(tmp_path: Path) -> None:
    train(small(tmp_path / "run", "method=full_finetune"))
    assert set(load_file(tmp_path / "run" / "evidence.safetensors")) == {"samples_before", "samples_after"}


def test_it_holds_the_captions_of_samples_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digits, "shown", ["zero", "one\nline"], raising=False)
    train(small(tmp_path / "run", "method=full_finetune", "evaluation.shown=3"))
    evidence = read_evidence(tmp_path / "run" / "evidence.safetensors")
    assert captions_of(evidence) == ["zero", "one line", "zero"]
