"""An accelerator that this machine does not have is told before any work."""

import pytest
from omegaconf import OmegaConf

from dmp_lightning.commands.checks.trainer_options import check_accelerator


@pytest.mark.parametrize("wanted", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_not_there_is_told(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for free in ("auto", "cpu"):
        check_accelerator(OmegaConf.create({"trainer": {"accelerator": free}}))
    with pytest.raises(ValueError, match=f"trainer.accelerator={wanted}: PyTorch finds none here"):
        check_accelerator(OmegaConf.create({"trainer": {"accelerator": wanted}}))
    monkeypatch.setattr("torch.cuda.is_available", lambda: wanted != "mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: wanted == "mps")
    check_accelerator(OmegaConf.create({"trainer": {"accelerator": wanted}}))
