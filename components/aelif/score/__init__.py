"""Distances between generated and training images, and what they say about each variant."""

METRICS = ("w1", "w2", "sliced_w2", "clip_t", "clip_i", "diversity", "vendi", "near_copies", "dino")
"""Metrics of `scores.parquet`, each per trial and prompt; no row where undefined.

w1, w2: Wasserstein distances between the CLIP embeddings of a prompt's images and of the training images; exact
    while images × training images ≤ `aelif.score.wasserstein.EXACT_PAIRS`, estimated from slices beyond.
sliced_w2: the root mean square of W2 over random projections.
clip_t: mean cosine between the images and the *clean* prompt; the subject in other contexts and the bare class
    prompt are clean themselves, and are compared with their own words.
clip_i: mean cosine between the images and the training images; on the class prompt, what of the subject leaked.
diversity: mean Euclidean distance between two images of the prompt.
vendi: effective number of different images of the prompt, from 1 to their number.
near_copies: share of the prompt's images as close to a training image as two training images are to one another;
    undefined where there is one training image.
dino: clip_i with the embeddings of the self-supervised model; undefined where `ScoreConfig.dino` names none.
"""
