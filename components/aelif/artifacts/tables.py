"""Parquet tables: what a run asks, how it scored, what hurt it most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelif.artifacts.files import new_file

if TYPE_CHECKING:
    import pyarrow as pa


def _edits() -> pa.DataType:
    """Return the type of a column of edits (`aelif.perturb.edits.Edit`)."""
    import pyarrow as pa

    return pa.list_(
        pa.struct([("kind", pa.string()), ("start", pa.int32()), ("before", pa.string()), ("after", pa.string())])
    )


def prompt_schema() -> pa.Schema:
    """Columns of `prompts.parquet`: what a run asks its models, and what could not be made of it."""
    import pyarrow as pa

    return pa.schema(
        [
            ("prompt_id", pa.int32()),  # row number
            ("clean_id", pa.int32()),  # prompt_id of the clean prompt it was made from (its own, if clean)
            ("prompt", pa.string()),
            ("clean_prompt", pa.string()),
            ("prompt_set", pa.string()),  # one of PROMPT_SETS
            ("family", pa.string()),  # "clean", "class", one of config.FAMILIES, or (stress) of config.AUGMENTATIONS
            ("severity", pa.float64()),  # nominal; of stress, the magnitude; 0 if clean
            ("draw", pa.int32()),
            ("character_error_rate", pa.float64()),  # realised: edit distance / length of the clean prompt
            ("tokens_changed", pa.int32()),  # realised: edit distance between the CLIP tokens; null: not measured
            ("embedding_cosine", pa.float64()),  # realised: to the clean prompt's pooled text embedding
            ("embedding_shift", pa.float64()),  # realised: ‖Z′ − Z‖ / ‖Z‖ of the prompt_embeds after BOS
            ("reason", pa.string()),  # why a skipped prompt could not be made; else ""
            ("edits", _edits()),  # what was done; `start` counts characters in the clean prompt
        ]
    )


PROMPT_SETS = ("clean", "perturbed", "out_of_distribution", "class", "class_perturbed", "stress", "skipped")
"""Clean prompts; prompts with errors; the subject in other contexts; the bare class prompt, and the same with errors;
clean prompts whose embeddings are augmented when images are generated; what a family could not change (`read_prompts`
leaves it out)."""
OF_CLASS = ("class", "class_perturbed")
"""Sets that ask for the class instead of the subject."""


def read_prompts(path: str | Path) -> list[dict[str, Any]]:
    """Read the prompts of `prompts.parquet` that images are made of.

    Raises:
        ValueError: if the file's columns are not those of `prompt_schema`.
    """
    return [row for row in read_table(path, prompt_schema()) if row["prompt_set"] != "skipped"]


def worst_schema() -> pa.Schema:
    """Columns of `worst.parquet`: the worst edit found for each trial and attacked prompt."""
    import pyarrow as pa

    return pa.schema(
        [
            ("variant", pa.string()),
            ("seed", pa.int64()),
            ("clean_id", pa.int32()),
            ("clean_prompt", pa.string()),
            ("prompt", pa.string()),
            ("edits", _edits()),
            ("character_error_rate", pa.float64()),
            ("found_distance", pa.float64()),  # W1 on the noise of the search: biased upwards, as any maximum
            ("distance", pa.float64()),  # W1 on fresh noise
            ("clean_distance", pa.float64()),  # W1 of the clean prompt on that fresh noise
            ("tried", pa.int32()),  # prompts tried
            ("best_so_far", pa.list_(pa.float64())),  # highest distance after each prompt tried
        ]
    )


def score_schema() -> pa.Schema:
    """Columns of `scores.parquet`: one row per trial, prompt and metric."""
    import pyarrow as pa

    return pa.schema(
        [
            ("variant", pa.string()),  # "aelif_mask:0.3"
            ("seed", pa.int64()),  # training seed
            ("prompt_id", pa.int32()),
            ("clean_id", pa.int32()),
            ("prompt_set", pa.string()),
            ("family", pa.string()),
            ("severity", pa.float64()),
            ("prompt", pa.string()),
            ("metric", pa.string()),  # see aelif.score.METRICS
            ("value", pa.float64()),
            ("num_images", pa.int32()),
        ]
    )


def write_table(path: str | Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet.

    Raises:
        ValueError: if the rows do not have the columns of the schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in rows[:1]:
        if row.keys() != set(schema.names):
            raise ValueError(f"{path}: columns {sorted(row)} are not {sorted(schema.names)}")
    with new_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def read_table(path: str | Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Read Parquet rows.

    Raises:
        ValueError: if the file's columns are not those of the schema.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    if table.schema.names != schema.names:
        raise ValueError(f"{path}: columns {table.schema.names} are not {schema.names}")
    return table.to_pylist()
