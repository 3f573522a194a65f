"""How good the miniatures are, measured on scenes that pretraining never saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from aelif.models.miniature.architecture import SD3_ABSENT_TOKENS
from aelif.models.miniature.corpus import GROUNDS
from aelif.models.miniature.data import Scenes, to_images, to_pixels
from aelif.models.miniature.export import WEIGHTS
from aelif.models.miniature.scenes import OBJECTS, TINTS
from aelif.randomness import torch_generator

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class Judge:
    """A packaged scorer, asked which object, tint or background an image shows."""

    def __init__(self, name: str = "clip") -> None:
        from aelif.embed.clip import load_folder

        self._scorer = load_folder(WEIGHTS / name, torch.device("cpu"))

    def choose(self, images: np.ndarray, choices: list[str]) -> np.ndarray:
        """Return, for each of (N, 64, 64, 3) uint8 images, the index of the best matching text."""
        texts = self._scorer.embed_texts(choices)
        chunks = [self._encode(images[at : at + 64]) for at in range(0, len(images), 64)]
        chosen: np.ndarray = (np.concatenate(chunks) @ texts.T).argmax(1)
        return chosen

    @torch.no_grad()
    def _encode(self, images: np.ndarray) -> np.ndarray:
        features: np.ndarray = self._scorer.encode_pixels(to_pixels(images)).numpy()
        return features

    def accuracy(self, images: np.ndarray, captions: list[str], choices: list[str]) -> float:
        """Return the share of images that choose their own caption among the choices."""
        chosen = self.choose(images, choices)
        return float(np.mean([choices[index] == own for index, own in zip(chosen, captions, strict=True)]))

    def object_accuracy(self, images: np.ndarray, objects: list[str]) -> float:
        """Return the share of images whose object is named rightly among all objects; chance is 1/24."""
        return self.accuracy(images, [f"a photo of a {name}" for name in objects],
                             [f"a photo of a {name}" for name in OBJECTS])  # fmt: skip


@torch.no_grad()
def reconstruct(pipeline: DiffusionPipeline, images: np.ndarray) -> np.ndarray:
    """Return (N, 64, 64, 3) uint8: the images after encoding and decoding."""
    chunks = []
    for at in range(0, len(images), 64):
        latents = pipeline.vae.encode(to_pixels(images[at : at + 64])).latent_dist.mean
        chunks.append(to_images(pipeline.vae.decode(latents).sample))
    return np.concatenate(chunks)


def psnr(images: np.ndarray, others: np.ndarray) -> float:
    """Return the mean over images of 10·log10(255² / mean squared error), in dB."""
    errors = ((images.astype(np.float64) - others) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-6))))


def load_generator(name: str = "sdxl") -> DiffusionPipeline:
    """Load a packaged miniature (``sdxl`` or ``sd3``) into the stock pipeline, in single precision."""
    from diffusers import DiffusionPipeline

    absent = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3" else {}  # diffusers asks for it
    pipeline = DiffusionPipeline.from_pretrained(WEIGHTS / name, dtype=torch.float32, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: DiffusionPipeline, prompts: list[str], *, seed: int, steps: int = 20) -> np.ndarray:
    """Return one (64, 64, 3) uint8 image per prompt, at guidance 3, as the recipes do."""
    images: list[np.ndarray] = []
    lengths = {"max_sequence_length": SD3_ABSENT_TOKENS} if hasattr(pipeline, "text_encoder_3") else {}
    for at in range(0, len(prompts), 32):
        batch = prompts[at : at + 32]
        generators = [torch_generator(seed, "miniature/generate", at + i) for i in range(len(batch))]
        out = pipeline(batch, num_inference_steps=steps, guidance_scale=3.0, generator=generators,
                       output_type="np", **lengths)  # fmt: skip
        images.extend((image * 255).round().astype(np.uint8) for image in out.images)
    return np.stack(images)


def clean_prompts() -> tuple[list[str], list[str]]:
    """Return in-domain prompts and the object each names: every object plain, tinted, and before backgrounds."""
    prompts, objects = [], []
    for index, name in enumerate(OBJECTS):
        tint = list(TINTS)[index % len(TINTS)]
        ground = GROUNDS[index % len(GROUNDS)]
        for prompt in (f"a photo of a {name}", f"a photo of a {tint} {name}", f"a picture of a {name} {ground}",
                       f"a photo of a {tint} {name} {GROUNDS[(index + 5) % len(GROUNDS)]}"):  # fmt: skip
            prompts.append(prompt)
            objects.append(name)
    return prompts, objects


def single_changes() -> dict[str, list[list[str]]]:
    """Return, for object, tint and background, groups of prompts in which that alone changes."""
    some = list(OBJECTS)[::4]
    return {
        "object": [[f"a photo of a {name}" for name in OBJECTS]] * 2,
        "tint": [[f"a photo of a {tint} {name}" for tint in TINTS] for name in some],
        "background": [[f"a photo of a {name} {ground}" for ground in GROUNDS] for name in some[:4]],
    }


def attribute_accuracy(pipeline: DiffusionPipeline, judges: list[Judge], *, seed: int) -> dict[str, list[float]]:
    """Return, for object, tint and background, the share recognised where it alone changes, as each judge sees it.

    An image must choose its own prompt among those of its group.
    """
    shares = {}
    for name, groups in single_changes().items():
        images = generate(pipeline, [prompt for group in groups for prompt in group], seed=seed + 1)
        parts = np.split(images, np.cumsum([len(group) for group in groups])[:-1])
        per_judge = [[judge.accuracy(part, group, group) for part, group in zip(parts, groups, strict=True)]
                     for judge in judges]  # fmt: skip
        shares[name] = [round(float(np.mean(values)), 4) for values in per_judge]
    return shares


def grid(images: np.ndarray, columns: int) -> Image.Image:
    """Return the images on one sheet, row by row."""
    size, rows = images.shape[1], -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (size + 2), rows * (size + 2)), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(image), (column * (size + 2), row * (size + 2)))
    return sheet


def measure(held_out: Scenes, *, seed: int, sheets: Path) -> dict[str, Any]:
    """Return the quality figures of the packaged miniatures, and write sample grids to `sheets`.

    What a scorer says is a list: first the scorer, then the one that cross-checks it.
    """
    judges, sdxl = [Judge("clip"), Judge("clip-vit")], load_generator("sdxl")
    sheets.mkdir(parents=True, exist_ok=True)
    decoded = reconstruct(sdxl, held_out.images)
    pairs = np.stack([held_out.images[:48], decoded[:48]], axis=1).reshape(-1, *decoded.shape[1:])
    grid(pairs, 16).save(sheets / "reconstructions.png")
    prompts, objects = clean_prompts()
    generated, changed = {}, {}
    for name, pipeline in (("sdxl", sdxl), ("sd3", load_generator("sd3"))):
        images = generate(pipeline, prompts, seed=seed)
        grid(images, 16).save(sheets / f"generated-{name}.png")
        generated[name] = [round(judge.object_accuracy(images, objects), 4) for judge in judges]
        changed[name] = attribute_accuracy(pipeline, judges, seed=seed)
    shown = [scene.object for scene in held_out.scenes]
    captions = [texts[0] for texts in held_out.captions]
    return {
        "autoencoder_psnr_db": round(psnr(held_out.images, decoded), 2),
        "scorer_object_accuracy": [round(judge.object_accuracy(held_out.images, shown), 4) for judge in judges],
        "scorer_caption_accuracy": [round(judge.accuracy(held_out.images, captions, captions), 4) for judge in judges],
        "generated_object_accuracy": generated,
        "changed_alone_accuracy": changed,
        "chance_object_accuracy": round(1 / len(OBJECTS), 4),
        "held_out_images": len(held_out.images),
        "generated_images": len(prompts),
    }
