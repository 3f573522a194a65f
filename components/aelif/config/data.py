"""Settings of the photos and how they are named."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from aelif.config.reading import require


def holds_words(text: str, words: str) -> bool:
    """Return whether every one of the words stands in the text by itself ("tasks" is no "sks"), whatever its case.

    Letters and digits of ASCII alone make it part of another word: scripts without spaces put the
    identifier right beside their own characters.
    """
    plain = (word.strip(string.punctuation) or word for word in words.lower().split())
    return all(re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", text.lower()) for word in plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One subject: its photos and its name."""

    instance_images: str
    """Folder, archive or ``s3://`` prefix with photos of the subject; shipped are ``builtin:backpack``, ``builtin:dog``
    and ``builtin:car``."""
    instance_prompt: str
    """Prompt with the identifier: "a photo of sks backpack"."""
    class_prompt: str
    """The same without the identifier: "a photo of a backpack"."""

    def __post_init__(self) -> None:
        for name in ("instance_prompt", "class_prompt"):
            require(bool(getattr(self, name).strip()), name, getattr(self, name), "the prompt is empty")
        require(bool(self.instance_images.strip()), "instance_images", self.instance_images, "name a folder of photos")
        require(bool(self.identifier), "instance_prompt", self.instance_prompt,
                f"it has no identifier: add a rare word that class_prompt ({self.class_prompt!r}) "
                "lacks, such as 'a photo of sks backpack'")  # fmt: skip

    @property
    def identifier(self) -> str:
        """The words of the instance prompt that the class prompt lacks ("sks")."""
        known = set(self.class_prompt.lower().split())
        return " ".join(word for word in self.instance_prompt.split() if word.lower() not in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig(Subject):
    """The subject that is trained and scored, others that are trained beside it, and how all are read."""

    image_size: int = 64
    """Width and height of the training images in pixels; with `aspect_buckets`, the square root of their area."""
    aspect_buckets: bool = False
    """Whether photos keep about their aspect ratio, instead of being cropped to squares."""
    max_sequence_length: int = 256
    """Tokens of a prompt that T5 reads (SD3, FLUX), in training and synthesis alike; CLIP's number is its own."""
    more_subjects: tuple[Subject, ...] = ()
    """Subjects trained into the same model; they are not scored."""
    reference_images: str = ""
    """Photos of the scored subject that images are measured against, and that are never trained on: folder, archive
    or ``s3://`` prefix. None: the training photos. Give them where a schedule trains on photos that nobody has looked
    at, or bad photos become the measure of themselves."""

    def __post_init__(self) -> None:
        Subject.__post_init__(self)
        require(self.image_size >= 8 and self.image_size % 8 == 0, "image_size", self.image_size,
                "give a multiple of 8")  # fmt: skip
        require(1 <= self.max_sequence_length <= 512, "max_sequence_length", self.max_sequence_length,
                "give 1 to 512 tokens")  # fmt: skip
        identifiers = [subject.identifier for subject in self.subjects]
        require(len(set(identifiers)) == len(identifiers), "more_subjects", ", ".join(identifiers),
                "give each subject an identifier of its own")  # fmt: skip

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """The scored subject first."""
        return (self, *self.more_subjects)

    @property
    def class_prompts(self) -> tuple[str, ...]:
        """The subjects' class prompts, each once."""
        return tuple(dict.fromkeys(subject.class_prompt for subject in self.subjects))
