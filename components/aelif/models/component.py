"""Step `resolve_model`: the name of a base model → a local diffusers folder."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def resolve_model(base_model: str, base_fingerprint: str, model: dsl.Output[dsl.Model], code_version: str) -> None:
    """Bring the base model here, safetensors only, and check that it is whole.

    Args:
        base_model: ``builtin:…``, ``org/name@commit``, ``s3://…``, a local folder, or ``models:/name@alias``.
        base_fingerprint: digest of a model that may change under its name (folder, ``s3://``), else "";
            part of the cache key.
        model: diffusers folder with `source.json`.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.models.resolve import resolve_model as resolve
    from aelif.registry.live import tracked_step

    with tracked_step("resolve_model"):
        source = resolve(base_model, Path(model.path))
    model.metadata.update(uri=source.uri, family=source.family, digest=source.digest)
