"""What the steps hand to one another: schemas, readers and writers that validate."""

from aelif.artifacts.embeddings import Embeddings, read_embeddings, write_embeddings
from aelif.artifacts.files import digest_of, digest_of_folder, new_file, new_folder, read_json, sha256_of, write_json
from aelif.artifacts.image_folders import (
    SCORED_SUBJECT,
    ImageRecord,
    image_name,
    link_file,
    link_images,
    read_image_records,
    write_image_records,
)
from aelif.artifacts.tables import (
    OF_CLASS,
    PROMPT_SETS,
    prompt_schema,
    read_prompts,
    read_table,
    score_schema,
    worst_schema,
    write_table,
)

__all__ = [
    "OF_CLASS",
    "PROMPT_SETS",
    "SCORED_SUBJECT",
    "Embeddings",
    "ImageRecord",
    "digest_of",
    "digest_of_folder",
    "image_name",
    "link_file",
    "link_images",
    "new_file",
    "new_folder",
    "prompt_schema",
    "read_embeddings",
    "read_image_records",
    "read_json",
    "read_prompts",
    "read_table",
    "score_schema",
    "sha256_of",
    "worst_schema",
    "write_embeddings",
    "write_image_records",
    "write_json",
    "write_table",
]
