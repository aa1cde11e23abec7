"""What a report says of gates, against closed forms and mixtures that are written out."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from dmp_lightning.reports.gate_usage import Gates, grid_of_earlier, on_grid, shown_timesteps, similarity, usage


def gates(weights: np.ndarray, norms: np.ndarray | None = None) -> Gates:
    norms = np.ones((len(weights), weights.shape[-1])) if norms is None else norms
    return Gates(weights, np.arange(weights.shape[1]), list(range(len(weights))), norms)


def test_prompts_that_are_used_alike_count_all_and_one_alone_counts_one() -> None:
    weights = np.stack([np.full((5, 8), 2.0), np.tile(np.eye(8)[2], (5, 1))])
    found = usage(gates(weights))
    assert found.entropy == pytest.approx([1, 0])
    assert found.effective == pytest.approx([8, 1])
    assert found.at_once == pytest.approx([8, 1])
    assert found.dead.sum(1).tolist() == [0, 7]


def test_another_prompt_at_each_timestep_uses_all_of_them_one_at_once() -> None:
    found = usage(gates(np.eye(6)[None] * 6))
    assert found.effective == pytest.approx([6])
    assert found.at_once == pytest.approx([1])


def test_entropy_is_that_of_the_mean_shares() -> None:
    weights = np.random.default_rng(0).random((3, 7, 5))
    shares = (weights / weights.sum(-1, keepdims=True)).mean(1)
    found = usage(gates(weights))
    np.testing.assert_allclose(found.entropy, stats.entropy(shares, axis=1, base=5))
    np.testing.assert_allclose(found.effective, np.exp(stats.entropy(shares, axis=1)))


def test_a_prompt_that_learned_nothing_is_dead_whatever_its_weight() -> None:
    norms = np.array([[1.0, 1.0, 0.0, 0.01]])
    assert usage(gates(np.ones((1, 4, 4)), norms)).dead.tolist() == [[False, False, True, False]]
    assert usage(gates(np.ones((1, 4, 4)), np.zeros((1, 4)))).dead.all()


def test_similarity_is_the_cosine_of_the_mixtures_as_they_enter_the_tokens() -> None:
    rng = np.random.default_rng(0)
    weights, prompts = rng.random((2, 6, 4)), rng.standard_normal((2, 4, 3))
    found = similarity(gates(weights, np.linalg.norm(prompts, axis=-1)))
    for block in range(2):
        mixtures = (weights[block][:, :, None] * prompts[block]).reshape(6, -1)  # (S, T * D), one prompt a token
        np.testing.assert_allclose(found[block], 1 - cdist(mixtures, mixtures, "cosine"), atol=1e-12)


def test_prompts_that_are_zero_have_no_likeness() -> None:
    assert (similarity(gates(np.ones((1, 3, 4)), np.zeros((1, 4)))) == 0).all()


def test_prompts_stand_where_they_act() -> None:
    values = np.arange(8.0)
    assert on_grid(values, (2, 4)).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    several = np.concatenate([values, values + 2])  # prompts t and t + T serve token t
    assert on_grid(several, (2, 4)).tolist() == on_grid(values + 1, (2, 4)).tolist()


def test_the_grid_of_earlier_runs_is_that_of_their_dit() -> None:
    model = {"backbone.model.input_size": "8", "backbone.model.patch_size": "2"}
    found = {count: grid_of_earlier(count, model) for count in (1, 4, 6, 9, 16, 32)}
    assert found == {1: (1, 1), 4: (2, 2), 6: None, 9: None, 16: (4, 4), 32: (4, 4)}
    assert grid_of_earlier(16, model | {"method.position": "prepend"}) is None
    assert grid_of_earlier(16, {}) is None


def test_shown_timesteps_reach_both_ends() -> None:
    assert shown_timesteps(range(100)) == [0, 25, 50, 74, 99]
    assert shown_timesteps(range(2)) == [0, 1]
