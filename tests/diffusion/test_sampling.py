from functools import partial
from pathlib import Path

import hydra
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from omegaconf import OmegaConf
from torch.testing import assert_close

from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.diffusion.schedule import Schedule, cosine_betas, linear_betas
from dmp_lightning.diffusion.schedulers import respaced_timesteps
from dmp_lightning.draws import Stream, generators, normal
from dmp_lightning.user_error import UserError

CONF = Path(__file__).parents[2] / "conf" / "sampler"
SAMPLERS = ["ddpm", "ddim", "dpm_solver", "unipc"]
SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas}
MEAN, STD = 0.7, 0.5  # of the normal data for which the best model is known
TOLERANCE = 2e-6  # 1e-4 is asked for; diffusers' own float32 schedule is off by up to 4e-5


def sampler(name, steps, **options):
    return hydra.utils.instantiate(OmegaConf.load(CONF / f"{name}.yaml"), steps=steps, **options)


def sources(count):
    return generators(0, Stream.GENERATION, range(count))


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


class BestModel:
    """The exact epsilon for normal data, and the exact variance of the step to the next timestep visited.

    The reverse process of normal data is normal, so that with it ancestral sampling is exact at any number of steps.
    """

    def __init__(self, betas, timesteps):
        self.kept = (1 - betas).cumprod(0)
        self.next = dict(zip(timesteps, [*timesteps[1:], None], strict=True))
        self.visited = []

    def __call__(self, x, t):
        step = int(t[0])
        self.visited.append(step)
        kept = self.kept[step].item()
        variance = kept * STD**2 + 1 - kept
        epsilon = (1 - kept) ** 0.5 * (x - kept**0.5 * MEAN) / variance
        return torch.cat([epsilon, torch.full_like(x, self.interpolation(step, variance))], dim=1)

    def interpolation(self, step, variance):
        if self.next[step] is None:
            return 0.0
        kept, before = self.kept[step], self.kept[self.next[step]]
        beta = 1 - kept / before
        posterior = beta * (1 - before) / (1 - kept)
        of_clean = STD**2 * (1 - kept) / variance
        exact = posterior + before * (beta / (1 - kept)) ** 2 * of_clean
        return (2 * (exact / posterior).log() / (beta / posterior).log() - 1).item()


def one_step(name, values, steps, row, seed=0):
    """One step from the golden `x_t` at the golden position, and the noise that it drew."""
    position = steps - 1 - values[f"s{steps}.index"][row].item()  # samplers count from the noisy end
    output, x_t = values["model_output"][row : row + 1], values["x_t"][row : row + 1]
    own = [torch.Generator().manual_seed(seed)]
    out = sampler(name, steps).sample(
        lambda x, t: output, DDPM(values["betas"]), x_t, own, progress=lambda visited: [visited[position]]
    )
    return out, torch.randn(x_t.shape, generator=torch.Generator().manual_seed(seed))


GOLDEN_STEPS = [
    pytest.param(schedule, steps, row, id=f"{schedule}, {steps} steps, row {row}")
    for schedule in SCHEDULES
    for steps in (10, 50, 250)
    for row in range(6)
]


@pytest.mark.parametrize(("schedule", "steps", "row"), GOLDEN_STEPS)
def test_the_deterministic_step_matches_the_golden_one(golden, schedule, steps, row):
    values = golden(f"diffusion_{schedule}")
    out, _ = one_step("ddim", values, steps, row)
    assert relative(out, values[f"s{steps}.ddim_eta0"][row : row + 1]) < TOLERANCE


@pytest.mark.parametrize(("schedule", "steps", "row"), GOLDEN_STEPS)
def test_the_ancestral_step_matches_the_golden_one(golden, schedule, steps, row):
    values = golden(f"diffusion_{schedule}")
    mean, log_variance = (values[f"s{steps}.{name}"][row : row + 1] for name in ("mean", "log_variance"))
    out, noise = one_step("ddpm", values, steps, row)
    other, other_noise = one_step("ddpm", values, steps, row, seed=1)
    if values[f"s{steps}.index"][row] == 0:  # the last step adds no noise
        assert relative(out, mean) < TOLERANCE
        assert torch.equal(other, out)
        return
    assert relative(out - (0.5 * log_variance).exp() * noise, mean) < TOLERANCE
    apart = (noise - other_noise).abs() > 1
    found = 2 * ((out - other) / (noise - other_noise))[apart].log()
    assert_close(found, log_variance[apart], atol=1e-3, rtol=0)


@pytest.mark.parametrize("steps", [10, 50, 250])
@pytest.mark.parametrize("name", ["ddpm", "ddim"])
def test_the_golden_timesteps_are_visited(golden, name, steps):
    values = golden("diffusion_linear")
    model = BestModel(values["betas"], respaced_timesteps(steps, 1000))
    sampler(name, steps).sample(model, DDPM(values["betas"]), torch.zeros(1, 1, 1, 1), sources(1))
    assert model.visited == values[f"s{steps}.timestep_map"].tolist()[::-1]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("name", "steps", "tolerance"),
    [
        ("ddim", 250, 0.05),
        ("ddim", 1000, 0.012),
        ("dpm_solver", 50, 0.004),
        ("unipc", 50, 0.012),
        ("unipc", 250, 0.006),
    ],
)
def test_deterministic_samplers_follow_the_known_path_of_normal_data(schedule, name, steps, tolerance):
    betas = SCHEDULES[schedule]()
    noise = torch.linspace(-3, 3, 4 * 256).view(4, 1, 16, 16)  # the path is linear in the noise: its ends bound it
    model = BestModel(betas, range(999, -1, -1))
    found = sampler(name, steps).sample(model, DDPM(betas), noise, sources(4))
    signal, sigma = Schedule(betas).signal[999].item(), Schedule(betas).sigma[999].item()
    exact = MEAN + STD * (noise - signal * MEAN) / (signal**2 * STD**2 + sigma**2) ** 0.5
    assert (found - exact).abs().max() < tolerance * STD


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [5, 50])
def test_ancestral_samples_of_normal_data_have_its_mean_and_variance(schedule, steps):
    betas = SCHEDULES[schedule]()
    noise = normal(sources(16), (1, 64, 64))
    model = BestModel(betas, respaced_timesteps(steps, 1000))
    found = sampler("ddpm", steps).sample(model, DDPM(betas), noise, sources(16))
    assert found.mean().item() == pytest.approx(MEAN, abs=5 * STD / 256)  # 65,536 values: five standard errors
    assert found.std().item() == pytest.approx(STD, rel=5 / (2 * 65_536) ** 0.5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_depends_on_its_own_noise_and_source_alone(name):
    betas, noise = linear_betas(), normal(sources(4), (2, 4, 4))

    def draw(rows):
        model, own = BestModel(betas, respaced_timesteps(8, 1000)), [sources(4)[row] for row in rows]
        model.next = dict.fromkeys(range(1000)) if name != "ddpm" else model.next
        return sampler(name, 8).sample(model, DDPM(betas), noise[rows], own)

    together = draw([0, 1, 2, 3])
    assert_close(torch.cat([draw([2]), draw([3, 0]), draw([1])]), together[[2, 3, 0, 1]], atol=1e-6, rtol=1e-6)


def test_only_the_ancestral_sampler_draws_noise():
    betas, noise = linear_betas(), normal(sources(1), (1, 2, 2))
    for name in SAMPLERS:
        own = sources(1)
        before = own[0].get_state()
        sampler(name, 5).sample(lambda x, t: torch.zeros(1, 2, 2, 2), DDPM(betas), noise, own)
        assert torch.equal(own[0].get_state(), before) == (name != "ddpm")


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_half_precision_model_neither_changes_the_noise_nor_the_precision_of_samples(name):
    def draw(precision):
        def model(x, t):
            return torch.cat([x, 0 * x], dim=1).bfloat16().to(precision)

        return sampler(name, 4).sample(model, DDPM(linear_betas()), normal(sources(2), (1, 2, 2)), sources(2))

    assert draw(torch.bfloat16).dtype == torch.float32
    assert torch.equal(draw(torch.bfloat16), draw(torch.float32))


@pytest.mark.parametrize(
    ("name", "steps", "length", "span"),
    [
        ("ddpm", 0, 1000, "2 to 1000"),
        ("ddpm", -5, 1000, "2 to 1000"),
        ("ddim", 1, 1000, "2 to 1000"),
        ("ddim", 101, 100, "2 to 100"),
        ("dpm_solver", 0, 1000, "1 to 999"),
        ("unipc", 100, 100, "1 to 99"),
    ],
)
def test_a_number_of_steps_that_the_schedule_does_not_have_is_refused(name, steps, length, span):
    with pytest.raises(ValueError, match=f"steps={steps} does not fit a schedule of {length} timesteps: choose {span}"):
        sampler(name, steps).sample(lambda x, t: x, DDPM(linear_betas(length)), torch.zeros(1, 1, 1, 1), sources(1))


@pytest.mark.parametrize(
    ("name", "steps"), [("ddpm", 2), ("ddpm", 40), ("ddim", 40), ("dpm_solver", 39), ("unipc", 39)]
)
def test_any_number_of_steps_that_the_schedule_has_gives_finite_samples(name, steps):
    visited = []

    def model(x, t):
        visited.append(int(t[0]))
        return torch.cat([x, 0 * x], dim=1)

    found = sampler(name, steps).sample(model, DDPM(linear_betas(40)), torch.ones(1, 1, 1, 1), sources(1))
    assert found.isfinite().all()
    assert len(set(visited)) == steps
    assert visited == sorted(visited, reverse=True)


@pytest.mark.parametrize("option", [{"algorithm_type": "foo"}, {"solver_type": "foo"}, {"use_karras_sigmas": True}])
def test_options_that_the_scheduler_refuses_are_told(option):
    built = Sampler(partial(DPMSolverMultistepScheduler, **option), 5, respaced=True)
    with pytest.raises(UserError, match=r"sampler\.scheduler does not take these options: "):
        built.prepare(DDPM(linear_betas()))


def test_a_scheduler_that_chooses_its_own_timesteps_cannot_be_respaced():
    with pytest.raises(ValueError, match=r"UniPCMultistepScheduler chooses its own .* sampler\.respaced=false"):
        sampler("unipc", 5, respaced=True).prepare(DDPM(linear_betas()))
