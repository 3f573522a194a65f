import copy
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.example import SWEEP, VARIANTS, Example, make_example

from aelif.config import AUGMENTATIONS
from aelif.report.page import render_report, write_page
from aelif.report.pictures import Picture, read_pictures
from aelif.report.wording import distance, percent, share, significant

_VOID = {"meta", "img", "br", "hr", "wbr", "link", "input"}


class Page(HTMLParser):
    """Holds that every element is closed in order, and collects what the page says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def pictures(example: Example, folders: list[Path]) -> dict[str, list[Picture]]:
    return {trial: read_pictures(folder) for trial, folder in zip(example.trials, folders, strict=True)}


def render(example: Example, **changes: Any) -> str:
    arguments = {
        "summary": example.summary, "verdict": example.verdict, "scores": example.scores, "prompts": example.prompts,
        "images": pictures(example, example.image_folders), "settings": example.settings, "worst": example.worst,
        "photos": sorted((example.folder / "photos").glob("*.png")),
        "worst_images": pictures(example, example.worst_folders),
        "champion_images": read_pictures(example.champion_folder),
    }  # fmt: skip
    return render_report(**(arguments | changes))


@pytest.fixture(scope="module")
def html(example: Example) -> str:
    return render(example)


def test_the_page_is_well_formed_and_small(html: str) -> None:
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert len(html) < 3_000_000
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_refers_to_nothing_outside(html: str) -> None:
    for tag, attributes in Page(html).elements:
        assert tag not in {"script", "link", "iframe", "object", "base", "form"}
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html


def test_links_within_the_page_are_met(html: str) -> None:
    elements = Page(html).elements
    ids = {attributes.get("id") for _, attributes in elements}
    for _, attributes in elements:
        target = attributes.get("href") or ""
        assert not target.startswith("#") or target[1:] in ids
        assert set((attributes.get("aria-labelledby") or "").split()) <= ids


def test_what_is_seen_is_also_said(html: str) -> None:
    page = Page(html)
    assert [attributes.get("lang") for tag, attributes in page.elements if tag == "html"] == ["en"]
    assert len([tag for tag, _ in page.elements if tag == "h1"]) == 1
    for tag, attributes in page.elements:
        assert tag != "img" or "alt" in attributes
        if attributes.get("role") in ("img", "region"):
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"


def test_every_augmentation_is_explained(html: str) -> None:
    for name in AUGMENTATIONS:
        assert f"<em>{name}</em>" in html


def numbers_of(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers_of(inner, (*path, key))
    elif isinstance(value, float):
        yield path, value


def test_every_figure_of_the_summary_is_shown(example: Example, html: str) -> None:
    text = Page(html).text
    assert len(dict(numbers_of(example.summary["variants"]))) > 500
    for variant, entry in example.summary["variants"].items():
        shown = {key: value for key, value in entry.items() if key not in ("test", "cross_checks", "split", "prompts")}
        shown["families"] = {name: {key: figures[key] for key in ("distance", "improvement_plain") if key in figures}
                             for name, figures in entry["families"].items()}  # fmt: skip
        figures = dict(numbers_of(shown, (variant,)))
        for group in ("curve", "prompts"):
            for row in (row for row in entry[group] if row.get("prompt_set") != "stress"):
                figures |= numbers_of({"distance": row["distance"]}, (variant, group, str(len(figures))))
        for augmentation, points in entry["stress"].items():
            for point in points:
                figures |= numbers_of({"distance": point["distance"]}, (variant, augmentation, str(len(figures))))
        for path, value in figures.items():
            if any(name.startswith("improvement") for name in path):
                assert percent(value) in text, path
            elif "near_copies" in path:
                assert share(value) in text, path
            else:
                assert distance(value) in text, path
        for part in ("string_damage", "denoiser_damage", "text_encoder_damage"):
            assert distance(entry["split"][part]["value"]) in text
        for checks in entry["cross_checks"].values():
            assert all(significant(figure["value"]) in text for figure in checks.values())
    for floor in ("noise_floor", "seed_floor"):
        assert distance(example.summary[floor]["value"]) in text
    assert "10\u202f000 resamples" in text
    assert "4 images a prompt" in text


def test_every_part_of_the_evaluation_has_its_place(example: Example, html: str) -> None:
    text = Page(html).text
    for words in (
        "Errors of kinds that no training saw", "Clean fidelity against robustness", "Stress on the embeddings",
        "Whose damage it is", "Worst cases, sought on purpose", "New contexts", "The bare class prompt", "Failures",
        "Where aelif_mask is worse", "2 prompts that could not be made", "no word of the prompt has a synonym",
        "Cross-checks", "perhaps copies", "one sign for each seed and prompt", example.summary["interval_method"],
    ):  # fmt: skip
        assert words in text, words


def test_every_plot_has_a_table_or_says_where_its_figures_are(html: str) -> None:
    for chart in html.split('<figure class="chart">')[1:]:
        own = chart.partition("</figure>")[0]
        assert "<table" in own or "table of results has the figures" in own


def test_a_sweep_stays_readable(tmp_path: Path) -> None:
    sweep = make_example(tmp_path, variants=SWEEP, seeds=(0,))
    html = render(sweep)
    text = Page(html).text
    assert len(html) < 3_000_000
    assert "Over the grid of settings" in text
    assert "Shown are the baseline and the 4 most robust variants." in text
    assert all(name in text.replace("\u200b", "") for name in sweep.summary["variants"])


def test_verdict_reasons_and_settings_are_shown(example: Example, html: str) -> None:
    text = Page(html).text
    assert "Gate passed" in text
    for words in (*example.verdict["reasons"], "9f" * 32, "2.9.1", "train.steps", "aelif run quickstart --seeds 2"):
        assert words in text


def test_the_same_run_gives_the_same_bytes(example: Example, html: str) -> None:
    assert render(example) == html


def test_hostile_text_stays_text(example: Example) -> None:
    attack = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
    prompts = copy.deepcopy(example.prompts)
    for row in prompts:
        row["prompt"], row["clean_prompt"], row["edits"] = attack, attack, []
    prompts[4]["clean_prompt"] = attack[1:]
    prompts[4]["edits"] = [{"kind": attack, "start": 0, "before": "", "after": attack[0]}]
    verdict = {"champion": "aelif_mask", "passed": True, "reasons": [attack]}
    summary = {**example.summary, "notes": [attack]}
    settings = {attack: attack, "base_model": attack, "command": attack, "data": {"instance_prompt": attack}}
    html = render(example, prompts=prompts, verdict=verdict, summary=summary, settings=settings)
    tags = {tag for tag, _ in Page(html).elements}
    assert "script" not in tags
    assert "<img src=x" not in html
    assert Page(html).text.count("<script>alert(1)</script>") > 5


def test_undefined_figures_are_dashes_with_their_reason(example: Example) -> None:
    nothing = {"value": None, "low": None, "high": None}
    summary = copy.deepcopy(example.summary)
    summary["variants"]["aelif_mask"]["improvement_excess"] = nothing
    summary["noise_floor"] = nothing
    summary["notes"] = ["improvement_excess is undefined: the baseline takes no damage."]
    text = Page(render(example, summary=summary)).text
    assert "the baseline takes no damage" in text
    assert re.search(r"Noise floor\s*each training photo against the others\s*–", text)


def test_no_champion(example: Example) -> None:
    verdict = {"champion": None, "passed": False, "reasons": ["Clean distance 1.200 is above the limit 1.000."]}
    text = Page(render(example, verdict=verdict)).text
    assert "No model passed the gate, so none becomes champion." in text
    assert "Gate not passed" in text
    assert "Where aelif_mask is worse" in text, "what the best one loses is shown all the same"


def test_one_seed_and_the_baseline_alone(tmp_path: Path) -> None:
    alone = make_example(tmp_path, variants={"baseline": VARIANTS["baseline"]}, seeds=(0,))
    text = Page(render(alone)).text
    assert "Only the baseline was measured" in text
    assert "Seed floor" in text


def test_bare_minimum_of_a_summary(example: Example) -> None:
    bare = {"schema": 1, "variants": {"baseline": {"clean": {"value": 0.8, "low": 0.7, "high": 0.9}}}}
    html = render(example, summary=bare, verdict={"champion": "baseline"}, scores=[], images={}, photos=[], settings={},
                  worst=[], worst_images=None)  # fmt: skip
    assert "0.800" in Page(html).text


def test_what_was_not_measured_is_left_out(example: Example) -> None:
    empty = {"sets": {}, "stress": {}, "cross_checks": {}, "curve": [], "split": None, "worst_case": None, "test": None,
             "leakage": None, "families": {}}  # fmt: skip
    without, nulled = copy.deepcopy(example.summary), copy.deepcopy(example.summary)
    for entry in without["variants"].values():
        for part in empty:
            entry.pop(part)
    for entry in nulled["variants"].values():
        entry.update(empty)
    text = Page(render(example, summary=without, worst=[])).text
    assert text == Page(render(example, summary=nulled, worst=[])).text
    for words in ("By kind of prompt", "Stress", "Whose damage", "Worst case", "p value", "Cross-checks"):
        assert words not in text


def write(example: Example, path: Path, folders: list[Path], trials: list[str], worst: list[Path] | None = None) -> str:
    root = example.folder
    write_page(path, summary=root / "summary.json", verdict=root / "verdict.json", table=root / "scores.parquet",
               prompts=root / "prompts.parquet", photos=root / "photos", images=folders, trials=trials,
               worst=root / "worst.parquet", worst_images=worst or example.worst_folders,
               champion_images=example.champion_folder, settings=example.settings)  # fmt: skip
    return path.read_text()


def test_written_from_files_it_is_the_same_page(example: Example, html: str, tmp_path: Path) -> None:
    assert write(example, tmp_path / "page.html", example.image_folders, example.trials) == html


def test_every_folder_needs_its_trial(example: Example, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trials = 1: there are 6 image folders"):
        write(example, tmp_path / "page.html", example.image_folders, example.trials[:1])
    with pytest.raises(ValueError, match="there are 1 worst-case folders"):
        write(example, tmp_path / "page.html", example.image_folders, example.trials, example.worst_folders[:1])
    assert not (tmp_path / "page.html").exists()
