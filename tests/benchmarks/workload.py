"""What both trainers of `train.py` are given: models, photos, and the same settings in each one's words."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from aelif.artifacts import ImageRecord, write_image_records
from aelif.config import DataConfig, LoraConfig, OptimizerConfig, SynthesisConfig, TrainConfig
from aelif.models.miniature.export import WEIGHTS
from aelif.storage import EXAMPLES

PHOTOS = EXAMPLES / "backpack"
INSTANCE_PROMPT, CLASS_PROMPT = "a photo of sks backpack", "a photo of a backpack"
CLASS_IMAGES = 12
"""A multiple of the batch sizes, as the six photos are: every step of both trainers is a full batch."""
_IMAGE_SIZE, _RANK, _LEARNING_RATE, _WEIGHT_DECAY = 64, 16, 5e-4, 1e-2
_CLIP_TOKENS, _T5_TOKENS = 77, 16
_SAMPLE_BATCH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One comparison."""

    name: str
    base: Literal["sdxl", "sd3"]
    batch_size: int
    """Instance images of a step; with prior preservation as many class images ride along."""
    class_images: Literal["none", "given", "generated"] = "none"
    """Without prior preservation; with images that lie ready; with images that the command generates first."""
    cache_latents: bool = False
    """Whether the script keeps latents (SD3's can); ours always does."""

    @property
    def script(self) -> str:
        """File name of diffusers' script."""
        return f"train_dreambooth_lora_{self.base}.py"


WORKLOADS = (
    Workload(name="SDXL", base="sdxl", batch_size=2),
    Workload(name="SDXL, class images", base="sdxl", batch_size=2, class_images="given"),
    Workload(name="SDXL, class images generated", base="sdxl", batch_size=2, class_images="generated"),
    Workload(name="SD3", base="sd3", batch_size=2),
    Workload(name="SD3, latents cached", base="sd3", batch_size=2, cache_latents=True),
    # Its script breaks with class images and a batch of 2: it gives two text conditions to four images.
    Workload(name="SD3, class images", base="sd3", batch_size=1, class_images="given"),
)


def data_config() -> DataConfig:
    """Return our settings of the photos."""
    return DataConfig(
        instance_images=str(PHOTOS), instance_prompt=INSTANCE_PROMPT, class_prompt=CLASS_PROMPT,
        image_size=_IMAGE_SIZE, max_sequence_length=_T5_TOKENS,
    )  # fmt: skip


def train_config(work: Workload, *, steps: int) -> TrainConfig:
    """Return our settings of the training: those that `script_arguments` says in the script's words."""
    return TrainConfig(
        method="lora", steps=steps, batch_size=work.batch_size, mixed_precision="fp32", crops=1, flip=False,
        prior_preservation=work.class_images != "none", class_images=CLASS_IMAGES,
        loss_weighting="uniform", checkpoint_every=steps + 1, lora=LoraConfig(rank=_RANK, alpha=_RANK),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=_LEARNING_RATE, schedule="constant", warmup=0.0, weight_decay=_WEIGHT_DECAY
        ),
    )  # fmt: skip


def synthesis_config() -> SynthesisConfig:
    """Return how we generate class images: our usual steps and guidance, the script's batch size."""
    return SynthesisConfig(batch_size=_SAMPLE_BATCH)


def script_arguments(work: Workload, *, steps: int, model: Path, class_images: Path, output: Path) -> list[str]:
    """Return the script's command line.

    Args:
        work: the comparison.
        steps: optimizer steps.
        model: diffusers folder of the base model.
        class_images: folder of class images; the script fills it if there are too few.
        output: where the script writes the LoRA.
    """
    options: dict[str, object] = {
        "pretrained_model_name_or_path": model, "instance_data_dir": PHOTOS, "instance_prompt": INSTANCE_PROMPT,
        "output_dir": output, "resolution": _IMAGE_SIZE, "train_batch_size": work.batch_size,
        "max_train_steps": steps, "checkpointing_steps": steps + 1, "learning_rate": _LEARNING_RATE,
        "lr_scheduler": "constant", "lr_warmup_steps": 0, "adam_weight_decay": _WEIGHT_DECAY, "rank": _RANK,
        "mixed_precision": "no", "seed": 0,
    }  # fmt: skip
    flags = ["--center_crop"]
    if work.class_images != "none":
        flags.append("--with_prior_preservation")
        options |= {"class_data_dir": class_images, "class_prompt": CLASS_PROMPT, "num_class_images": CLASS_IMAGES,
                    "sample_batch_size": _SAMPLE_BATCH}  # fmt: skip
    if work.base == "sd3":
        options["max_sequence_length"] = _T5_TOKENS
    if work.cache_latents:
        flags.append("--cache_latents")
    return [*flags, *(f"--{name}={value}" for name, value in options.items())]


def write_model(base: str, folder: Path) -> None:
    """Write a miniature as a diffusers folder in float32, with what the scripts expect.

    Diffusers' SD3 script has T5 encode every prompt and pads prompts to 77 tokens: the folder gets a
    T5 of random weights and tokenizers of that length, for both trainers.
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(WEIGHTS / base, folder)
    for path in sorted(folder.rglob("*.safetensors")):
        single = {name: tensor.float() for name, tensor in load_file(path).items()}
        save_file(single, path, metadata={"format": "pt"})
    for path in sorted(folder.glob("*/config.json")):
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, **({"dtype": "float32"} if "dtype" in config else {})}))
    if base == "sd3":
        _lengthen_tokenizers(folder)
        _write_t5(folder)


def _lengthen_tokenizers(folder: Path) -> None:
    for path in folder.glob("tokenizer*/tokenizer_config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": _CLIP_TOKENS}))


def _write_t5(folder: Path) -> None:
    """Put a T5 of random weights, as wide as the denoiser reads, into an SD3 folder."""
    import torch
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    width = json.loads((folder / "transformer" / "config.json").read_text())["joint_attention_dim"]
    letters = [(letter, -4.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]
    T5Tokenizer(vocab=vocabulary, extra_ids=0).save_pretrained(folder / "tokenizer_3")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5EncoderModel(T5Config(
            vocab_size=len(vocabulary), d_model=width, d_kv=16, d_ff=2 * width, num_layers=1, num_heads=2,
        )).save_pretrained(folder / "text_encoder_3")  # fmt: skip
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "T5TokenizerFast"]}
    (folder / "model_index.json").write_text(json.dumps(index))


def write_class_images(pictures: Path, image_folder: Path) -> None:
    """Write the same smooth random pictures twice: bare, as the scripts read them, and as our image folder."""
    generator = np.random.default_rng(0)
    records = []
    for folder in (pictures, image_folder):
        folder.mkdir(parents=True)
    for index in range(CLASS_IMAGES):
        coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        name = f"{index:05d}.png"
        coarse.resize((_IMAGE_SIZE, _IMAGE_SIZE), Image.Resampling.BICUBIC).save(pictures / name)
        shutil.copyfile(pictures / name, image_folder / name)
        records.append(ImageRecord(file_name=name, text=CLASS_PROMPT, image_index=index))
    write_image_records(image_folder, records)
