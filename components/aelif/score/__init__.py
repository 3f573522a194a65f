"""Distances between generated and training images, and what they say about each variant."""

METRICS = ("w1", "w2", "sliced_w2", "clip_t", "clip_i", "diversity")
"""Metrics of `scores.parquet`, each per trial and prompt.

w1, w2: exact Wasserstein distances between the CLIP embeddings of a prompt's images and of the training images.
sliced_w2: the same over random projections.
clip_t: mean cosine between the images and the *clean* prompt.
clip_i: mean cosine between the images and the training images.
diversity: mean Euclidean distance between two images of the prompt; no row where there is one image.
"""
