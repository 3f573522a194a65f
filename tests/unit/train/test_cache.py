from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.tiny import write_photos
from tests.unit.train.conftest import settings

from aelif.artifacts import ImageRecord, read_image_records, write_image_records
from aelif.config import DataConfig
from aelif.models.adapter import open_model
from aelif.progress import StepProgress
from aelif.train.cache import _read_pixels, cache_class, cache_instance, cache_samples, draw_views

PROGRESS = StepProgress("train", "test")


def cache(base: Path, photos: Path, data: DataConfig, **changes):
    return cache_instance(open_model(base), photos, data=data, config=settings(**changes), seed=0, progress=PROGRESS)


def write_sizes(folder: Path, sizes: list[tuple[int, int]], text: str = "a photo of sks backpack") -> Path:
    """Write one picture of each (width, height)."""
    records = []
    for index, size in enumerate(sizes):
        write_photos(folder / "scratch", count=1, text="", size=max(size), seed=index)
        with Image.open(folder / "scratch" / "0000.png") as image:
            image.crop((0, 0, *size)).save(folder / f"{index}.png")
        for path in (folder / "scratch").iterdir():
            path.unlink()
        (folder / "scratch").rmdir()
        records.append(ImageRecord(file_name=f"{index}.png", text=text))
    write_image_records(folder, records)
    return folder


def test_latents_belong_to_their_photo_and_view(base: Path, photos: Path, data: DataConfig):
    samples, adapter = cache(base, photos, data, crops=3), open_model(base)
    assert [moments.shape for moments in samples.moments] == [(2, 3, 16, 8, 8)] * 3
    for index, record in enumerate(read_image_records(photos)):
        pixels = _read_pixels(photos / record.file_name, image_size=64, aspect_buckets=False, multiple=8)
        for view, image in enumerate(draw_views(pixels, views=3, flip=True, seed=0, index=index)):
            mean, std = adapter.encode_images(image.unsqueeze(0))
            torch.testing.assert_close(samples.moments[index][0, view], mean[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(samples.moments[index][1, view], std[0], atol=1e-5, rtol=1e-4)


def test_photos_of_different_sizes_keep_their_order(base: Path, data: DataConfig, tmp_path: Path):
    sizes = [(64, 64), (80, 48), (64, 64), (48, 80)]
    folder, adapter = write_sizes(tmp_path / "photos", sizes), open_model(base)
    bucketed = DataConfig(instance_images="x", instance_prompt=data.instance_prompt, class_prompt=data.class_prompt,
                          aspect_buckets=True)  # fmt: skip
    samples = cache(base, folder, bucketed, crops=2)
    for index, (width, height) in enumerate(sizes):
        assert samples.shape(index) == (16, height // 8, width // 8)
        pixels = _read_pixels(folder / f"{index}.png", image_size=64, aspect_buckets=True, multiple=8)
        mean, _ = adapter.encode_images(pixels.unsqueeze(0))
        torch.testing.assert_close(samples.moments[index][0, 0], mean[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"1\.png: 80×48 pixels, not 64×64 \(image_size\)"):
        cache(base, folder, data)
    odd = write_sizes(tmp_path / "odd", [(64, 64), (60, 64)])
    with pytest.raises(ValueError, match=r"1\.png: 60×64 pixels; the base model needs multiples of 8"):
        cache(base, odd, bucketed)


def test_every_photo_keeps_its_own_caption(base: Path, tmp_path: Path, two_subjects: DataConfig):
    folder = write_photos(tmp_path / "photos", count=4, text="")
    captions = [("a photo of sks backpack", 0), ("", 0), ("a sks backpack on a beach", 0), ("", 1)]
    write_image_records(folder, [ImageRecord(file_name=f"{i:04d}.png", text=text, subject=subject)
                                 for i, (text, subject) in enumerate(captions)])  # fmt: skip
    samples = cache(base, folder, two_subjects)
    assert samples.prompts == (
        "a photo of sks backpack", "a photo of sks backpack", "a sks backpack on a beach", "a photo of zwx cat",
    )  # fmt: skip


def test_views_are_seeded_shifted_and_mirrored():
    image = torch.arange(3 * 32 * 32, dtype=torch.float32).reshape(3, 32, 32)

    def draw(**changes):
        return draw_views(image, **{"views": 20, "flip": True, "seed": 1, "index": 0, **changes})

    views, rows = draw(), image[0, 16].tolist()
    assert torch.equal(views[0], image)
    assert all(torch.equal(a, b) for a, b in zip(views, draw(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(views, draw(index=1), strict=True))
    for view in views:  # the middle of a view is a part of the image, shifted by at most 2 pixels
        middles = {view[0, 16, 16].item(), view.flip(-1)[0, 16, 16].item()}
        assert middles & set(image[0, 14:19, 14:19].flatten().tolist())
    rising = [bool((view[0, 16].diff() > 0).float().mean() > 0.5) for view in views]
    assert 0 < sum(rising) < 20
    assert all((view[0, 16].diff() > 0).float().mean() > 0.5 for view in draw(flip=False))
    assert rows == sorted(rows)


def test_class_images_keep_the_prompt_that_they_were_made_from(base: Path, tmp_path: Path, two_subjects: DataConfig):
    folder = write_photos(tmp_path / "class", count=2, text="")
    texts = ["a photo of a cat", "a photo of a backpack"]
    write_image_records(folder, [ImageRecord(file_name=f"{i:04d}.png", text=text) for i, text in enumerate(texts)])
    samples = cache_class(open_model(base), folder, data=two_subjects, progress=PROGRESS)
    assert samples.prompts == tuple(texts)
    write_image_records(folder, [ImageRecord(file_name="0000.png", text="a photo of a dog")])
    with pytest.raises(ValueError, match=r"0000\.png: it was made from 'a photo of a dog', not from class_prompt"):
        cache_class(open_model(base), folder, data=two_subjects, progress=PROGRESS)


def test_a_folder_without_images(base: Path, data: DataConfig, tmp_path: Path):
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="no photos; give at least one"):
        cache(base, tmp_path, data)
    with pytest.raises(ValueError, match="no class images"):
        cache_class(open_model(base), tmp_path, data=data, progress=PROGRESS)


def test_wrong_size_names_the_file(base: Path, photos: Path):
    with pytest.raises(ValueError, match=r"0000\.png: 64×64 pixels, not 32×32"):
        cache_samples(open_model(base), photos, ["x"] * 3, image_size=32)


def test_identifier_missing_or_cut_off(base: Path, tmp_path: Path, data: DataConfig):
    missing = write_photos(tmp_path / "missing", count=1, text="a photo of a backpack")
    with pytest.raises(ValueError, match=r"0000\.png: its caption .* lacks the identifier 'sks'"):
        cache(base, missing, data)
    cut = write_photos(tmp_path / "cut", count=1, text="a photo of " * 40 + "sks backpack")
    with pytest.raises(ValueError, match="stands behind the text encoders' limit"):
        cache(base, cut, data)


def test_a_cut_caption_is_reported(base: Path, tmp_path: Path, data: DataConfig, capsys):
    folder = write_photos(tmp_path / "long", count=1, text="a photo of sks backpack " + "on a beach " * 40)
    cache(base, folder, data)
    assert "warning message=0000.png: the caption was cut" in capsys.readouterr().out
