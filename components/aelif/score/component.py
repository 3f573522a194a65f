"""The steps that measure each trial and compare the variants."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def score_robustness(
    reference: dsl.Input[dsl.Dataset],
    generated: dsl.Input[dsl.Dataset],
    prompts: dsl.Input[dsl.Dataset],
    trial: str,
    scores: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Write the scores of one trial: distance to the training images, alignment, diversity, per prompt.

    Args:
        reference: embeddings of the training images.
        generated: embeddings of the trial's images.
        prompts: `prompts.parquet`.
        trial: ``aelif_mask:0.3/seed=1``.
        scores: Parquet file with the columns of `score_schema`.
        code_version: part of the cache key.
    """
    from aelif.artifacts import read_embeddings, read_prompts, score_schema, write_table
    from aelif.config import Trial
    from aelif.registry.live import tracked_step
    from aelif.score.trial import score_trial

    with tracked_step("score", trial):
        rows = score_trial(
            read_embeddings(reference.path),
            read_embeddings(generated.path),
            read_prompts(prompts.path),
            Trial.parse(trial),
        )
        write_table(scores.path, rows, score_schema())


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def compare_variants(
    scores: dsl.Input[list[dsl.Dataset]],
    embeddings: dsl.Input[list[dsl.Dataset]],
    worst: dsl.Input[list[dsl.Dataset]],
    champion_scores: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    prompts: dsl.Input[dsl.Dataset],
    score: dict,
    table: dsl.Output[dsl.Dataset],
    worst_table: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Write the scores and the worst cases of all trials as one table each, and the summary with intervals and floors.

    Args:
        scores: what `score_robustness` wrote, one per trial.
        embeddings: embeddings of the trials' images, in the same order.
        worst: what `search_worst_case` wrote, one per trial.
        champion_scores: what `evaluate_champion` wrote; empty without a champion.
        reference: embeddings of the training images.
        prompts: `prompts.parquet`.
        score: section `ScoreConfig`.
        table: Parquet file, `scores.parquet`, with the champion's rows at the end.
        worst_table: Parquet file, `worst.parquet`.
        summary: JSON file, the numbers of `summary.json`.
        code_version: part of the cache key.
    """
    from aelif.artifacts import (
        prompt_schema,
        read_embeddings,
        read_table,
        score_schema,
        worst_schema,
        write_json,
        write_table,
    )
    from aelif.config import ScoreConfig, from_dict
    from aelif.registry.live import tracked_step
    from aelif.score.summary import compare_trials

    with tracked_step("compare"):
        tables = [read_table(part.path, score_schema()) for part in scores]
        attacks = [read_table(part.path, worst_schema()) for part in worst]
        generated, photos = [read_embeddings(part.path) for part in embeddings], read_embeddings(reference.path)
        asked, config = read_table(prompts.path, prompt_schema()), from_dict(ScoreConfig, score)
        held = read_table(champion_scores.path, score_schema())
        numbers = compare_trials(tables, generated, attacks, photos, asked, config=config, champion=held)
        write_table(table.path, [row for rows in [*tables, held] for row in rows], score_schema())
        write_table(worst_table.path, [row for rows in attacks for row in rows], worst_schema())
        write_json(summary.path, numbers)
