"""Measures the registered champion as a run measures its own trials: same prompts, noise and scorer."""
