"""What one training is given: everything that its weights depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelif.artifacts import digest_of_folder
from aelif.config import DataConfig, TrainConfig, Trial, to_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """Folders and settings of one training."""

    base: Path
    """diffusers folder of the base model."""
    photos: Path
    """Image folder of the subjects, captions in its records."""
    class_images: Path | None
    """Image folder of the class prompts; None without prior preservation."""
    trial: Trial
    data: DataConfig
    config: TrainConfig

    def origin(self) -> dict[str, Any]:
        """Return what the trained weights depend on: settings, and digests of what is read."""
        data, prior = self.data, self.class_images
        return {
            "variant": str(self.trial.variant),
            "seed": self.trial.seed,
            "instance_prompt": data.instance_prompt,
            "class_prompt": data.class_prompt,
            "more_subjects": [
                {"instance_prompt": subject.instance_prompt, "class_prompt": subject.class_prompt}
                for subject in data.more_subjects
            ],
            "image_size": data.image_size,
            "aspect_buckets": data.aspect_buckets,
            "max_sequence_length": data.max_sequence_length,
            "config": to_dict(self.config),
            "base": digest_of_folder(self.base),
            "photos": digest_of_folder(self.photos),
            "class_images": digest_of_folder(prior) if prior else None,
        }
