"""Miniature latent diffusion models and their CLIP scorer, small enough for two CPU cores."""
