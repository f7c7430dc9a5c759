"""Frames by number, against PyAV's plain decoding and against OpenCV's reader."""

import struct
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from made_videos import moving_square, write_video

from brevitas_defakeq.data import video_file
from brevitas_defakeq.data.video import chosen_numbers, read_frames
from brevitas_defakeq.imaging.sample import VIDEO_SUFFIXES
from brevitas_defakeq.utils.errors import UserError

COUNT = 61
#: Name -> (codec, pixel format, options). Key frames every 10 frames, frames out of order, packets without
#: times (AVI), frames that are never shown (VP8), images that are refreshed bit by bit.
KINDS = {
    "plain.mp4": ("libx264", "yuv420p", {"g": "10", "bf": "3", "x264-params": "scenecut=0"}),
    "open.mkv": ("libx264", "yuv420p", {"g": "10", "bf": "3", "x264-params": "scenecut=0:open-gop=1"}),
    "refresh.mp4": ("libx264", "yuv420p", {"g": "20", "x264-params": "scenecut=0:intra-refresh=1"}),
    "transport.ts": ("libx264", "yuv420p", {"g": "10", "bf": "2"}),
    "old.avi": ("libx264", "yuv420p", {"g": "10", "bf": "2"}),
    "hidden.webm": ("libvpx", "yuv420p", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "exact.mp4": ("libx264rgb", "rgb24", {"crf": "0", "g": "20"}),
    "exact.mkv": ("ffv1", "bgr0", {}),
    "grey.mkv": ("ffv1", "gray", {}),
}


def decoded_plainly(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_by_opencv(path: Path) -> list[np.ndarray]:
    reader, frames = cv2.VideoCapture(str(path)), []
    while (answer := reader.read())[0]:
        frames.append(answer[1][..., ::-1])
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name, (codec, pixel_format, options) in KINDS.items():
        write_video(folder / name, moving_square(COUNT), codec, pixel_format, **options)
    return folder


@pytest.fixture
def packets_decoded(monkeypatch):
    """How many packets went to a decoder."""
    given, original = [], video_file._frames
    monkeypatch.setattr(
        video_file, "_frames", lambda stream, packet: given.append(packet) or original(stream, packet)
    )
    return lambda: sum(packet is not None for packet in given)


@pytest.mark.parametrize("name", KINDS)
def test_the_pixels_of_plain_decoding(folder, name):
    wanted = decoded_plainly(folder / name)
    assert len(wanted) == COUNT
    for count, choose, threads in (
        (1, "even", 1),
        (4, "even", 2),
        (17, "even", 1),
        (99, "even", 1),
        (5, "first", 1),
    ):
        frames = sorted(
            read_frames(folder / name, count, choose=choose, threads=threads), key=lambda f: f.number
        )
        assert [frame.number for frame in frames] == chosen_numbers(COUNT, count, choose)
        assert all(frame.pixels.dtype == np.uint8 for frame in frames)
        for frame in frames:
            assert np.array_equal(frame.pixels, wanted[frame.number]), (count, frame.number)


#: Suffix -> codec of containers that do not take H.264; rates and sizes are ones that all codecs know.
CODECS = {".webm": "libvpx", ".ogv": "libvpx", ".m2v": "mpeg2video", ".y4m": "rawvideo", ".mjpeg": "mjpeg"}


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_every_suffix_of_a_video_is_read(tmp_path, suffix):
    codec = CODECS.get(suffix, "libx264")
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / f"face{suffix}", moving_square(4, 144, 176), codec, pixel_format)
    assert [frame.pixels.shape for frame in read_frames(path, 4)] == [(144, 176, 3)] * 4


@pytest.mark.parametrize("name", ["plain.mp4", "old.avi", "exact.mkv"])
def test_the_pixels_of_opencv(folder, name):
    """Whose FFmpeg is another; colours may be off by a level."""
    theirs = read_by_opencv(folder / name)
    assert len(theirs) == COUNT
    for frame in read_frames(folder / name, 7):
        assert np.abs(frame.pixels.astype(int) - theirs[frame.number]).max() <= 1


@pytest.mark.parametrize("name", ["exact.mp4", "exact.mkv"])
def test_the_pixels_that_were_encoded(folder, name):
    originals = moving_square(COUNT)
    for frame in read_frames(folder / name, COUNT):
        assert np.array_equal(frame.pixels, originals[frame.number])


def test_a_grey_video_has_three_equal_channels(folder):
    (frame,) = read_frames(folder / "grey.mkv", 1)
    assert frame.pixels.shape == (48, 64, 3)
    assert (frame.pixels == frame.pixels[..., :1]).all()


def test_only_what_is_needed_is_decoded(folder, packets_decoded):
    list(read_frames(folder / "plain.mp4", 2))
    assert packets_decoded() <= 2 + 10
    list(read_frames(folder / "plain.mp4", 3, choose="first"))
    assert packets_decoded() <= 2 + 10 + 8


def test_numbers_as_the_benchmark_takes_them():
    for total in (1, 2, 31, 32, 33, 300, 471):
        for count in (1, 4, 8, 32):
            benchmark = set(np.linspace(0, total - 1, count, endpoint=True, dtype=int).tolist())
            assert chosen_numbers(total, count) == sorted(benchmark)
    assert chosen_numbers(471, 3, "first") == [0, 1, 2] and chosen_numbers(2, 3, "first") == [0, 1]
    assert chosen_numbers(0, 3) == chosen_numbers(0, 3, "first") == []


ONE = 1 << 16


def with_matrix(path: Path, source: Path, a: int, b: int, c: int, d: int) -> Path:
    """A copy of an MP4 whose track header has the matrix (a b; c d)."""
    content = bytearray(source.read_bytes())
    offset = content.index(b"tkhd") + 4 + 40
    content[offset : offset + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_videos_are_read_upright(tmp_path, folder, quarters):
    """The matrix in an MP4's track header, as phones write it, against the unturned frames and OpenCV."""
    turn = {1: (0, -ONE, ONE, 0), 2: (-ONE, 0, 0, -ONE), 3: (0, ONE, -ONE, 0)}[quarters]
    path = with_matrix(tmp_path / "phone.mp4", folder / "exact.mp4", *turn)
    theirs = read_by_opencv(path)
    for frame in read_frames(path, 3):
        assert np.array_equal(frame.pixels, np.rot90(moving_square(COUNT)[frame.number], quarters))
        assert np.array_equal(frame.pixels, theirs[frame.number])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("across", [-1, 1])
@pytest.mark.parametrize("down", [-1, 1])
def test_mirrored_videos_are_shown_as_players_show_them(tmp_path, folder, turned, across, down):
    """All eight: (x, y) goes to (a x + c y, b x + d y), moved back into the frame. A selfie has a < 0."""
    matrix = (0, down, across, 0) if turned else (across, 0, 0, down)
    path = with_matrix(tmp_path / "selfie.mp4", folder / "exact.mp4", *(ONE * entry for entry in matrix))
    (frame,) = read_frames(path, 1)
    stored = moving_square(1)[0]
    height, width = stored.shape[:2]
    a, b, c, d = matrix
    for x, y in ((0, 0), (width - 1, 0), (0, height - 1), (21, 30), (5, 44)):
        shown_x, shown_y = a * x + c * y, b * x + d * y
        shown_x += (a + c < 0) * (frame.pixels.shape[1] - 1)
        shown_y += (b + d < 0) * (frame.pixels.shape[0] - 1)
        assert np.array_equal(frame.pixels[shown_y, shown_x], stored[y, x]), (x, y)


def test_a_video_turned_by_less_than_a_quarter_keeps_its_frame(tmp_path, folder):
    tilt = round(0.1 * ONE)
    path = with_matrix(tmp_path / "tilted.mp4", folder / "exact.mp4", ONE, tilt, -tilt, ONE)
    (frame,) = read_frames(path, 1)
    assert np.array_equal(frame.pixels, moving_square(1)[0])


def test_frames_that_an_edit_list_cuts_off_are_not_counted(tmp_path, folder):
    """An MP4 whose list says to show it from its eighth frame on, inside a GOP (group of coded frames)."""
    content = bytearray((folder / "plain.mp4").read_bytes())
    offset = content.index(b"elst") + 4 + 8 + 4
    (start,) = struct.unpack_from(">i", content, offset)
    (ticks,) = struct.unpack_from(">I", content, content.index(b"stts") + 4 + 8 + 4)
    struct.pack_into(">i", content, offset, start + 7 * ticks)
    path = tmp_path / "edited.mp4"
    path.write_bytes(content)
    wanted, whole = decoded_plainly(path), decoded_plainly(folder / "plain.mp4")
    assert len(wanted) == COUNT - 7 == len(list(read_frames(path, COUNT)))
    for frame in read_frames(path, 9):
        assert np.array_equal(frame.pixels, wanted[frame.number])
        assert np.array_equal(frame.pixels, whole[frame.number + 7])


# ----------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["open.mkv", "transport.ts", "old.avi", "first.mp4"])
def test_what_is_left_of_a_cut_video_is_read(tmp_path, folder, name):
    """Cut anywhere: the frames that plain decoding gives up to the damage, without half ones."""
    codec, pixel_format, options = KINDS["plain.mp4"]
    index_first = {"movflags": "faststart"}
    if name == "first.mp4":
        write_video(
            folder / name, moving_square(COUNT), codec, pixel_format, container=index_first, **options
        )
    intact = (folder / name).read_bytes()
    path = tmp_path / f"cut-{name}"
    for share in (0.5, 0.7, 0.9):
        path.write_bytes(intact[: int(share * len(intact))])
        left = decoded_until_damage(path)
        assert 5 < len(left) < COUNT
        frames = list(read_frames(path, 4))
        assert len(frames) >= 3 and frames[0].number == 0
        for frame in frames:
            assert np.array_equal(frame.pixels, left[frame.number])


def decoded_until_damage(path: Path) -> list[np.ndarray]:
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_corrupt:
                    frames += stream.decode(packet)
        except av.FFmpegError:
            pass
        frames += stream.decode(None)
    return [frame.to_ndarray(format="rgb24") for frame in frames if not frame.is_corrupt]


def refused(path: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        list(read_frames(path, options.pop("count", 4), **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_videos(tmp_path, folder):
    (tmp_path / "text.mp4").write_text("hello\n" * 100)
    assert "text.mp4 cannot be read as a video" in refused(tmp_path / "text.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty.mp4 cannot be read as a video" in refused(tmp_path / "empty.mp4")
    assert "gone.mp4 is no file" in refused(tmp_path / "gone.mp4")
    assert "is no file" in refused(tmp_path)
    (tmp_path / "tail.mp4").write_bytes((folder / "plain.mp4").read_bytes()[:-900])  # its index is the tail
    assert "tail.mp4 cannot be read as a video" in refused(tmp_path / "tail.mp4")
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    assert "sound.mp4 holds no video" in refused(tmp_path / "sound.mp4")


def test_the_cover_of_a_song_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        sound, cover = output.add_stream("aac", rate=8000), output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame.from_ndarray(moving_square(1)[0], format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.rate, silence.pts = 8000, 0
        output.mux([*cover.encode(), *sound.encode(silence), *sound.encode()])
    assert "song.mp4 holds no video" in refused(path)


def test_a_video_without_frames(tmp_path):
    path = tmp_path / "bare.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        output.start_encoding()
    assert "holds no frame that can be decoded" in refused(path)


@pytest.mark.parametrize("name", ["plain.mp4", "open.mkv", "old.avi", "exact.mkv"])
def test_damage_anywhere_is_one_line_or_frames(tmp_path, folder, name):
    intact, draw = (folder / name).read_bytes(), np.random.default_rng(1)
    path = tmp_path / f"damaged-{name}"
    for _ in range(15):
        content = bytearray(intact)
        for offset in draw.integers(0, len(content), 5):
            content[offset] = draw.integers(256)
        path.write_bytes(content[: draw.integers(1, len(content) + 1)])
        try:
            assert list(read_frames(path, 5))
        except UserError as error:
            assert path.name in str(error) and "\n" not in str(error)


def test_names_with_colons_and_percent_signs(tmp_path):
    path = write_video(tmp_path / "http:%03d.mkv", moving_square(2))
    assert len(list(read_frames(path, 5))) == 2


def test_wrong_numbers(folder):
    assert "0 frames" in refused(folder / "plain.mp4", count=0)
    assert "even or first" in refused(folder / "plain.mp4", choose="last")
