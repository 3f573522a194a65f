"""Captions beside photos, and what is wrong with them."""

import json

import pytest

from aelif.prepare.captions import holds_words, read_captions


@pytest.fixture
def photos(tmp_path, scene):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("a.jpg", "b.png")):
        scene(seed).save(folder / name)
    return folder


def test_a_table_and_text_files(photos):
    assert read_captions(photos, identifier="sks") == {}
    lines = [{"file_name": "a.jpg", "text": "a sks dog\non grass"}, {"file_name": "b.png", "text": "unused sks"}]
    (photos / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (photos / "b.txt").write_text("SKS dog,\nindoors\n", encoding="utf-8-sig")
    assert read_captions(photos, identifier="sks") == {"a.jpg": "a sks dog on grass", "b.png": "SKS dog, indoors"}
    (photos / "metadata.jsonl").write_text('{"file_name": "a.jpg"}')
    assert read_captions(photos, identifier="sks") == {"b.png": "SKS dog, indoors"}


def test_line_separators_of_unicode_end_no_line(photos):
    (photos / "metadata.jsonl").write_text('{"file_name": "a.jpg", "text": "sks\u2028dog"}\n', encoding="utf-8")
    assert read_captions(photos, identifier="sks") == {"a.jpg": "sks dog"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "metadata.jsonl line 1: it is not JSON"),
        ("[1]", "line 1: it has no file_name"),
        ('{"file_name": "x.jpg", "text": "sks"}', r"line 1: x\.jpg is not in the folder; add it or drop the line"),
        ('{"file_name": "a.jpg", "text": 3}', "line 1: text = 3"),
        ('{"file_name": "a.jpg", "text": " "}', "line 1: the caption is empty; write one with 'sks'"),
        ('{"file_name": "a.jpg", "text": "a dog"}', "line 1: the caption 'a dog' lacks the identifier; add 'sks'"),
    ],
)
def test_wrong_lines_are_named(line, message, photos):
    (photos / "metadata.jsonl").write_text(line)
    with pytest.raises(ValueError, match=rf"s3://bucket/dog/.*{message}"):
        read_captions(photos, identifier="sks", source="s3://bucket/dog")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"sks \xff", r"a\.txt: it is not UTF-8 text"),
        ("a.txt", b" \n", r"a\.txt: the caption is empty; write one"),
        ("b.txt", b"a dog doing tasks", r"b\.txt: the caption 'a dog doing tasks' lacks the identifier"),
        ("c.txt", b"a sks dog", r"c\.txt: there is no photo c\.\*; add it, or remove the caption"),
        ("C.TXT", b"a sks dog", r"C\.TXT: there is no photo C\.\*"),
    ],
)
def test_wrong_text_files_are_named(name, content, message, photos):
    (photos / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{photos}/{message}"):
        read_captions(photos, identifier="sks")


def test_notes_and_hidden_files_are_no_captions(photos):
    for name in ("README.txt", "license.txt", "._a.txt", ".c.txt"):
        (photos / name).write_text("x")
    assert read_captions(photos, identifier="sks") == {}


@pytest.mark.parametrize(
    ("text", "words", "holds"),
    [
        ("a photo of SKS, a dog", "sks", True),
        ("sks's dog", "sks", True),
        ("一只sks犬", "sks", True),
        ("risks and tasks", "sks", False),
        ("sks2 dog", "sks", False),
        ("a <sks> dog", "<sks>", True),
        ("a sks backpack", "sks backpack.", True),
        ("a sks bag", "sks backpack", False),
    ],
)
def test_identifiers_are_words_of_their_own(text, words, holds):
    assert holds_words(text, words) is holds
