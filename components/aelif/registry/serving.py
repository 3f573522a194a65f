"""What a registered model does once it is loaded: the pipeline's own images, for prompts that anybody sends."""

from __future__ import annotations

import base64
import io
import math
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aelif.artifacts import read_json
from aelif.config import SynthesisConfig, from_dict, require

if TYPE_CHECKING:
    from torch import Tensor

    from aelif.models.adapter import ModelAdapter

CACHE_VARIABLE = "AELIF_MODEL_CACHE"
"""Environment variable: folder that keeps base models; without it, the user's cache."""
BASE_VARIABLE = "AELIF_BASE_MODEL"
"""Environment variable: a base model that lies here already, in place of fetching it by its name."""

MAX_IMAGES = 64
MAX_STEPS = 1000
MAX_SIDE = 4096
"""Limits of one request: images per prompt, denoising steps, pixels along a side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFacts:
    """What a registered model must know beside its weights; stands in its folder as `serving.json`."""

    base_uri: str
    """Where the base model comes from, pinned: ``org/name@commit``, ``builtin:…``."""
    base_digest: str
    """Digest of the base model's files (see `aelif.models.resolve.ModelSource`)."""
    family: str
    trial: str
    """Variant and training seed: ``aelif_mask:0.3/seed=0``."""
    image_size: int
    """Pixels of the images that it was trained on, the usual width and height."""
    max_sequence_length: int
    """Tokens that T5 reads, in training and here."""
    steps: int
    """Usual denoising steps, those of its evaluation."""
    guidance_scale: float
    """Usual classifier-free guidance, that of its evaluation."""
    batch_size: int
    """Images generated at once, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Parameters of one request, as stock pipelines name them."""

    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    negative_prompt: str = ""
    """What images should not show; it takes the place of the unconditional prompt."""
    seed: int = 0
    """Of the initial latents; the evaluation's was `synthesis.seed`."""
    num_images: int = 1
    """Images of each prompt."""
    clean_id: int = 0
    """Whose noise to start from: `clean_id` in `prompts.parquet`. The pipeline's images of a prompt are those of its
    clean prompt's number."""

    def __post_init__(self) -> None:
        require(1 <= self.num_inference_steps <= MAX_STEPS, "num_inference_steps", self.num_inference_steps,
                f"give 1 to {MAX_STEPS}")  # fmt: skip
        require(math.isfinite(self.guidance_scale) and self.guidance_scale >= 1, "guidance_scale",
                self.guidance_scale, "give at least 1, which turns guidance off")  # fmt: skip
        require(1 <= self.num_images <= MAX_IMAGES, "num_images", self.num_images, f"give 1 to {MAX_IMAGES}")
        require(self.height == self.width, "height and width", (self.height, self.width),
                "images are square: give both alike")  # fmt: skip
        require(self.seed >= 0, "seed", self.seed, "give 0 or more")
        require(self.clean_id >= 0, "clean_id", self.clean_id, "give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """An open model; made by `open_served`. Its parts stay loaded, and requests wait for one another."""

    adapter: ModelAdapter
    facts: ServingFacts
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, rows: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return one row per image: `prompt`, `image_index`, and `image`, a PNG in base64.

        The images are the pipeline's for the same seed, steps, guidance and noise. Batches hold one
        prompt's images alone, so that the last bits may differ from those of a run whose batches mix
        prompts.

        Args:
            rows: each a `prompt`, and perhaps a `negative_prompt` of its own.
            params: fields of `Request`; those left out are the usual ones.

        Raises:
            ValueError: names the field, its value and the remedy.
        """
        request = self._read(params)
        asked = [(_prompt(row), _own_negative(row) or request.negative_prompt) for row in rows]
        with self._turn:
            return [
                {"prompt": prompt, "image_index": index, "image": _png(pixels_HW3)}
                for prompt, negative in asked
                for index, pixels_HW3 in enumerate(self._paint(prompt, negative, request))
            ]

    def _read(self, params: Mapping[str, Any]) -> Request:
        """Return the request, defaults filled in."""
        facts = self.facts
        usual = {"num_inference_steps": facts.steps, "guidance_scale": facts.guidance_scale,
                 "height": facts.image_size, "width": facts.image_size}  # fmt: skip
        plain = {name: value.item() if hasattr(value, "item") else value for name, value in params.items()}
        request, multiple = from_dict(Request, {**usual, **plain}), self.adapter.size_multiple
        require(multiple <= request.height <= MAX_SIDE and request.height % multiple == 0, "height", request.height,
                f"give a multiple of {multiple}, at most {MAX_SIDE}")  # fmt: skip
        return request

    def _paint(self, prompt: str, negative: str, request: Request) -> Iterator[Tensor]:
        """Yield the images of one prompt, (H, W, 3) uint8, from the noise that the pipeline gives them."""
        import torch

        from aelif.models.sampling import sample
        from aelif.randomness import torch_generator

        if negative:
            guided = request.guidance_scale != 1 and self.adapter.guidance == "classifier_free"
            require(guided, "negative_prompt", negative, "without classifier-free guidance it has no effect: leave it "
                    "out, or give a guidance_scale above 1 (FLUX takes none)")  # fmt: skip
        size = self.facts.batch_size
        config = SynthesisConfig(steps=request.num_inference_steps, guidance_scale=request.guidance_scale)
        with torch.inference_mode():
            condition = self.adapter.encode_text([prompt])
            null = self.adapter.encode_text([negative]) if negative else None
        for first in range(0, request.num_images, size):
            generators = [torch_generator(request.seed, "synthesize/latents", request.clean_id, index)
                          for index in range(first, min(first + size, request.num_images))]  # fmt: skip
            yield from sample(self.adapter, condition, generators, config=config, image_size=request.height,
                              negative=null)  # fmt: skip


def open_served(trained: Path, facts_file: Path) -> ServedModel:
    """Return the model, opened on its own base model, which is fetched unless it lies here.

    Args:
        trained: folder that training wrote.
        facts_file: `serving.json`.

    Raises:
        ValueError: if the base model cannot be had, or is not the one that was trained on.
    """
    from aelif.synthesize.sampler import open_generator

    facts = from_dict(ServingFacts, read_json(facts_file))
    adapter = open_generator(find_base(facts.base_uri, facts.base_digest), trained)
    return ServedModel(adapter=adapter, facts=facts)


def find_base(uri: str, digest: str) -> Path:
    """Return a local folder with the base model of this digest: the one named by `BASE_VARIABLE`, or a cached one.

    Args:
        uri: its pinned name, by which it is fetched into the cache where it is not yet.
        digest: of its files.

    Raises:
        ValueError: if it cannot be had, or is another one now.
    """
    given = os.environ.get(BASE_VARIABLE, "")
    if given and _is_written(Path(given), digest):
        return Path(given)
    kept = _cache() / digest
    if _is_written(kept, digest):
        return kept
    from aelif.models.resolve import resolve_exactly

    kept.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=kept.parent, prefix=".base-") as scratch:
        fresh = Path(scratch) / "model"
        resolve_exactly(given or uri, fresh, digest=digest, owner=BASE_VARIABLE if given else "this model")
        _put(fresh, kept, digest)
    return kept


def _put(fresh: Path, kept: Path, digest: str) -> None:
    """Move a model into the cache, in place of one that lacks files; another server process may be faster."""
    if _is_written(kept, digest):
        return
    shutil.rmtree(kept, ignore_errors=True)
    try:
        fresh.replace(kept)
    except OSError:
        if not _is_written(kept, digest):
            raise


def _cache() -> Path:
    """Return the folder that keeps base models by digest."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aelif" / "models"
    return Path(os.environ.get(CACHE_VARIABLE) or default)


def _is_written(folder: Path, digest: str) -> bool:
    """Tell whether `resolve_model` wrote this model here, and its files are there."""
    source = folder / "source.json"
    if not source.is_file() or (known := read_json(source)).get("digest") != digest:
        return False
    return all((folder / name).is_file() for name in known["files"])


def _prompt(row: Mapping[str, Any]) -> str:
    """Return a row's prompt.

    Raises:
        ValueError: if it has none.
    """
    prompt = row.get("prompt")
    require(isinstance(prompt, str) and bool(prompt.strip()), "prompt", prompt, "give a text")
    return str(prompt)


def _own_negative(row: Mapping[str, Any]) -> str:
    """Return a row's negative prompt; tables have null, or not a number, where there is none."""
    negative = row.get("negative_prompt")
    return negative if isinstance(negative, str) else ""


def _png(pixels_HW3: Tensor) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3.numpy()).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
