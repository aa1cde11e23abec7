"""SiT and REPA on our own DiT: what they compute in their own time and direction, against the process's."""

from functools import partial

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.testing import assert_close

from dmp_lightning.backbones import DiT
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.flow import Flow
from dmp_lightning.diffusion.sampler import Sampler

SIZES = {"input_size": 8, "in_channels": 2, "patch_size": 2, "width": 32, "depth": 2, "heads": 2, "num_classes": 3}
LABELS, STEPS = Condition(torch.tensor([0, 1, 2])), 10


def dit(predicts: str) -> DiT:
    torch.manual_seed(0)
    model = DiT(**SIZES, class_dropout_prob=0.1, predicts=predicts)
    for name, parameter in model.named_parameters():
        if name != "pos_embed":
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def plain(predicts: str) -> DiT:
    """A DiT that gives what its last layer does, at the times that it is called with."""
    model = dit("epsilon_and_variance" if predicts == "sit" else "epsilon")
    model.load_state_dict(dit(predicts).state_dict())
    return model


def own_samples(predicts: str, noise: Tensor) -> Tensor:
    """By Euler's method, as the releases write it: SiT goes from 0, noise, to 1; REPA from 1, noise, to 0."""
    model, x = plain(predicts), noise
    for step in range(STEPS):
        t = step / STEPS if predicts == "sit" else 1 - step / STEPS
        velocity = model(x, torch.full((len(x),), t), LABELS)[:, :2]
        x = x + velocity / STEPS if predicts == "sit" else x - velocity / STEPS
    return x


@pytest.mark.parametrize("predicts", ["sit", "velocity"])
@torch.no_grad()
def test_samples_are_those_of_their_own_sampler(predicts: str) -> None:
    noise, model = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)), dit(predicts)
    found = Sampler(FlowMatchEulerDiscreteScheduler, STEPS, respaced=True).sample(
        partial(_at, model), Flow(), noise, []
    )
    assert_close(found, own_samples(predicts, noise), atol=1e-4, rtol=1e-4)


def _at(model: DiT, x: Tensor, t: Tensor) -> Tensor:
    return model(x, t, LABELS)


def test_a_sit_s_loss_is_that_of_its_own_training() -> None:
    """On the way from noise at its time 0 to data at 1, of the velocity from noise to data."""
    data, noise = torch.randn(2, 3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    own = torch.tensor([0.1, 0.5, 0.9])
    mixed = own[:, None, None, None] * data + (1 - own[:, None, None, None]) * noise
    expected = (plain("sit")(mixed, own, LABELS)[:, :2] - (data - noise)).square().flatten(1).mean(1)
    process, t = Flow(), 1 - own
    x_t = process.add_noise(data, noise, t)
    found = process.losses(dit("sit")(x_t, t, LABELS), data, x_t, noise, t)
    assert_close(found.total, expected, rtol=1e-5, atol=0)


def test_a_gate_sees_the_time_as_the_blocks_do() -> None:
    t = torch.tensor([0.0, 0.25, 1.0])
    assert torch.equal(dit("sit").embed(t, LABELS).timestep, plain("sit").embed(1 - t, LABELS).timestep)
    assert torch.equal(dit("velocity").embed(t, LABELS).timestep, plain("velocity").embed(t, LABELS).timestep)


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone\.model\.predicts=x0 is unknown: choose epsilon_and_variance, eps"):
        dit("x0")
