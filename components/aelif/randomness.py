"""Keyed random generators: every random choice is a function of (seed, purpose, indices).

No global random state is read or written, so the same key gives the same numbers whatever
ran before, on however many shards, and after however many interruptions.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive_seed(seed: int, purpose: str, *indices: int) -> int:
    """Return a 63-bit seed that depends on every argument and on nothing else.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, such as ``"synthesize/latents"``.
        *indices: position of the choice: step, sample, prompt, image …
    """
    key = "\x1f".join([str(int(seed)), purpose, *(str(int(index)) for index in indices)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def torch_generator(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """Return a CPU `torch.Generator` for this key (see `derive_seed`)."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, *indices))


def numpy_generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return a numpy `Generator` for this key (see `derive_seed`)."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, purpose, *indices))
