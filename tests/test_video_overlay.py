"""Objects drawn over frames, and the H.264 files that hold them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from segment_fakes import read_video

from hodor_cli.errors import OutputError
from hodor_cli.images.label_png import davis_palette
from hodor_cli.video.h264 import Timeline, VideoWriter
from hodor_cli.video.joining import Piece, frame_times, join_videos
from hodor_cli.video.overlay import colour_of, draw_overlay, inner_edge
from hodor_cli.video.sound import SoundTrack, add_sound
from hodor_cli.video.source import open_source


def grey(height: int = 60, width: int = 80, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_only_pixels_of_objects_change_and_the_input_stays() -> None:
    image, labels = grey(), np.zeros((60, 80), np.uint16)
    labels[10:30, 20:50] = 2
    drawn = draw_overlay(image, labels)
    changed = (drawn != image).any(axis=2)
    assert np.array_equal(changed, labels == 2)
    assert (image == 100).all()


def test_colours_are_the_palette_s_mixed_inside_and_bright_at_the_edge() -> None:
    image, labels = grey(), np.zeros((60, 80), np.uint16)
    labels[10:30, 20:50] = 1
    drawn = draw_overlay(image, labels)
    assert drawn[10, 25].tolist() == [255, 0, 0] and davis_palette()[1].tolist() == [128, 0, 0]
    assert np.abs(drawn[20, 35].astype(int) - (davis_palette()[1].astype(int) + 100) // 2).max() <= 1
    assert np.array_equal(draw_overlay(image, labels, outline=False, opacity=1.0)[20, 35], davis_palette()[1])


def test_an_object_shows_under_paint_of_its_own_colour() -> None:
    labels = np.zeros((12, 16), np.uint16)
    labels[2:10, 2:14] = 1
    for object_id in range(1, 256):
        paint = davis_palette()[object_id].astype(np.float64)
        for colour in (paint, np.minimum(paint * 1.8, 255), paint * 0.6):
            image = np.empty((12, 16, 3), np.uint8)
            image[:] = colour
            drawn = draw_overlay(image, labels * object_id, outline=False)
            assert np.abs(drawn.astype(int) - image)[labels > 0].mean() > 20, (object_id, colour)


def test_ids_past_the_palette_get_colours_too() -> None:
    assert [colour_of(key) for key in (0, 1, 255)] == [tuple(row) for row in davis_palette()[[0, 1, 255]].tolist()]
    assert colour_of(256) == colour_of(1) and any(colour_of(65535))
    labels = np.full((60, 80), 65535, np.uint16)
    assert (draw_overlay(grey(), labels) != grey()).any()


def test_the_border_of_the_picture_is_no_edge_but_a_neighbour_is() -> None:
    labels = np.full((20, 30), 3, np.uint16)
    assert not inner_edge(labels).any()
    labels[:, 15:] = 4
    edge = inner_edge(labels)
    assert edge[:, 14:16].all() and edge.sum() == 40


def test_ids_are_written_inside_the_object_s_window() -> None:
    image, labels = grey(120, 160), np.zeros((120, 160), np.uint16)
    labels[40:100, 30:90] = 12
    plain, numbered = draw_overlay(image, labels), draw_overlay(image, labels, ids=True)
    rows, columns = np.nonzero((plain != numbered).any(axis=2))
    assert len(rows) > 20 and rows.min() >= 40 and rows.max() < 100 and columns.min() >= 30 and columns.max() < 90
    tiny = np.zeros((120, 160), np.uint16)
    tiny[0, 0] = 5
    draw_overlay(image, tiny, ids=True)


def test_an_empty_frame_is_a_copy_and_another_size_is_refused() -> None:
    image = grey()
    drawn = draw_overlay(image, np.zeros((60, 80), np.uint16))
    assert np.array_equal(drawn, image) and drawn is not image
    with pytest.raises(ValueError, match=r"80x60.*80x59"):
        draw_overlay(image, np.zeros((59, 80), np.uint16))


@pytest.mark.parametrize("fps", [24.0, 25.0, 30000 / 1001, 23.976023976, 59.94, 12.5, 240.0, 1.0])
def test_constant_rates_are_exact(fps: float) -> None:
    timeline = Timeline(fps)
    assert float(timeline.rate) == pytest.approx(fps, rel=1e-4)
    ticks, previous = [], None
    for index in range(200):
        previous = timeline.ticks(index, index / fps, previous)
        ticks.append(previous)
    assert ticks == [index * timeline.duration for index in range(200)]
    assert float(timeline.duration * timeline.time_base) == pytest.approx(1 / fps, rel=1e-4)


@pytest.mark.parametrize("fps", [0.0, float("nan"), float("inf"), -3.0])
def test_a_senseless_rate_becomes_25(fps: float) -> None:
    assert Timeline(fps).rate == 25


def test_times_never_stand_still_or_go_back() -> None:
    timeline = Timeline(25)
    ticks, previous = [], None
    for index, seconds in enumerate([0.0, 0.04, 0.04, 0.02, 0.5]):
        previous = timeline.ticks(index, seconds, previous)
        ticks.append(previous)
    assert (np.diff(ticks) > 0).all()


def test_the_written_video_looks_like_the_overlay(tmp_path: Path) -> None:
    labels = np.zeros((61, 81), np.uint16)
    labels[10:50, 20:60] = 1
    with VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        for _ in range(5):
            writer.write(draw_overlay(grey(61, 81), labels))
    frames = read_video(tmp_path / "a.mp4")
    assert len(frames) == 5 and frames[0].shape == (62, 82, 3)
    wanted = draw_overlay(grey(61, 81), labels)
    assert np.abs(frames[2][:61, :81].astype(int) - wanted).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_leaves_no_video(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(grey())
        raise ZeroDivisionError
    with pytest.raises(OutputError), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(grey())
        (tmp_path / "a.mp4").mkdir()  # made meanwhile
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_index_stands_in_front_so_that_players_start_at_once(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for value in range(60):
            writer.write(grey(value=value))
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    join_videos([Piece(tmp_path / "a.mp4", 0)], tmp_path / "b.mp4", 25)
    data = (tmp_path / "b.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_joined_pieces_play_like_one_video(tmp_path: Path) -> None:
    import av

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (32, 48, 3), dtype=np.uint8) for _ in range(11)]
    timeline, pieces, apart = Timeline(30), [], []
    for number, (first, last) in enumerate(((0, 5), (5, 10), (10, 11))):
        path = tmp_path / f"{number}.mp4"
        with VideoWriter(path, 30) as writer:
            for image in images[first:last]:
                writer.write(image)
        apart += read_video(path)
        pieces.append(Piece(path, first * timeline.duration))
    join_videos(pieces, tmp_path / "joined.mp4", 30)
    assert all(
        np.array_equal(one, other) for one, other in zip(apart, read_video(tmp_path / "joined.mp4"), strict=True)
    )
    with av.open(str(tmp_path / "joined.mp4")) as container:
        stream = container.streams.video[0]
        assert [frame.time for frame in container.decode(stream)] == pytest.approx([index / 30 for index in range(11)])
        assert float(stream.duration * stream.time_base) == pytest.approx(11 / 30)


def test_folders_whose_names_look_like_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("12:30.hodor")
    folder.mkdir()
    with VideoWriter(folder / "piece.mp4", 10.0) as writer:
        writer.write(grey())
    join_videos([Piece(folder / "piece.mp4", 0)], folder / "whole.mp4", 10.0)
    assert len(frame_times(folder / "whole.mp4", 10.0)) == 1


def test_a_damaged_piece_is_said_and_no_video_is_left(tmp_path: Path) -> None:
    (tmp_path / "0.mp4").write_bytes(b"no video")
    with pytest.raises(OutputError, match=r"0\.mp4.*damaged"):
        join_videos([Piece(tmp_path / "0.mp4", 0)], tmp_path / "joined.mp4", 25)
    assert [path.name for path in tmp_path.iterdir()] == ["0.mp4"]


# ---- the overlay is shown like the source ----------------------------------------------------------------------------


def test_pixel_aspect_is_kept(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25, Fraction(2, 1)) as writer:
        writer.write(grey())
    join_videos([Piece(tmp_path / "a.mp4", 0)], tmp_path / "b.mp4", 25)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2


def test_frames_too_wide_for_decoders_are_scaled_and_shown_as_wide(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(grey(20, 30_000))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.width <= 8192
        assert float(stream.width * stream.sample_aspect_ratio / stream.height) == pytest.approx(1500, rel=0.1)


def test_uneven_times_and_the_last_duration_are_kept(tmp_path: Path) -> None:
    times = np.cumsum([0, 0.04, 0.04, 0.2, 0.06])
    timeline, previous = Timeline(11.76), None
    with VideoWriter(tmp_path / "a.mp4", 11.76) as writer:
        for index, seconds in enumerate(times):
            previous = timeline.ticks(index, float(seconds), previous)
            writer.write(grey(), ticks=previous, duration=0.5)
    join_videos([Piece(tmp_path / "a.mp4", 0)], tmp_path / "b.mp4", 11.76)
    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.video[0]
        assert [float(frame.pts * stream.time_base) for frame in container.decode(stream)] == pytest.approx(
            times, abs=1e-3
        )
        assert float(stream.duration * stream.time_base) == pytest.approx(times[-1] + 0.5, abs=1e-3)


def with_sound(path: Path, codec: str, seconds: float = 1.0) -> Path:
    """A video of one second with a tone that starts half a second in."""
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=10), container.add_stream(codec, rate=48000)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound.layout = "mono"
        for index in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey(48, 64, 20 * index), format="rgb24")))
        container.mux(video.encode())
        time = np.arange(int(48000 * seconds)) / 48000
        tone = np.where(time >= 0.5, np.sin(2000 * np.pi * time), 0) * 0.5
        for start in range(0, len(tone), 1024):
            part = (tone[start : start + 1024] * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            for resampled in av.AudioResampler(sound.codec_context.format.name, "mono", 48000).resample(frame):
                container.mux(sound.encode(resampled))
        container.mux(sound.encode(None))
    return path


def heard(path: Path) -> tuple[float, float]:
    """When the tone starts and when the sound ends, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        loud, end = [], 0.0
        for frame in container.decode(stream):
            samples = frame.to_ndarray().astype(np.float64).ravel()
            begin = float(frame.pts * stream.time_base)
            end = begin + len(samples) / 48000
            loud += [begin + index / 48000 for index in np.flatnonzero(np.abs(samples) > 0.2)[:1]]
    return loud[0], end


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.mov", "pcm_s16le")])
def test_sound_is_copied_where_its_frames_are(tmp_path: Path, name: str, codec: str) -> None:
    path = with_sound(tmp_path / name, codec)
    for start, end in ((0, None), (3, 8)):
        source = open_source(path, start=start, end=end)
        frames = list(source)
        with VideoWriter(tmp_path / "out.mp4", source.fps) as writer:
            for frame in frames:
                writer.write(frame.image)
        assert source.sound is not None and add_sound(tmp_path / "out.mp4", source.sound, frames[0].time) == ""
        onset, stop = heard(tmp_path / "out.mp4")
        assert onset == pytest.approx(0.5 - start / 10, abs=0.03)
        assert stop == pytest.approx(len(frames) / 10, abs=0.1)  # sound is cut between packets
        assert len(read_video(tmp_path / "out.mp4")) == len(frames)


def samples(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        parts = [frame for decoded in container.decode(audio=0)
                 for frame in av.AudioResampler("fltp", "mono", 48000).resample(decoded)]  # fmt: skip
    return np.concatenate([part.to_ndarray()[0] for part in parts])


@pytest.mark.parametrize(("codec", "tolerance"), [("aac", 0.001), ("pcm_s16le", 0.1)])
def test_sound_from_the_middle_on_has_the_source_s_samples(tmp_path: Path, codec: str, tolerance: float) -> None:
    path, out = with_sound(tmp_path / "a.mov", codec), tmp_path / "out.mp4"
    with VideoWriter(out, 10) as writer:
        for _ in range(2):
            writer.write(grey())
    assert add_sound(out, SoundTrack(path, whole=False), 0.7321) == ""
    begin = round(0.7321 * 48000)
    np.testing.assert_allclose(samples(out)[:8000], samples(path)[begin : begin + 8000], atol=tolerance)


def test_damaged_sound_costs_the_sound_alone(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", 10) as writer:
        writer.write(grey())
    before = (tmp_path / "out.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert "could not be copied" in add_sound(tmp_path / "out.mp4", SoundTrack(tmp_path / "a.mp4"), 0.0)
    assert (tmp_path / "out.mp4").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


def test_an_object_with_few_pixels_of_its_paint_is_not_painted_in_specks() -> None:
    image = np.full((60, 60, 3), 110, np.uint8)
    labels = np.zeros((60, 60), np.uint16)
    labels[5:55, 5:55] = 1
    image[np.random.default_rng(0).random((60, 60)) < 0.2] = colour_of(1)
    drawn = draw_overlay(image, labels, outline=False)[labels == 1].astype(int)
    paint = 2 * drawn - image[labels == 1]
    assert np.ptp(paint, axis=0).max() <= 2


def test_an_object_of_many_colours_has_one_paint_without_patches() -> None:
    image = np.full((60, 60, 3), 110, np.uint8)
    labels = np.zeros((60, 60), np.uint16)
    labels[5:55, 5:55] = 1
    image[30:] = colour_of(1)
    drawn = draw_overlay(image, labels, outline=False)[labels == 1].astype(int)
    assert np.ptp(2 * drawn - image[labels == 1], axis=0).max() <= 2
    assert np.abs(drawn - image[labels == 1])[-1].mean() > 20  # its own colour shows, too
