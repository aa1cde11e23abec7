import pytest
import torch
from torch.testing import assert_close

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.guidance import guide
from dmp_lightning.diffusion.schedule import linear_betas

STEPS, NULL = 1001, Condition(torch.tensor([9]))


class Model:
    """Epsilon and variance are the label plus the channel; it keeps the batch sizes that it was called with."""

    def __init__(self):
        self.batches = []

    def __call__(self, x, t, condition):
        self.batches.append(len(x))
        channels = torch.arange(2.0 * x.shape[1])[None, :, None, None]
        return (condition.label[:, None, None, None] + channels).expand(-1, -1, *x.shape[2:]).float()


def guided(model=None, **options):
    options = {"guidance_scale": 1.5, "null": NULL, "process": DDPM(linear_betas(STEPS))} | options
    return guide(model or Model(), options.pop("null"), options.pop("process"), **options)


def inputs(*timesteps, channels=4):
    return (
        torch.zeros(len(timesteps), channels, 2, 2),
        torch.tensor(timesteps),
        Condition(torch.ones(len(timesteps)).long()),
    )


def test_guidance_matches_the_golden_outputs(labelled_dit):
    backbone, values = labelled_dit
    half = len(values["x"]) // 2
    model = guided(backbone, null=backbone.null_condition(), process=DDPM(linear_betas()))
    out = model(values["x"][:half], values["t"][:half], Condition(values["y"][:half]))
    assert_close(out, values["out.frozen_cfg1.5"][:half], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("channels", "sample_channels", "pushed"),
    [("first_three", 4, 3), ("all", 4, 4), ("all", 5, 5), ("first_three", 3, 3), ("first_three", 1, 1), ("all", 1, 1)],
)
def test_guided_channels_are_pushed_and_the_others_are_the_conditional_ones(channels, sample_channels, pushed):
    x, t, y = inputs(300, channels=sample_channels)
    conditional, unconditional = Model()(x, t, y), Model()(x, t, NULL.repeat(len(x)))
    out = guided(channels=channels)(x, t, y)
    assert_close(out[:, :pushed], (unconditional + 1.5 * (conditional - unconditional))[:, :pushed])
    assert torch.equal(out[:, pushed:], conditional[:, pushed:])


def test_outside_of_the_interval_the_model_runs_once_and_unguided():
    model = Model()
    function = guided(model, interval=(0.2, 0.6))
    active = {t: bool((function(*inputs(t)) != Model()(*inputs(t))).any()) for t in (0, 199, 200, 600, 601, 1000)}
    assert active == {0: False, 199: False, 200: True, 600: True, 601: False, 1000: False}
    assert model.batches == [1, 1, 2, 2, 1, 1]


def test_each_sample_of_a_batch_has_its_own_place_in_the_interval():
    function, (x, t, y) = guided(interval=(0.2, 0.6)), inputs(100, 300, 700)
    alone = torch.cat([function(x[n : n + 1], t[n : n + 1], y.take([n])) for n in range(3)])
    assert_close(function(x, t, y), alone)


def test_no_guidance_is_the_model_itself_with_or_without_a_null_label():
    model = Model()
    assert guided(model, guidance_scale=1.0) is model
    assert guided(model, guidance_scale=1.0, null=None) is model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"null": None},
            r"scale=1\.5 needs a null label, which this model lacks: .*evaluation\.guidance\.guidance_scale=1",
        ),
        ({"channels": "four"}, "channels='four' is unknown: choose first_three or all"),
        ({"interval": (0.6, 0.2)}, r"interval=\[0\.6, 0\.2\]: give a start and an end from 0 to 1, in order"),
        ({"interval": (0.0, 1.5)}, "give a start and an end from 0 to 1, in order"),
        ({"interval": (-0.1, 1.0)}, "give a start and an end from 0 to 1, in order"),
    ],
)
def test_guidance_that_cannot_be_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        guided(**options)
