"""Options of the trainer that cannot be, and an accelerator that is not there, are told before any work."""

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from dmp_lightning.commands.checks.preflight import check_accelerator
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.user_error import UserError
from tests.configs import config


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


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("+trainer.gradient_clip_algorithm=foo", "foo"),
        ("+trainer.profiler=foo", "profiler"),
        ("trainer.strategy=foo", "foo"),
    ],
)
def test_what_lightning_refuses_is_told_in_one_sentence(option: str, message: str) -> None:
    trainer = config(option, "trainer.accelerator=cpu").trainer
    with pytest.raises(UserError, match=f"trainer cannot be built: .*{message}"):
        build(trainer)


def test_what_the_users_own_class_raises_keeps_its_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmp_lightning.patching.own_code.OWN", ("tests.commands.test_trainer_options.",))
    with pytest.raises(InstantiationException, match="a bug"):
        build(OmegaConf.create({"_target_": "tests.commands.test_trainer_options.Broken"}))


class Broken:
    def __init__(self) -> None:
        raise ValueError("a bug")
