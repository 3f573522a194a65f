"""The `robustness` pipeline: which variant stands people's errors best."""

from kfp import dsl, kubernetes

from aelif.models.component import resolve_model
from aelif.prepare.component import prepare_data, read_fingerprints
from aelif.registry.component import close_run, open_run
from aelif_pipelines.study import run_study


@dsl.pipeline(name="robustness", description="Compare embedding augmentations on clean and perturbed prompts")
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
    code_version: str,
    seed: int = 0,
    checkpoint_root: str = "",
) -> None:
    """The whole graph; the champion is not measured, so it is not replaced either."""
    run_key = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    closing = close_run(tracking=tracking, run_key=run_key, code_version=code_version).set_caching_options(False)
    kubernetes.use_secret_as_env(
        closing, secret_name="aelif-webhook", secret_key_to_env={"url": "AELIF_WEBHOOK_URL"}, optional=True
    )
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
            code_version=code_version,
            seed=seed,
            checkpoint_root=checkpoint_root,
        )
