from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import write_photos, write_tiny_sdxl

from aelif.config import DataConfig


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("train") / "base")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("train") / "photos", count=3, text="a photo of sks backpack")


@pytest.fixture(scope="session")
def class_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("train") / "class", count=4, text="a photo of a backpack", seed=1)


@pytest.fixture
def data() -> DataConfig:
    return DataConfig(
        instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
    )
