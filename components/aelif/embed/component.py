"""The steps that embed images: those of one trial, and the training photos."""

from kfp import dsl

from aelif import images as container


@dsl.component(base_image=container.GPU, install_kfp_package=False)
def embed_images(
    images: dsl.Input[list[dsl.Dataset]],
    prompts: dsl.Input[dsl.Dataset],
    score: dict,
    label: str,
    embeddings: dsl.Output[dsl.Dataset],
    whole: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Write the embeddings of one trial's images (CLIP, and DINO where set) and prompts, and its shards as one folder.

    Args:
        images: image folders, the shards of the trial.
        prompts: `prompts.parquet`; each prompt must have images.
        score: section `ScoreConfig`.
        label: the trial, for progress.
        embeddings: folder as `write_embeddings` lays it out.
        whole: image folder with the images of all shards.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.artifacts import link_images, new_folder, read_prompts, write_embeddings
    from aelif.config import ScoreConfig, from_dict
    from aelif.embed.folders import check_complete, embed_folders
    from aelif.registry.live import tracked_step

    with tracked_step("embed", label) as progress:
        config, shards = from_dict(ScoreConfig, score), [Path(shard.path) for shard in images]
        check_complete(shards, read_prompts(prompts.path))
        write_embeddings(embeddings.path, embed_folders(shards, config, progress))
        with new_folder(whole.path) as folder:
            link_images(shards, folder)


@dsl.component(base_image=container.GPU, install_kfp_package=False)
def embed_photos(
    photos: dsl.Input[dsl.Dataset], score: dict, embeddings: dsl.Output[dsl.Dataset], code_version: str
) -> None:
    """Write the embeddings of the scored subject's training photos: the reference of all scores.

    Apart from `embed_images` because kfp takes no single artifact where a list is declared.

    Args:
        photos: image folder of all subjects.
        score: section `ScoreConfig`.
        embeddings: folder as `write_embeddings` lays it out.
        code_version: part of the cache key.
    """
    from aelif.artifacts import SCORED_SUBJECT, write_embeddings
    from aelif.config import ScoreConfig, from_dict
    from aelif.embed.folders import embed_folders
    from aelif.registry.live import tracked_step

    with tracked_step("embed", "photos") as progress:
        config = from_dict(ScoreConfig, score)
        reference = embed_folders([photos.path], config, progress, subject=SCORED_SUBJECT)
        write_embeddings(embeddings.path, reference)
