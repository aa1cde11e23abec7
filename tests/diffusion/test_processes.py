"""One contract for all processes, on normal data, for which the best model is known in closed form."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import hydra
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from omegaconf import OmegaConf
from torch import Tensor
from torch.testing import assert_close

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.flow import Flow
from dmp_lightning.diffusion.guidance import guide
from dmp_lightning.diffusion.process import Process
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.diffusion.schedule import cosine_betas, linear_betas, scaled_linear_betas
from dmp_lightning.diffusion.weighting import min_snr, min_snr_v, p2
from dmp_lightning.draws import Stream, generators, normal
from dmp_lightning.user_error import UserError

CONF = Path(__file__).parents[2] / "conf" / "sampler"
MEAN, STD = 0.7, 0.5
ZERO_TERMINAL = partial(scaled_linear_betas, zero_terminal=True)


class Case(NamedTuple):
    build: Callable[[], Process]
    sampler: str
    last: float  # time
    variance: bool = False


CASES = {
    "DiT": Case(lambda: DDPM(linear_betas()), "ddim", 999, variance=True),
    "epsilon": Case(lambda: DDPM(scaled_linear_betas(), predicts="epsilon"), "ddim", 999),
    "v": Case(lambda: DDPM(scaled_linear_betas(), predicts="v"), "ddim", 999),
    "v, cosine": Case(lambda: DDPM(cosine_betas(), predicts="v"), "dpm_solver", 999),
    "v, zero terminal": Case(lambda: DDPM(ZERO_TERMINAL(), predicts="v"), "ddim", 999),
    "flow": Case(Flow, "flow_euler", 1),
    "flow, logit-normal": Case(lambda: Flow("logit_normal", mean=0.5, std=0.8), "flow_euler", 1),
    "flow, shifted": Case(lambda: Flow("logit_normal", shift=3.0), "flow_euler", 1),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def sampler(name: str, steps: int, **options: object) -> Sampler:
    return hydra.utils.instantiate(OmegaConf.load(CONF / f"{name}.yaml"), steps=steps, **options)


def levels(process: Process, t: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of data and noise at times `t`, in float64, shaped to multiply samples."""
    if isinstance(process, Flow):
        signal, sigma = 1 - t.double(), t.double()
    else:
        assert isinstance(process, DDPM)
        kept = (1 - process.schedule.betas).cumprod(0)[t]
        signal, sigma = kept.sqrt(), (1 - kept).sqrt()
    return signal[:, None, None, None], sigma[:, None, None, None]


def factors(process: Process, t: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """`a` and `b` of the output `a * noise - b * x0`."""
    return {"velocity": (1.0, 1.0), "v": levels(process, t)}.get(process.predicts, (1.0, 0.0))


def best(process: Process, x: Tensor, t: Tensor, mean: float | Tensor = MEAN) -> Tensor:
    """The expected output given `x` at `t`, of data that are normal with this mean and `STD`."""
    (signal, sigma), (a, b) = levels(process, t), factors(process, t)
    whitened = (x - signal * mean) / (signal**2 * STD**2 + sigma**2)
    found = a * sigma * whitened - b * (mean + signal * STD**2 * whitened)
    return torch.cat([found, 0 * found], dim=1).float()  # more channels, which only a learned variance reads


@cases
def test_training_draws_times_of_the_process_alone(case: Case) -> None:
    process = case.build()
    t = process.draw(4000, torch.Generator().manual_seed(0), torch.device("cpu"))
    again = process.draw(4000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert torch.equal(t, again)
    assert 0 <= t.min() < 0.1 * case.last
    assert 0.9 * case.last < t.max() <= case.last
    assert t.is_floating_point() == (case.last == 1)


@cases
def test_strata_have_the_distribution_of_the_draws_noisiest_last(case: Case) -> None:
    process = case.build()
    drawn = process.draw(40_000, torch.Generator().manual_seed(0), torch.device("cpu")).double().sort().values
    offsets = torch.rand(5_000, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = process.in_strata(offsets)
    assert t.dtype == process.spread(2).dtype
    assert_close(t.double().flatten().sort().values / case.last, drawn / case.last, atol=0.03, rtol=0)
    assert (t.amax(0)[:-1] <= t.amin(0)[1:]).all()
    centres = process.centres(8)
    assert ((t.amin(0) <= centres) & (centres <= t.amax(0))).all()


@cases
def test_times_are_spread_from_the_data_to_the_noise(case: Case) -> None:
    process = case.build()
    t = process.spread(9)
    assert (t[0], t[-1]) == (0, case.last)
    place, level = process.place(t), process.log_snr(t)
    assert (place.diff() > 0).all()
    assert (place[0], place[-1]) == (0, 1)
    assert (level.diff() < 0).all()
    assert level.isfinite().all()
    assert level.dtype == torch.float32


@cases
def test_a_time_says_how_much_data_and_noise_there_are(case: Case) -> None:
    process, (x0, noise) = case.build(), torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    t = process.spread(5)[1:-1]
    signal, sigma = levels(process, t)
    assert_close(process.add_noise(x0, noise, t), (signal * x0 + sigma * noise).float())
    assert_close(process.log_snr(t), (signal / sigma).log().flatten().float() * 2, atol=1e-4, rtol=1e-5)


@cases
def test_the_right_output_has_no_error_and_more_channels_are_ignored(case: Case) -> None:
    process, (x0, noise) = case.build(), torch.randn(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    t = process.spread(5)
    (a, b), x_t = factors(process, t), process.add_noise(x0, noise, t)
    right = (a * noise - b * x0).float()
    rest = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    losses = process.losses(torch.cat([right, rest], dim=1), x0, x_t, noise, t)
    assert losses.parts["mse"].max() < 1e-9
    assert ("vb" in losses.parts) == case.variance
    if case.variance:
        with pytest.raises(UserError, match=r"gives 3 channels for samples of 3.*diffusion\.predicts=epsilon"):
            process.losses(right, x0, x_t, noise, t)
    else:
        assert_close(losses.total, process.losses(right, x0, x_t, noise, t).total, rtol=0, atol=0)
        one_off = process.losses(right + 2, x0, x_t, noise, t)
        assert_close(one_off.total, torch.full((5,), 4.0))


@cases
def test_the_least_loss_is_the_variance_that_noise_leaves(case: Case) -> None:
    process, source = case.build(), torch.Generator().manual_seed(0)
    noise, x0 = torch.randn(2, 2, 1, 128, 256, generator=source)
    t, x0 = process.spread(4)[1:3], MEAN + STD * x0
    x_t = process.add_noise(x0, noise, t)
    (signal, sigma), (a, b) = levels(process, t), factors(process, t)
    expected = a**2 + b**2 * STD**2 - (a * sigma - b * signal * STD**2) ** 2 / (signal**2 * STD**2 + sigma**2)
    found = process.losses(best(process, x_t, t), x0, x_t, noise, t).parts["mse"]
    assert_close(found, expected.flatten().float(), rtol=0.02, atol=0)


@cases
def test_samples_of_normal_data_have_its_mean_and_deviation(case: Case) -> None:
    process = case.build()
    sources = generators(0, Stream.GENERATION, range(4))
    noise = normal(sources, (1, 64, 64))
    found = sampler(case.sampler, 200).sample(partial(best, process), process, noise, sources)
    signal, sigma = (each.item() for each in levels(process, process.spread(2)[1:]))
    whole = (signal**2 * STD**2 + sigma**2) ** 0.5  # most schedules leave a little signal, which pure noise has not
    assert found.mean().item() == pytest.approx(MEAN - STD * signal * MEAN / whole, abs=0.01)
    assert found.std().item() == pytest.approx(STD / whole, rel=0.02)


@cases
def test_guiding_the_prediction_guides_the_clean_sample(case: Case) -> None:
    process, scale = case.build(), 2.5
    x, t = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)), process.spread(5)[1:-1]

    def model(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return best(process, x, t, condition.label[:, None, None, None])

    options = {"guidance_scale": scale, "channels": "all"}
    guided = guide(model, Condition(torch.tensor([-1])), process, **options)(x, t, Condition(torch.tensor([1, 2, 3])))
    (signal, sigma), (a, b) = levels(process, t), factors(process, t)

    def clean(output: Tensor) -> Tensor:  # solves x = signal * x0 + sigma * noise and output = a * noise - b * x0
        return (a * x - sigma * output[:, :2]) / (a * signal + b * sigma)

    of_label, of_none = (clean(model(x, t, Condition(torch.tensor(y)))) for y in ([1, 2, 3], [-1, -1, -1]))
    assert_close(clean(guided), of_none + scale * (of_label - of_none), atol=1e-4, rtol=1e-4)


@cases
def test_guidance_has_an_interval_of_the_process(case: Case) -> None:
    process, seen = case.build(), []

    def model(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        seen.append(len(x))
        return torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:])

    guided = guide(model, Condition(torch.tensor([0])), process, guidance_scale=2.0, interval=(0.3, 0.7))
    for t in process.spread(6):
        guided(torch.zeros(1, 1, 2, 2), t[None], Condition(torch.tensor([0])))
    assert seen == [1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize("betas", [scaled_linear_betas, ZERO_TERMINAL, linear_betas, cosine_betas])
def test_noise_and_v_are_those_of_diffusers(betas: Callable[[], Tensor]) -> None:
    theirs = DDPMScheduler(1000, trained_betas=betas().numpy(), prediction_type="v_prediction")
    process, t = DDPM(betas(), predicts="v"), torch.tensor([0, 10, 500, 990, 999])
    x0, noise = torch.randn(2, 5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert_close(process.add_noise(x0, noise, t), theirs.add_noise(x0, noise, t), atol=1e-5, rtol=1e-4)
    v = theirs.get_velocity(x0, noise, t)
    assert process.losses(v, x0, x0, noise, t).total.max() < 1e-8


@pytest.mark.parametrize(
    ("betas", "theirs"),
    [
        (scaled_linear_betas(), DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear")),
        (scaled_linear_betas(end=0.018), DDPMScheduler(1000, 0.00085, 0.018, "scaled_linear")),
        (ZERO_TERMINAL(), DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", rescale_betas_zero_snr=True)),
        (scaled_linear_betas(snr_shift=3.0, zero_terminal=True), CogVideoXDDIMScheduler(rescale_betas_zero_snr=True)),
        (cosine_betas(), DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")),
    ],
)
def test_betas_are_those_of_diffusers(betas: Tensor, theirs: object) -> None:
    assert_close((1 - betas).cumprod(0), theirs.alphas_cumprod.double(), atol=2e-6, rtol=1e-4)


def test_the_noise_of_a_flow_is_that_of_diffusers() -> None:
    process, theirs = Flow(shift=3.0), FlowMatchEulerDiscreteScheduler(1000, shift=3.0)
    x0, noise = torch.randn(2, 4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    timesteps = theirs.timesteps[[0, 100, 500, 999]]
    t = torch.tensor([process.time(each) for each in timesteps.tolist()])
    assert_close(process.add_noise(x0, noise, t), theirs.scale_noise(x0, timesteps, noise))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_is_sampled_at_shifted_equal_steps(shift: float) -> None:
    seen, steps = [], 4

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t[0].item())
        return torch.full_like(x, 2.0)

    found = sampler("flow_euler", steps).sample(model, Flow(shift=shift), torch.zeros(2, 1, 2, 2), [])
    even = torch.arange(steps, 0, -1) / steps
    assert seen == pytest.approx((shift * even / (1 + (shift - 1) * even)).tolist())
    assert_close(found, torch.full((2, 1, 2, 2), -2.0))  # along the velocity from time 1 to 0


def test_a_sampler_may_have_a_shift_of_its_own() -> None:
    own = Sampler(partial(FlowMatchEulerDiscreteScheduler, shift=5.0), 3)
    assert own.prepare(Flow(shift=3.0)).config.shift == 5.0


def test_the_last_step_of_a_perfect_flow_lands_on_the_data() -> None:
    process, x0 = Flow(), torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = sampler("flow_euler", 1).sample(lambda x, t: noise - x0, process, noise, [])
    assert_close(found, x0)


def test_logit_normal_times_are_as_said() -> None:
    t = Flow("logit_normal", mean=0.3, std=0.7).draw(100_000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert torch.logit(t.double()).mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.logit(t.double()).std().item() == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DDPM(linear_betas(), predicts="x0"), r"predicts=x0 is unknown: choose epsilon_and_variance, epsilon"),
        (lambda: DDPM(ZERO_TERMINAL()), r"No signal is left .* set diffusion\.predicts=v"),
        (lambda: DDPM(linear_betas(), min_snr, "v"), r"for v choose constant or min_snr_v"),
        (lambda: DDPM(linear_betas(), partial(p2, k=2.0), "v"), r"for v choose constant or min_snr_v"),
        (lambda: Flow("cosine"), r"times=cosine is unknown: choose uniform or logit_normal"),
        (lambda: Flow(shift=0.0), r"choose numbers above 0"),
        (lambda: sampler("flow_euler", 5).prepare(DDPM(linear_betas())), r"does not take these options"),
        (lambda: sampler("ddpm", 5).prepare(Flow()), r"does not sample a flow .* choose sampler=flow_euler"),
        (lambda: sampler("ddim", 5).prepare(Flow()), r"does not sample a flow .*sigmas.*respaced=false dpm_solver"),
        (lambda: sampler("flow_euler", 0).prepare(Flow()), r"steps=0.* choose 1 or more"),
        (
            lambda: sampler("ddpm", 5).prepare(DDPM(linear_betas(), predicts="v")),
            r"learned_range needs .*predicts=epsilon_and_variance, not v",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_min_snr_weighs_v_as_it_weighs_epsilon() -> None:
    of_epsilon, of_v = DDPM(linear_betas(), min_snr, "epsilon"), DDPM(linear_betas(), min_snr_v, "v")
    x0, noise = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([5, 400, 900])
    x_t = of_v.add_noise(x0, noise, t)
    signal, sigma = levels(of_v, t)
    wrong = noise + torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    clean = (x_t - sigma * wrong) / signal
    v = (signal * wrong - sigma * clean).float()
    found, expected = of_v.losses(v, x0, x_t, noise, t).total, of_epsilon.losses(wrong, x0, x_t, noise, t).total
    assert_close(found, expected, rtol=1e-4, atol=0)
