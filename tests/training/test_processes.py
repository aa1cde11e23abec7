"""Training on every process through the command, a few steps long: it learns, is recorded, and resumes exactly."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file

import dmp_lightning as dmp
from dmp_lightning.backbones import DiT
from dmp_lightning.commands.checks.preflight import check_loss
from dmp_lightning.commands.train import train
from dmp_lightning.user_error import UserError
from tests.configs import small

PROCESSES = {
    "flow": (["diffusion=flow", "sampler=flow_euler"], "velocity", 1.0),
    "sit": (["diffusion=flow", "diffusion.times=logit_normal", "diffusion.shift=2", "sampler=flow_euler"], "sit", 1.0),
    "v": (["diffusion=v", "diffusion.betas.zero_terminal=true", "loss_weight=min_snr_v"], "v", 999),
    "epsilon": (["diffusion=scaled_linear"], "epsilon", 999),
}
BASE = {"input_size": 8, "in_channels": 1, "patch_size": 2, "width": 32, "depth": 3, "heads": 2, "num_classes": 10}
GUIDED = [
    "method.condition=log_snr",
    "evaluation.guidance.guidance_scale=2.0",
    "evaluation.guidance.interval=[0.1,0.9]",
]


def base(predicts: str) -> DiT:
    torch.manual_seed(0)
    model = DiT(**BASE, class_dropout_prob=0.1, predicts=predicts)
    for name, value in model.named_parameters():
        if name != "pos_embed":
            value.data = 0.05 * torch.randn(value.shape)
    return model


def settings(folder: Path, name: str, *more: str) -> DictConfig:
    """Of a run on a base that predicts what the process wants, with guidance."""
    process, predicts, _ = PROCESSES[name]
    weights = folder / "base.safetensors"
    save_file(base(predicts).state_dict(), weights)
    model = ["backbone.model.num_classes=10", "backbone.model.class_dropout_prob=0.1"]
    return small(folder / "run", *process, *model, f"++backbone.model.predicts={predicts}", *GUIDED, *more)


@pytest.mark.parametrize(
    "name", ["flow", "v", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sit", "epsilon"))]
)
def test_a_patch_is_trained_measured_and_loaded(name: str, tmp_path: Path) -> None:
    few = ["evaluation.samples=20", "evaluation.strata=2", "recipe.max_steps=3"]
    train(settings(tmp_path, name, *few))
    run, predicts, last = tmp_path / "run", *PROCESSES[name][1:]
    final = json.loads((run / "results.json").read_text())["metrics"]["final"]
    strata = final["loss_difference_by_stratum"]
    assert len(strata["t"]) == 2
    assert 0 < strata["t"][0] < strata["t"][-1] < last
    assert np.mean(strata["mean"]) == pytest.approx(final["loss_difference"]["mean"])
    evidence = load_file(run / "evidence.safetensors")
    assert evidence["gate_timesteps"][[0, -1]].tolist() == [0, last]
    assert evidence["gate_weights"].isfinite().all()
    patch = dmp.load(base(predicts), run / "patch.safetensors")
    assert patch.process.predicts == ("velocity" if last == 1 else predicts)
    loss = patch.loss(torch.randn(2, 1, 8, 8), dmp.Condition(torch.tensor([0, 1])))
    assert "vb" not in loss.parts
    assert loss.total.isfinite()


@pytest.mark.slow
def test_a_flow_resumes_exactly(tmp_path: Path) -> None:
    few = ["evaluation.samples=20", "evaluation.strata=2", "recipe.lr_scheduler=null"]
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    train(settings(tmp_path / "whole", "flow", *few))
    train(settings(tmp_path / "parts", "flow", *few, "recipe.max_steps=3"))
    train(settings(tmp_path / "parts", "flow", *few, f"resume={tmp_path}/parts/run/checkpoints/step-3.ckpt"))
    whole, parts = (load_file(tmp_path / name / "run" / "patch.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_a_base_that_is_worse_than_none_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = settings(tmp_path, "flow")
    check_loss(config, 0.9)
    assert not caplog.messages
    check_loss(config, 2.1)
    assert "validation loss is 2.1" in caplog.text


def test_a_process_that_contradicts_the_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"base predicts velocity, .* predict epsilon_and_variance: choose diffusion=flow"
    ):
        train(settings(tmp_path, "flow", "diffusion=linear"))
