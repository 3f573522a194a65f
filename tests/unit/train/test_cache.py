from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.tiny import write_photos

from aelif.artifacts import ImageRecord, read_image_records, write_image_records
from aelif.config import DataConfig, TrainConfig
from aelif.models.adapter import open_model
from aelif.progress import StepProgress
from aelif.train.cache import _read_pixels, cache_class, cache_instance, cache_samples, draw_views

PROGRESS = StepProgress("train", "test")


def cache(base: Path, photos: Path, data: DataConfig, **settings):
    config = TrainConfig(**settings)
    return cache_instance(open_model(base), photos, data=data, config=config, seed=0, progress=PROGRESS)


def test_latents_belong_to_their_photo_and_view(base: Path, photos: Path, data: DataConfig):
    samples, adapter = cache(base, photos, data, crops=3), open_model(base)
    assert samples.mean.shape == samples.std.shape == (3, 3, 16, 8, 8)
    for index, record in enumerate(read_image_records(photos)):
        pixels = _read_pixels(photos, record, 64)
        for view, image in enumerate(draw_views(pixels, views=3, seed=0, index=index)):
            mean, std = adapter.encode_images(image.unsqueeze(0))
            torch.testing.assert_close(samples.mean[index, view], mean[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(samples.std[index, view], std[0], atol=1e-5, rtol=1e-4)


def test_every_photo_keeps_its_own_caption(base: Path, tmp_path: Path, data: DataConfig):
    folder = write_photos(tmp_path / "photos", count=3, text="")
    captions = ["a photo of sks backpack", "", "a sks backpack on a beach"]
    write_image_records(folder, [ImageRecord(file_name=f"{i:04d}.png", text=text) for i, text in enumerate(captions)])
    samples, adapter = cache(base, folder, data), open_model(base)
    expected = [captions[0], data.instance_prompt, captions[2]]
    assert samples.condition.prompt_embeds.shape[0] == 2, "equal prompts are encoded once"
    for row, prompt in zip(samples.prompt_rows, expected, strict=True):
        torch.testing.assert_close(samples.condition.prompt_embeds[row], adapter.encode_text([prompt]).prompt_embeds[0])


def test_views_are_seeded_shifted_and_mirrored():
    image = torch.arange(3 * 32 * 32, dtype=torch.float32).reshape(3, 32, 32)
    views = draw_views(image, views=20, seed=1, index=0)
    assert torch.equal(views[0], image)
    assert all(torch.equal(a, b) for a, b in zip(views, draw_views(image, views=20, seed=1, index=0), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(views, draw_views(image, views=20, seed=1, index=1), strict=True))
    for view in views:  # the middle of a view is a part of the image, shifted by at most 2 pixels
        middles = {view[0, 16, 16].item(), view.flip(-1)[0, 16, 16].item()}
        assert middles & set(image[0, 14:19, 14:19].flatten().tolist())


def test_class_images_have_the_class_prompt(base: Path, class_images: Path, data: DataConfig):
    samples, adapter = cache_class(open_model(base), class_images, data=data), open_model(base)
    assert samples.mean.shape[:2] == (4, 1)
    torch.testing.assert_close(samples.condition.pooled, adapter.encode_text([data.class_prompt]).pooled)


def test_wrong_size_names_the_file(base: Path, photos: Path):
    with pytest.raises(ValueError, match=r"0000\.png: 64×64 pixels, not 32×32"):
        cache_samples(open_model(base), photos, ["x"] * 3, image_size=32, views=1, seed=0)


def test_identifier_missing_or_cut_off(base: Path, tmp_path: Path, data: DataConfig):
    missing = write_photos(tmp_path / "missing", count=1, text="a photo of a backpack")
    with pytest.raises(ValueError, match="lacks the identifier 'sks'"):
        cache(base, missing, data)
    cut = write_photos(tmp_path / "cut", count=1, text="a photo of " * 40 + "sks backpack")
    with pytest.raises(ValueError, match="stands behind the text encoders' limit"):
        cache(base, cut, data)


def test_a_cut_caption_is_reported(base: Path, tmp_path: Path, data: DataConfig, capsys):
    folder = write_photos(tmp_path / "long", count=1, text="a photo of sks backpack " + "on a beach " * 40)
    cache(base, folder, data)
    assert "warning message=0000.png: the caption was cut" in capsys.readouterr().out
