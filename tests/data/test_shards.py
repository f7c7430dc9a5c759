"""WebDataset shards: listed from their headers, read without unpacking."""

import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from brevitas_defakeq.data.layout import LayoutKind, recognise
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import data_hash, read_source
from brevitas_defakeq.imaging import stored_files
from brevitas_defakeq.imaging.image_files import load_image, usable
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.imaging.stored_files import file_sha256
from brevitas_defakeq.utils.errors import UserError


def image(colour, kind="PNG"):
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(content, kind)
    return content.getvalue()


def write(path, members, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_labels_by_cls_and_json(tmp_path):
    described = {"label": "fake", "video": "v7", "dataset": "celeb", "manipulation": "swap"}
    shard = write(
        tmp_path / "faces-000.tar",
        {
            "a.png": image(1), "a.cls": b"0\n",
            "b.json": json.dumps(described).encode(), "b.JPG": image(2, "JPEG"),
            "clip/0.cls": b"1", "clip/0.png": image(3), "clip/1.png": image(4), "clip/1.json": b"{}",
            "c.txt": b"no image", "c.cls": b"0",
            "d.seg.png": image(5),
        },
    )  # fmt: skip
    assert read_source(shard) == [
        Sample(shard / "a.png", 0, "faces-000/a", "faces-000"),
        Sample(shard / "b.JPG", 1, "v7", "celeb", "swap"),
        Sample(shard / "clip/0.png", 1, "clip", "faces-000"),
        Sample(shard / "clip/1.png", None, "clip", "faces-000"),
    ]


def test_a_folder_of_shards_in_order(tmp_path):
    for number in (1, 0):
        write(tmp_path / f"set/{number}.tar", {f"{number}.png": image(number), f"{number}.cls": b"1"})
    samples = read_source(tmp_path / "set")
    assert [(sample.video, sample.dataset) for sample in samples] == [("0/0", "set"), ("1/1", "set")]
    assert recognise(tmp_path / "set").kind == LayoutKind.SHARDS
    (tmp_path / "set/real").mkdir()
    assert recognise(tmp_path / "set").kind == LayoutKind.CLASSES


def test_images_are_read_where_they_lie(tmp_path):
    shard = write(tmp_path / "x.tar", {f"{n}.png": image(n) for n in range(5)} | {"deep/er.png": image(9)})
    samples = read_source(shard)
    assert [load_image(sample.path).getpixel((0, 0))[0] for sample in samples] == [0, 1, 2, 3, 4, 9]
    (tmp_path / "plain.png").write_bytes(image(3))
    assert file_sha256(shard / "3.png") == file_sha256(tmp_path / "plain.png")
    assert data_hash(samples[:2]) != data_hash(samples[1:3])
    assert usable(samples) == (samples, [])
    with pytest.raises(UserError, match="6.png cannot be read as an image .it does not exist"):
        load_image(shard / "6.png")
    with pytest.raises(UserError, match="x.tar/6.png cannot be read"):
        file_sha256(shard / "6.png")


def test_a_tar_that_was_written_anew_is_read_anew(tmp_path):
    shard = write(tmp_path / "x.tar", {"a.png": image(1)})
    assert load_image(shard / "a.png").getpixel((0, 0))[0] == 1
    write(shard, {"long" * 40 + ".png": image(7), "a.png": image(2)})
    assert load_image(shard / "a.png").getpixel((0, 0))[0] == 2


def test_a_folder_may_be_called_tar(tmp_path):
    (tmp_path / "set.tar").mkdir()
    (tmp_path / "set.tar/a.png").write_bytes(image(6))
    assert load_image(tmp_path / "set.tar/a.png").getpixel((0, 0))[0] == 6
    assert [sample.path.name for sample in read_source(tmp_path / "set.tar")] == ["a.png"]
    inner = write(tmp_path / "set.tar/inner.tar", {"b.png": image(8)})
    assert load_image(inner / "b.png").getpixel((0, 0))[0] == 8


def test_a_csv_may_name_images_in_shards(tmp_path):
    write(tmp_path / "x.tar", {"a.png": image(1), "v/b.png": image(2)})
    (tmp_path / "list.csv").write_text("path,label\nx.tar/a.png,0\nx.tar/v/b.png,1\n")
    assert [sample.label for sample in read_source(tmp_path / "list.csv")] == [0, 1]
    (tmp_path / "list.csv").write_text("path,label\nx.tar/a.png,0\nx.tar/v/c.png,1\n")
    with pytest.raises(
        UserError, match=r"1 of 2 files do not exist, the first is .*x.tar/v/c.png \(line 3\)"
    ):
        read_source(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"", "a.cls": b"2"}, "the label of a is 2; write 0, 1, real or fake"),
        ({"a.png": b"", "a.cls": b"\xff"}, "the label of a is"),
        ({"a.png": b"", "a.json": b"[1]"}, "a.json is no JSON object"),
        ({"a.png": b"", "a.json": b"{"}, "a.json is no JSON object"),
        ({"a.png": b"", "a.json": b'{"label": null}'}, "the label of a is None"),
        ({"a.png": b"", "a.cls": b"0", "a.json": b'{"label": 1}'}, r"a.cls and a.json disagree \(0 and 1\)"),
        ({"a.cls": b"0"}, "holds no images"),
    ],
)
def test_bad_members(tmp_path, members, message):
    with pytest.raises(UserError, match=message) as caught:
        read_source(write(tmp_path / "x.tar", members))
    assert "\n" not in str(caught.value)


def test_what_is_no_plain_tar(tmp_path):
    shard = write(tmp_path / "x.tar", {f"{number}.png": image(number) for number in range(9)})
    whole = shard.read_bytes()
    for content in (b"", b"no tar", whole[:3000], whole[:700]):
        shard.write_bytes(content)
        with pytest.raises(UserError, match="x.tar cannot be read as an uncompressed tar"):
            read_source(shard)
    write(shard, {"a.png": image(1)}, "w:gz")
    with pytest.raises(UserError, match="x.tar cannot be read as an uncompressed tar"):
        read_source(shard)
    with pytest.raises(UserError, match="x.tar cannot be read as an uncompressed tar"):
        load_image(shard / "a.png")


def test_headers_are_not_kept(tmp_path, monkeypatch):
    """tarfile remembers every member; a shard of a million would not fit."""
    shard = write(tmp_path / "x.tar", {f"{number}.txt": b"" for number in range(50)})
    kept = []
    following = tarfile.TarFile.next

    def watched(archive):
        entry = following(archive)
        kept.append(len(archive.members))
        return entry

    monkeypatch.setattr(tarfile.TarFile, "next", watched)
    assert len(list(stored_files.members(str(shard)))) == 50
    assert max(kept) <= 2


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"([a-z]{1,3}/)?[a-z0-9_]{1,4}", fullmatch=True),
        st.tuples(st.sampled_from((0, 1)), st.booleans(), st.sampled_from(("png", "jpg"))),
        min_size=1,
        max_size=8,
    )
)
def test_random_shards(tmp_path_factory, keys):
    folder = tmp_path_factory.mktemp("shards") / "set"
    shards = [{}, {}]
    for index, (key, (label, by_json, suffix)) in enumerate(keys.items()):
        shards[index % 2] |= {f"{key}.{suffix}": key.encode()}
        shards[index % 2] |= {f"{key}.json": json.dumps({"label": label}).encode()} if by_json else {
            f"{key}.cls": str(label).encode()
        }  # fmt: skip
    for index, members in enumerate(shards):
        write(folder / f"s{index}.tar", members)
    ordered = [(f"s{shard}", key) for shard in (0, 1) for key in list(keys)[shard::2]]
    samples = read_source(folder)
    assert samples == [
        Sample(
            folder / f"{shard}.tar" / f"{key}.{keys[key][2]}",
            keys[key][0],
            key.split("/")[0] if "/" in key else f"{shard}/{key}",
            "set",
        )
        for shard, key in ordered
    ]
    for sample, (_, key) in zip(samples, ordered, strict=True):
        with stored_files.open_file(sample.path) as file:
            assert file.read() == key.encode()


def test_frames_of_a_video_are_thinned(tmp_path):
    members = {f"clip/{number}.png": bytes([number]) for number in range(12)}
    samples = read_source(write(tmp_path / "x.tar", members), Selection(frames=3))
    assert [sample.path.stem for sample in samples] == ["0", "5", "11"]


def test_one_file_has_one_identity(tmp_path):
    shard = write(tmp_path / "x.tar", {"a.png": b"12345", "b.png": b""})
    (tmp_path / "link.tar").symlink_to(shard)
    assert stored_files.identity(shard / "a.png") == stored_files.identity(tmp_path / "link.tar/a.png")
    assert stored_files.identity(shard / "a.png")[1] == 5
    assert stored_files.identity(shard / "a.png")[0] != stored_files.identity(shard / "b.png")[0]
    assert stored_files.is_stored(shard / "a.png") and not stored_files.is_stored(shard / "c.png")
