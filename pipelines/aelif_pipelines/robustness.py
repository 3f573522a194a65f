"""The `robustness` pipeline: which variant stands people's errors best."""

from kfp import dsl

from aelif.models.component import resolve_model
from aelif.prepare.component import prepare_data, read_fingerprints
from aelif.registry.component import close_run, open_run
from aelif_pipelines.placing import RUN_CONFIG, place
from aelif_pipelines.study import run_study


@dsl.pipeline(
    name="robustness",
    description="Compare embedding augmentations on clean and perturbed prompts",
    pipeline_config=RUN_CONFIG,
)
def robustness(
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
) -> None:
    """The whole graph; the champion is not measured, so it is not replaced either."""
    run_key = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    closing = close_run(tracking=tracking, run_key=run_key, code_version=code_version)
    closing.set_caching_options(False)
    place(closing)
    with dsl.ExitHandler(closing, name="tracked"):
        opened = open_run(
            tracking=tracking, run_key=run_key, settings=settings, trials=trials, code_version=code_version
        )
        opened.set_caching_options(False)
        inputs = read_fingerprints(
            data=data, base_model=base_model, tracking=tracking, code_version=code_version
        ).after(opened)
        inputs.set_caching_options(False)
        photos = prepare_data(data=data, fingerprint=inputs.outputs["photos"], code_version=code_version)
        base = resolve_model(base_model=base_model, base_fingerprint=inputs.outputs["base"], code_version=code_version)
        place(opened, inputs, photos, base)
        run_study(
            photos=photos.outputs["photos"],
            base=base.outputs["model"],
            reference_fingerprint=inputs.outputs["reference"],
            trials=trials,
            champion="",
            key="",
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
