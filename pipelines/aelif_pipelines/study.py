"""One study: train every variant with every seed, measure what errors do to each and to the champion, judge, register.

The body of both pipelines, `robustness` and `retrain`. Its shape follows what a laptop (kfp.local) and
a cluster execute alike: loop bodies take pipeline inputs, the loop item and artifacts only, and the
inner loop over shards lives in a sub-pipeline. A step that collects artifacts takes one that they were made of as
well: the launcher 2.17 opens folders of earlier runs for the first item of a list alone, and would not find a cached
item behind one that is new.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from aelif.attack.component import search_worst_case
from aelif.champion.component import evaluate_champion
from aelif.deliver.component import deliver_results
from aelif.embed.component import embed_images, embed_photos
from aelif.gate.component import judge_variants
from aelif.perturb.component import perturb_prompts
from aelif.prepare.component import prepare_reference
from aelif.registry.component import register_model
from aelif.report.component import write_report
from aelif.score.component import compare_variants, score_robustness
from aelif.synthesize.component import synthesize_class_images, synthesize_images
from aelif.train.component import train_dreambooth
from aelif_pipelines.placing import Pool, place


class TrialOutputs(NamedTuple):
    """What one trial hands to the comparison."""

    model: Model
    images: Dataset
    embeddings: Dataset
    scores: Dataset
    worst: Dataset
    worst_images: Dataset


@dsl.pipeline(name="trial", description="Train one variant with one seed, generate, embed and score")
def run_trial(
    photos: Input[Dataset],
    class_images: Input[Dataset],
    reference: Input[Dataset],
    base: Input[Model],
    table: Input[Dataset],
    trial: str,
    data: dict,
    prompts: dict,
    train: dict,
    synthesis: dict,
    attack: dict,
    score: dict,
    shards: list[int],
    num_shards: int,
    checkpoint_root: str,
    node_selector: dict,
    tolerations: list,
    accelerator: str,
    accelerators: str,
    train_accelerators: str,
    cpu: str,
    memory: str,
    distributed: dict,
    code_version: str,
) -> TrialOutputs:
    """One branch of the fan-out."""
    trained = train_dreambooth(
        photos=photos,
        class_images=class_images,
        base=base,
        trial=trial,
        data=data,
        train=train,
        checkpoint_root=checkpoint_root,
        distributed=distributed,
        code_version=code_version,
    )
    with dsl.ParallelFor(shards) as shard:
        synthesized = synthesize_images(
            base=base,
            model=trained.outputs["model"],
            prompts=table,
            trial=trial,
            settings=prompts,
            synthesis=synthesis,
            shard=shard,
            num_shards=num_shards,
            code_version=code_version,
        )
    embedded = embed_images(
        images=dsl.Collected(synthesized.outputs["images"]),
        prompts=table,
        score=score,
        label=trial,
        code_version=code_version,
    )
    scored = score_robustness(
        reference=reference,
        generated=embedded.outputs["embeddings"],
        prompts=table,
        trial=trial,
        code_version=code_version,
    )
    searched = search_worst_case(
        base=base,
        model=trained.outputs["model"],
        prompts=table,
        reference=reference,
        trial=trial,
        data=data,
        settings=prompts,
        synthesis=synthesis,
        attack=attack,
        score=score,
        code_version=code_version,
    )
    pool = Pool(node_selector, tolerations, accelerator, accelerators, cpu, memory)
    place(trained, pool=pool._replace(accelerators=train_accelerators))
    place(synthesized, embedded, searched, pool=pool)
    place(scored)
    return TrialOutputs(
        trained.outputs["model"],
        embedded.outputs["whole"],
        embedded.outputs["embeddings"],
        scored.outputs["scores"],
        searched.outputs["worst"],
        searched.outputs["images"],
    )


@dsl.pipeline(
    name="study", description="Compare embedding augmentations, and the champion, on clean and perturbed prompts"
)
def run_study(
    photos: Input[Dataset],
    base: Input[Model],
    reference_fingerprint: str,
    trials: list[str],
    champion: str,
    key: str,
    data: dict,
    prompts: dict,
    train: dict,
    synthesis: dict,
    attack: dict,
    score: dict,
    gate: dict,
    tracking: dict,
    run_key: str,
    settings: dict,
    destination: str,
    shards: list[int],
    num_shards: int,
    node_selector: dict,
    tolerations: list,
    accelerator: str,
    accelerators: str,
    train_accelerators: str,
    cpu: str,
    memory: str,
    distributed: dict,
    code_version: str,
    seed: int = 0,
    checkpoint_root: str = "",
) -> None:
    """Everything from prompts to the registry; `champion` is a version to measure as well, or empty."""
    table = perturb_prompts(
        base=base,
        data=data,
        prompts=prompts,
        synthesis=synthesis,
        seed=seed,
        code_version=code_version,
    )
    class_images = synthesize_class_images(
        base=base,
        data=data,
        train=train,
        synthesis=synthesis,
        seed=seed,
        checkpoint_root=checkpoint_root,
        code_version=code_version,
    )
    measured = prepare_reference(data=data, fingerprint=reference_fingerprint, photos=photos, code_version=code_version)
    reference = embed_photos(photos=measured.outputs["reference"], score=score, code_version=code_version)
    held = evaluate_champion(
        champion=champion,
        tracking=tracking,
        gate=gate,
        prompts=table.outputs["table"],
        reference=reference.outputs["embeddings"],
        settings=prompts,
        synthesis=synthesis,
        score=score,
        code_version=code_version,
    )
    with dsl.ParallelFor(trials, name="trials", parallelism=0) as trial:
        outcome = run_trial(
            photos=photos,
            class_images=class_images.outputs["images"],
            reference=reference.outputs["embeddings"],
            base=base,
            table=table.outputs["table"],
            trial=trial,
            data=data,
            prompts=prompts,
            train=train,
            synthesis=synthesis,
            attack=attack,
            score=score,
            shards=shards,
            num_shards=num_shards,
            checkpoint_root=checkpoint_root,
            node_selector=node_selector,
            tolerations=tolerations,
            accelerator=accelerator,
            accelerators=accelerators,
            train_accelerators=train_accelerators,
            cpu=cpu,
            memory=memory,
            distributed=distributed,
            code_version=code_version,
        )
    comparison = compare_variants(
        scores=dsl.Collected(outcome.outputs["scores"]),
        embeddings=dsl.Collected(outcome.outputs["embeddings"]),
        worst=dsl.Collected(outcome.outputs["worst"]),
        champion_scores=held.outputs["scores"],
        reference=reference.outputs["embeddings"],
        prompts=table.outputs["table"],
        score=score,
        code_version=code_version,
    )
    verdict = judge_variants(summary=comparison.outputs["summary"], gate=gate, code_version=code_version)
    page = write_report(
        summary=comparison.outputs["summary"],
        verdict=verdict.outputs["verdict"],
        table=comparison.outputs["table"],
        prompts=table.outputs["table"],
        photos=measured.outputs["reference"],
        images=dsl.Collected(outcome.outputs["images"]),
        champion_images=held.outputs["images"],
        worst=comparison.outputs["worst_table"],
        worst_images=dsl.Collected(outcome.outputs["worst_images"]),
        trials=trials,
        settings=settings,
        code_version=code_version,
    )
    delivered = deliver_results(
        destination=destination,
        summary=comparison.outputs["summary"],
        verdict=verdict.outputs["verdict"],
        table=comparison.outputs["table"],
        page=page.outputs["page"],
        prompts=table.outputs["table"],
        worst=comparison.outputs["worst_table"],
        photos=photos,
        base=base,
        images=dsl.Collected(outcome.outputs["images"]),
        trials=trials,
        code_version=code_version,
    )
    registered = register_model(
        tracking=tracking,
        run_key=run_key,
        key=key,
        summary=comparison.outputs["summary"],
        verdict=verdict.outputs["verdict"],
        table=comparison.outputs["table"],
        prompts=table.outputs["table"],
        page=page.outputs["page"],
        photos=photos,
        reference=measured.outputs["reference"],
        base=base,
        models=dsl.Collected(outcome.outputs["model"]),
        images=dsl.Collected(outcome.outputs["images"]),
        trials=trials,
        settings=settings,
        code_version=code_version,
    )
    registered.after(delivered)  # nothing may be left to do once a run has a verdict: see `close_by_status`
    delivered.set_caching_options(False)
    registered.set_caching_options(False)
    place(table, measured, comparison, verdict, page, delivered, registered)
    place(
        class_images,
        reference,
        held,
        pool=Pool(node_selector, tolerations, accelerator, accelerators, cpu, memory),
    )
