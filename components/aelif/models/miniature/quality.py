"""How good the miniatures are, measured on scenes that pretraining never saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from aelif.models.miniature.architecture import SD3_ABSENT_TOKENS
from aelif.models.miniature.data import Scenes
from aelif.models.miniature.export import WEIGHTS
from aelif.models.miniature.pretrain import to_pixels, tokenize
from aelif.models.miniature.scenes import BACKGROUNDS, OBJECTS, PLACES, TINTS
from aelif.randomness import torch_generator

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Tensor


class Judge:
    """The packaged scorer, asked which object, tint or background an image shows."""

    def __init__(self, folder: Path = WEIGHTS / "clip") -> None:
        import json

        import open_clip
        from safetensors.torch import load_file
        from transformers import CLIPTokenizer

        config = json.loads((folder / "open_clip_config.json").read_text())
        self._tokenizer = CLIPTokenizer.from_pretrained(folder)
        self._model = open_clip.CLIP(**config["model_cfg"]).eval()
        self._model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))

    @torch.no_grad()
    def choose(self, images: np.ndarray, choices: list[str]) -> np.ndarray:
        """Return, for each of (N, 64, 64, 3) uint8 images, the index of the best matching text."""
        texts = self._model.encode_text(tokenize(self._tokenizer, choices), normalize=True)
        chunks = [self._model.encode_image(to_pixels(images[i : i + 64])) for i in range(0, len(images), 64)]
        return (torch.cat(chunks) @ texts.T).argmax(1).numpy()

    def object_accuracy(self, images: np.ndarray, objects: list[str]) -> float:
        """Return the share of images whose object is named rightly among all objects; chance is 1/24."""
        chosen = self.choose(images, [f"a photo of a {name}" for name in OBJECTS])
        names = list(OBJECTS)
        return float(np.mean([names[index] == name for index, name in zip(chosen, objects, strict=True)]))

    def caption_accuracy(self, images: np.ndarray, captions: list[str]) -> float:
        """Return the share of images that find their own caption among all captions (R@1)."""
        chosen = self.choose(images, captions)
        return float(np.mean([captions[index] == own for index, own in zip(chosen, captions, strict=True)]))


@torch.no_grad()
def reconstruct(pipeline: DiffusionPipeline, images: np.ndarray) -> np.ndarray:
    """Return (N, 64, 64, 3) uint8: the images after encoding and decoding."""
    chunks = []
    for at in range(0, len(images), 64):
        latents = pipeline.vae.encode(to_pixels(images[at : at + 64])).latent_dist.mean
        chunks.append(to_images(pipeline.vae.decode(latents).sample))
    return np.concatenate(chunks)


def to_images(pixels: Tensor) -> np.ndarray:
    """Return (B, H, W, 3) uint8 from (B, 3, H, W) in [-1, 1]."""
    scaled: np.ndarray = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return scaled


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
    """Return one (64, 64, 3) uint8 image per prompt, at guidance 5."""
    images: list[np.ndarray] = []
    lengths = {"max_sequence_length": SD3_ABSENT_TOKENS} if hasattr(pipeline, "text_encoder_3") else {}
    for at in range(0, len(prompts), 32):
        batch = prompts[at : at + 32]
        generators = [torch_generator(seed, "miniature/generate", at + i) for i in range(len(batch))]
        out = pipeline(batch, num_inference_steps=steps, guidance_scale=5.0, generator=generators,
                       output_type="np", **lengths)  # fmt: skip
        images.extend((image * 255).round().astype(np.uint8) for image in out.images)
    return np.stack(images)


def clean_prompts() -> tuple[list[str], list[str]]:
    """Return in-domain prompts and the object each names: every object plain, tinted, and before backgrounds."""
    grounds = [*(f"on a {name} background" for name in BACKGROUNDS), *PLACES]
    prompts, objects = [], []
    for index, name in enumerate(OBJECTS):
        tint = list(TINTS)[index % len(TINTS)]
        ground = grounds[index % len(grounds)]
        for prompt in (f"a photo of a {name}", f"a photo of a {tint} {name}", f"a picture of a {name} {ground}",
                       f"a photo of a {tint} {name} {grounds[(index + 5) % len(grounds)]}"):  # fmt: skip
            prompts.append(prompt)
            objects.append(name)
    return prompts, objects


def grid(images: np.ndarray, columns: int) -> Image.Image:
    """Return the images on one sheet, row by row."""
    size, rows = images.shape[1], -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (size + 2), rows * (size + 2)), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(image), (column * (size + 2), row * (size + 2)))
    return sheet


def measure(held_out: Scenes, *, seed: int, sheets: Path) -> dict[str, Any]:
    """Return the quality figures of the packaged miniatures, and write sample grids to `sheets`."""
    judge, sdxl = Judge(), load_generator("sdxl")
    sheets.mkdir(parents=True, exist_ok=True)
    decoded = reconstruct(sdxl, held_out.images)
    pairs = np.stack([held_out.images[:48], decoded[:48]], axis=1).reshape(-1, *decoded.shape[1:])
    grid(pairs, 16).save(sheets / "reconstructions.png")
    prompts, objects = clean_prompts()
    generated = {}
    for name, pipeline in (("sdxl", sdxl), ("sd3", load_generator("sd3"))):
        images = generate(pipeline, prompts, seed=seed)
        grid(images, 16).save(sheets / f"generated-{name}.png")
        generated[name] = round(judge.object_accuracy(images, objects), 4)
    return {
        "autoencoder_psnr_db": round(psnr(held_out.images, decoded), 2),
        "scorer_object_accuracy": round(
            judge.object_accuracy(held_out.images, [scene.object for scene in held_out.scenes]), 4
        ),
        "scorer_caption_accuracy": round(
            judge.caption_accuracy(held_out.images, [texts[0] for texts in held_out.captions]), 4
        ),
        "generated_object_accuracy": generated,
        "chance_object_accuracy": round(1 / len(OBJECTS), 4),
        "held_out_images": len(held_out.images),
        "generated_images": len(prompts),
    }
