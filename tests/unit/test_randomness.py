"""Keyed generators: each key its own numbers, whatever else happened."""

import hashlib
import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from aelif.randomness import derive_seed, numpy_generator, torch_generator

keys = st.tuples(
    st.integers(0, 2**40), st.sampled_from(["train/noise", "synthesize/latents"]), st.lists(st.integers(0, 99))
)


def test_a_seed_is_the_hash_of_its_key():
    digest = hashlib.blake2b(b"7\x1fsynthesize/latents\x1f3\x1f1", digest_size=8).digest()
    assert derive_seed(7, "synthesize/latents", 3, 1) == int.from_bytes(digest, "big") // 2


@given(keys, keys)
def test_equal_keys_give_equal_seeds_and_different_keys_different_ones(one, other):
    seeds = [derive_seed(seed, purpose, *indices) for seed, purpose, indices in (one, other)]
    assert (seeds[0] == seeds[1]) == (one == other)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_neighbouring_indices_do_not_run_together():
    assert derive_seed(0, "a", 1, 23) != derive_seed(0, "a", 12, 3) != derive_seed(0, "a", 123)
    assert derive_seed(1, "a", 2) != derive_seed(12, "a")


def test_generators_ignore_and_spare_the_global_state():
    first = (torch.randn(4, generator=torch_generator(1, "x", 2)), numpy_generator(1, "x", 2).random(4))
    torch.manual_seed(3)
    random.seed(3)
    state = torch.get_rng_state()
    again = (torch.randn(4, generator=torch_generator(1, "x", 2)), numpy_generator(1, "x", 2).random(4))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_numbers_of_neighbouring_keys_are_uncorrelated():
    draws = np.stack([numpy_generator(0, "x", index).normal(size=500) for index in range(40)])
    correlations = np.corrcoef(draws)[np.triu_indices(40, 1)]
    assert abs(correlations.mean()) < 0.01  # standard error: 1 / sqrt(500 · 780) = 0.0016
    assert abs(correlations).max() < 5 / np.sqrt(500)
    assert abs(draws.mean()) < 5 / np.sqrt(draws.size)


def test_numbers_stay_the_same_between_releases():
    """A change here changes every user's results: it needs a word in the changelog."""
    assert (
        derive_seed(0, "synthesize/latents", 0, 0)
        == int.from_bytes(hashlib.blake2b(b"0\x1fsynthesize/latents\x1f0\x1f0", digest_size=8).digest(), "big") >> 1
    )
    assert torch_generator(0, "synthesize/latents", 0, 0).initial_seed() == derive_seed(0, "synthesize/latents", 0, 0)
