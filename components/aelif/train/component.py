"""The pipeline step `train`."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def train_dreambooth(
    photos: dsl.Input[dsl.Dataset],
    class_images: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Model],
    trial: str,
    data: dict,
    train: dict,
    checkpoint_root: str,
    distributed: dict,
    model: dsl.Output[dsl.Model],
    code_version: str,
) -> None:
    """Fine-tune the base model on the photos: one variant, one seed; on several nodes where `distributed` says so."""
    from pathlib import Path
    from typing import Any

    from aelif.config import ClusterConfig, DataConfig, TrainConfig, Trial, from_dict
    from aelif.models.adapter import import_family
    from aelif.registry.live import tracked_step

    import_family(Path(base.path))
    with tracked_step("train", trial) as progress:
        arguments: dict[str, Any] = {
            "base": Path(base.path), "photos": Path(photos.path), "class_images": Path(class_images.path),
            "output": Path(model.path), "trial": Trial.parse(trial), "data": from_dict(DataConfig, data),
            "config": from_dict(TrainConfig, train), "progress": progress,
            "checkpoint_dir": Path(checkpoint_root) if checkpoint_root else None,
        }  # fmt: skip
        if distributed:
            from aelif.train.nodes import train_on_nodes

            train_on_nodes(**arguments, cluster=from_dict(ClusterConfig, distributed))
        else:
            from aelif.train.launch import train_on_all_devices

            train_on_all_devices(**arguments)
