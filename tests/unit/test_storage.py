"""Local paths, archives, and a real S3 protocol: moto's server on a loopback port."""

import io
import tarfile
import zipfile
from pathlib import Path

import boto3
import pytest
from tests.servers import object_store

from aelif.archives import unpack
from aelif.storage import EXAMPLES, fetch, fingerprint, local_copy


@pytest.fixture(scope="module")
def endpoint():
    with object_store() as uri:
        yield uri


@pytest.fixture
def s3(endpoint, monkeypatch, tmp_path):
    """A client of a fresh bucket `photos`; the environment is what a user would set."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="photos")
    yield client
    for item in client.list_objects_v2(Bucket="photos").get("Contents", []):
        client.delete_object(Bucket="photos", Key=item["Key"])
    client.delete_bucket(Bucket="photos")


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_local_folder_is_returned_as_it_is(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    assert fetch(str(tmp_path), tmp_path / "copy") == tmp_path
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("uri", ["/no/such/folder", "gs://bucket/photos", "https://example.org/a.zip"])
def test_a_missing_folder_and_an_unknown_scheme_are_named(uri, tmp_path):
    with pytest.raises(ValueError, match=uri):
        fetch(uri, tmp_path / "copy")
    with pytest.raises(ValueError, match=uri):
        fingerprint(uri)


def test_shipped_photos_are_found_by_name_and_others_named(tmp_path):
    for name in ("backpack", "car", "dog"):
        assert len(list(fetch(f"builtin:{name}", tmp_path / "none").glob("*.jpg"))) >= 4
        assert fingerprint(f"builtin:{name}") == fingerprint(str(EXAMPLES / name))
    with pytest.raises(
        ValueError, match=r"photos = 'builtin:bagpack': shipped are builtin:backpack, builtin:car, builtin:dog"
    ):
        fetch("builtin:bagpack", tmp_path / "none")


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tar.gz"), (make_tar, "a.TGZ")])
def test_archives_are_unpacked_and_a_single_folder_in_them_is_entered(make, name, tmp_path):
    flat = make(tmp_path / name, {"a.jpg": b"a" * 1000, "sub/b.jpg": b"b"})
    folder = fetch(str(flat), tmp_path / "flat")
    assert folder == tmp_path / "flat"
    assert (folder / "a.jpg").read_bytes() == b"a" * 1000
    assert (folder / "sub" / "b.jpg").read_bytes() == b"b"
    nested = make(tmp_path / f"nested{name}", {"dog/a.jpg": b"a", "__MACOSX/dog/._a.jpg": b"x", ".DS_Store": b"x"})
    assert fetch(str(nested), tmp_path / "nested") == tmp_path / "nested" / "dog"


@pytest.mark.parametrize("name", ["../evil.jpg", "a/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_paths_that_lead_out_of_the_archive_are_refused(make, name, tmp_path):
    archive = make(tmp_path / ("a.zip" if make is make_zip else "a.tar.gz"), {"ok.jpg": b"ok", name: b"evil"})
    with pytest.raises(ValueError, match="leads out"):
        unpack(archive, tmp_path / "in" / "out")
    assert not list((tmp_path / "in").iterdir())
    assert not (tmp_path / "evil.jpg").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"a\.jpg is a link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_links_in_a_zip_are_refused(tmp_path):
    link = zipfile.ZipInfo("a.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_archive_that_unpacks_to_too_much_leaves_nothing(make, tmp_path):
    archive = make(tmp_path / ("a.zip" if make is make_zip else "a.tar.gz"), {"a": b"\0" * 600, "b": b"\0" * 600})
    with pytest.raises(ValueError, match="limit"):
        unpack(archive, tmp_path / "out", max_bytes=1000)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_broken_and_empty_archives_are_named(name, share, tmp_path):
    make = make_zip if name == "a.zip" else make_tar
    path = make(tmp_path / name, {"a.bin": bytes(range(256)) * 40})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=name):
        unpack(path, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_an_archive_without_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        unpack(make_zip(tmp_path / "a.zip", {}), tmp_path / "out")


def test_a_prefix_is_downloaded_whole_and_nothing_beside_it(s3, tmp_path):
    for key in ("dog/a.jpg", "dog/sub/b.jpg", "dog/", "dog2/c.jpg", "other.jpg"):
        s3.put_object(Bucket="photos", Key=key, Body=key.encode())
    for uri in ("s3://photos/dog", "s3://photos/dog/"):
        folder = fetch(uri, tmp_path / "out")
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert files == {"a.jpg": b"dog/a.jpg", "sub/b.jpg": b"dog/sub/b.jpg"}
    assert sorted(path.name for path in fetch("s3://photos", tmp_path / "all").iterdir()) == [
        "dog",
        "dog2",
        "other.jpg",
    ]


def test_an_archive_in_a_bucket_is_unpacked(s3, tmp_path):
    archive = make_zip(tmp_path / "dog.zip", {"dog/a.jpg": b"a"})
    s3.put_object(Bucket="photos", Key="sets/dog.zip", Body=archive.read_bytes())
    assert (fetch("s3://photos/sets/dog.zip", tmp_path / "out") / "a.jpg").read_bytes() == b"a"


def test_what_is_wrong_with_a_bucket_is_said(s3, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="s3://photos/none: there is no object"):
        fetch("s3://photos/none", tmp_path / "out")
    with pytest.raises(ValueError, match="no such bucket"):
        fetch("s3://absent/dog", tmp_path / "out")
    with pytest.raises(ValueError, match="bucket is missing"):
        fetch("s3:///dog", tmp_path / "out")
    s3.put_object(Bucket="photos", Key="dog/../../evil.jpg", Body=b"x")
    with pytest.raises(ValueError, match="leads out"):
        fetch("s3://photos/dog", tmp_path / "out")
    with pytest.raises(ValueError, match="limit"):
        fetch("s3://photos/dog", tmp_path / "out", max_bytes=0)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY"):
        fetch("s3://photos/dog", tmp_path / "out")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ValueError, match="no credentials"):
        fingerprint("s3://photos/dog")
    assert not list(tmp_path.iterdir())


def test_an_endpoint_that_does_not_answer_is_no_usage_error(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # botocore's pauses between attempts
    with pytest.raises(ConnectionError, match="AWS_ENDPOINT_URL"):
        fetch("s3://photos/dog", tmp_path / "out")


def test_a_fingerprint_changes_with_names_and_contents_only(tmp_path, s3):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    first = fingerprint(str(folder))
    (folder / ".DS_Store").write_bytes(b"junk")
    assert fingerprint(str(folder)) == first
    (folder / "a.jpg").write_bytes(b"A")
    changed = fingerprint(str(folder))
    (folder / "a.jpg").rename(folder / "b.jpg")
    renamed = fingerprint(str(folder))
    assert len({first, changed, renamed}) == 3
    assert fingerprint(str(folder / "b.jpg")) == renamed
    s3.put_object(Bucket="photos", Key="dog/a.jpg", Body=b"a")
    before = fingerprint("s3://photos/dog")
    assert fingerprint("s3://photos/dog/") == before
    s3.put_object(Bucket="photos", Key="dog/a.jpg", Body=b"A")
    assert fingerprint("s3://photos/dog") != before


def test_results_go_to_a_prefix_as_they_go_to_a_folder(s3, tmp_path):
    for destination in (str(tmp_path / "out"), "s3://photos/runs/one"):
        with local_copy(destination) as folder:
            (folder / "images").mkdir(parents=True)
            (folder / "summary.json").write_text("{}")
            (folder / "images" / "a.png").write_bytes(b"a")
    assert (tmp_path / "out" / "images" / "a.png").read_bytes() == b"a"
    found = {item["Key"] for item in s3.list_objects_v2(Bucket="photos")["Contents"]}
    assert found == {"runs/one/summary.json", "runs/one/images/a.png"}


def test_results_for_nowhere_are_refused_by_name(s3, tmp_path):
    with pytest.raises(ValueError, match=r"gs://bucket.*give a folder or s3://"), local_copy("gs://bucket"):
        pass
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "a").write_text("a")
    with pytest.raises(ValueError, match=r"s3://nowhere.*no such bucket"), local_copy("s3://nowhere/x") as copy:
        folder.rename(copy)
