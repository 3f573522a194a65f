"""The `retrain` pipeline, to be run on a schedule: the study with the champion in it, unless nothing is new.

The condition stands in a sub-pipeline of its own: kfp.local reads a condition on a pipeline input, and
silently skips both branches of one on the output of a task.
"""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from aelif.models.component import resolve_model
from aelif.prepare.component import prepare_data, read_fingerprints
from aelif.registry.component import close_run, find_champion, open_run
from aelif_pipelines.placing import RUN_CONFIG, place
from aelif_pipelines.study import run_study


@dsl.pipeline(name="when-due", description="The study, if there is anything new to learn")
def run_when_due(
    due: bool,
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
    """The study, or nothing."""
    with dsl.If(due == True, name="due"):  # noqa: E712 (kfp compares a channel)
        run_study(
            photos=photos,
            base=base,
            reference_fingerprint=reference_fingerprint,
            trials=trials,
            champion=champion,
            key=key,
            data=data,
            prompts=prompts,
            train=train,
            synthesis=synthesis,
            attack=attack,
            score=score,
            gate=gate,
            tracking=tracking,
            run_key=run_key,
            settings=settings,
            destination=destination,
            shards=shards,
            num_shards=num_shards,
            node_selector=node_selector,
            tolerations=tolerations,
            accelerator=accelerator,
            accelerators=accelerators,
            train_accelerators=train_accelerators,
            cpu=cpu,
            memory=memory,
            distributed=distributed,
            code_version=code_version,
            seed=seed,
            checkpoint_root=checkpoint_root,
        )


@dsl.pipeline(
    name="retrain",
    description="Retrain on the present photos; promote what is better than the champion",
    pipeline_config=RUN_CONFIG,
)
def retrain(
    data: dict,
    base_model: str,
    trials: list[str],
    prompts: dict,
    train: dict,
    synthesis: dict,
    attack: dict,
    score: dict,
    gate: dict,
    tracking: dict,
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
    force: bool = False,
) -> None:
    """The whole graph; `force` retrains even where nothing is new."""
    run_key = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    closing = close_run(tracking=tracking, run_key=run_key, code_version=code_version)
    closing.set_caching_options(False)
    place(closing)
    with dsl.ExitHandler(closing, name="tracked"):
        opened = open_run(  # trials are opened by their first step, if there is to be any
            tracking=tracking, run_key=run_key, settings=settings, trials=[], code_version=code_version
        )
        opened.set_caching_options(False)
        inputs = read_fingerprints(
            data=data, base_model=base_model, tracking=tracking, code_version=code_version
        ).after(opened)
        inputs.set_caching_options(False)
        photos = prepare_data(data=data, fingerprint=inputs.outputs["photos"], code_version=code_version)
        base = resolve_model(base_model=base_model, base_fingerprint=inputs.outputs["base"], code_version=code_version)
        found = find_champion(
            tracking=tracking,
            run_key=run_key,
            photos=photos.outputs["photos"],
            reference=inputs.outputs["reference"],
            base=base.outputs["model"],
            settings=settings,
            force=force,
            code_version=code_version,
        )
        found.set_caching_options(False)
        place(opened, inputs, photos, base, found)
        run_when_due(
            due=found.outputs["due"],
            photos=photos.outputs["photos"],
            base=base.outputs["model"],
            reference_fingerprint=inputs.outputs["reference"],
            trials=trials,
            champion=found.outputs["champion"],
            key=found.outputs["key"],
            data=data,
            prompts=prompts,
            train=train,
            synthesis=synthesis,
            attack=attack,
            score=score,
            gate=gate,
            tracking=tracking,
            run_key=run_key,
            settings=settings,
            destination=destination,
            shards=shards,
            num_shards=num_shards,
            node_selector=node_selector,
            tolerations=tolerations,
            accelerator=accelerator,
            accelerators=accelerators,
            train_accelerators=train_accelerators,
            cpu=cpu,
            memory=memory,
            distributed=distributed,
            code_version=code_version,
            seed=seed,
            checkpoint_root=checkpoint_root,
        )
