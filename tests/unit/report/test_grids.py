import base64
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.unit.report.example import Example
from tests.unit.report.example_prompts import make_prompts

from aelif.report.edits import Piece, mark_edits
from aelif.report.grids import MAX_CONTEXTS, MAX_IMAGES, build_grids, select_prompts
from aelif.report.pictures import MAX_PIXELS, data_uri, read_pictures
from aelif.report.tables import prompt_distances


def prompt_of(clean: str, prompt: str, *edits: tuple[int, str, str]) -> dict[str, Any]:
    rows = [{"kind": "x", "start": start, "before": before, "after": after} for start, before, after in edits]
    return {"clean_prompt": clean, "prompt": prompt, "edits": rows}


def test_edits_are_marked_where_they_were_made() -> None:
    pieces = mark_edits(prompt_of("a photo of sks dog", "a poto of skss dog", (3, "h", ""), (14, "", "s")))
    assert pieces == [
        Piece(before="a p", after="a p"), Piece(before="h", after=""), Piece(before="oto of sks", after="oto of sks"),
        Piece(before="", after="s"), Piece(before=" dog", after=" dog"),
    ]  # fmt: skip


@given(st.text(max_size=30), st.data())
def test_marked_pieces_lead_from_the_clean_prompt_to_the_prompt(clean: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(clean)), max_size=6)))
    spans = [(cuts[i], cuts[i + 1]) for i in range(0, len(cuts) - 1, 2)]
    edits = [(start, clean[start:end], data.draw(st.text(max_size=4))) for start, end in spans]
    prompt = clean
    for start, before, after in reversed(edits):
        prompt = prompt[:start] + after + prompt[start + len(before) :]
    pieces = mark_edits(prompt_of(clean, prompt, *edits))
    assert "".join(piece.after for piece in pieces) == prompt
    assert "".join(piece.before for piece in pieces) in (clean, prompt)


@pytest.mark.parametrize("edit", [(3, "z", ""), (3, "h", "q"), (99, "h", "")])
def test_edits_that_do_not_lead_to_the_prompt_are_not_marked(edit: tuple[int, str, str]) -> None:
    assert mark_edits(prompt_of("a photo", "a poto", edit)) == [Piece(before="a poto", after="a poto")]


def test_every_example_prompt_is_marked() -> None:
    assert all(len(mark_edits(row)) > 1 for row in make_prompts() if row["prompt_set"] == "perturbed")


def test_images_are_inlined_small(tmp_path: Path) -> None:
    Image.new("RGBA", (900, 450), (200, 30, 30, 255)).save(tmp_path / "big.png")
    uri = data_uri(tmp_path / "big.png")
    assert uri == data_uri(tmp_path / "big.png")
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.size == (MAX_PIXELS, MAX_PIXELS // 2)


def test_the_selection_shows_clean_prompts_the_worst_errors_contexts_and_losses(example: Example) -> None:
    distances, shown = prompt_distances(example.scores, example.summary), list(example.summary["variants"])
    clean, worst, contexts, bare, lost = select_prompts(example.prompts, distances, "aelif_mask", shown)
    base = distances["baseline"]
    assert [row["prompt_id"] for row in clean.prompts] == [0, 1, 2]
    families = [row["family"] for row in worst.prompts]
    assert len(set(families)) == len(families)
    for row in worst.prompts:
        rivals = [r["prompt_id"] for r in example.prompts if r["family"] == row["family"]]
        assert base[row["prompt_id"]] == max(base[rival] for rival in rivals)
    hurt = [base[row["prompt_id"]] for row in worst.prompts]
    assert hurt == sorted(hurt, reverse=True)
    assert {row["prompt_set"] for row in contexts.prompts} == {"out_of_distribution"}
    assert 1 < len(contexts.prompts) <= MAX_CONTEXTS
    assert contexts.variants == lost.variants == ("baseline", "aelif_mask")
    assert [row["prompt"] for row in bare.prompts] == ["a photo of a backpack"]
    assert all(distances["aelif_mask"][row["prompt_id"]] > base[row["prompt_id"]] for row in lost.prompts)
    assert "lost" not in [group.kind for group in select_prompts(example.prompts, distances, None, shown)]


def grids_of(example: Example, trials: list[str]) -> list[Any]:
    folders = dict(zip(example.trials, example.image_folders, strict=True))
    images = {trial: read_pictures(folders[trial]) for trial in trials}
    return build_grids(prompts=example.prompts, scores=example.scores, summary=example.summary, images=images,
                       best="aelif_mask", shown=list(example.summary["variants"]))  # fmt: skip


def test_the_same_seed_stands_side_by_side_in_the_order_of_the_summary(example: Example) -> None:
    grids = grids_of(example, list(reversed(example.trials[:3])))
    strips = [strip for grid in grids for row in grid.rows for strip in row.strips]
    assert {tuple(strip.variant for strip in row.strips) for grid in grids[:2] for row in grid.rows} == {
        ("baseline", "aelif_mask", "aelif_noise_conv")
    }
    assert len({len(strip.uris) for strip in strips}) == 1
    assert 1 <= sum(len(strip.uris) for strip in strips) <= MAX_IMAGES


def test_the_bare_class_prompt_tells_the_leakage(example: Example) -> None:
    (grid,) = [grid for grid in grids_of(example, example.trials[:3]) if grid.kind == "class"]
    variants = example.summary["variants"]
    for strip in grid.rows[0].strips:
        assert (strip.measure, strip.figure) == ("leakage", f"{variants[strip.variant]['leakage']['value']:.3f}")


def test_a_trial_without_images_has_no_column(example: Example) -> None:
    rows = [row for grid in grids_of(example, example.trials[:1]) for row in grid.rows]
    assert {tuple(strip.variant for strip in row.strips) for row in rows} == {("baseline",)}
