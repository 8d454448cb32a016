"""Opening video files with PyAV: which formats are read, which track is the video, why a file is rejected, and whether
it is shorter than its header says (MP4/MOV, AVI and Matroska/WebM declare their size)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from hodor_cli.errors import InputError
from hodor_cli.images.paths import read_start, reading_file
from hodor_cli.images.pillow import MOST_PIXELS

# Formats that refer to other files or addresses, which FFmpeg would open (a live playlist would never end), and text
# formats, which it would render as pictures of letters.
_REFUSED = frozenset(
    {"applehttp", "avisynth", "concat", "dash", "dvdvideo", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap"}
    | {"sdp", "tee", "vapoursynth", "vobsub", "webm_dash_manifest"}
    | {"adf", "bin", "idf", "tty", "xbin"}
)
_PLAYLIST = re.compile(
    rb"\s*(#EXTM3U|ffconcat|\[playlist\]|v=0\s|RTSPtext|<(\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<?(MPD|smil|asx|playlist)\b)",
    re.IGNORECASE | re.DOTALL,
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_STILL_CODECS = {"mjpeg", "png", "bmp", "webp"}  # of cover pictures, which not every file marks as such
# Matroska elements.
_EBML, _SEGMENT, _TRACK_NUMBER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xd7"
_BLOCKS = (b"\xa3", b"\xa1")
# Elements that contain others: segment, cluster, block group, tracks, track.
_ENTERED = (_SEGMENT, b"\x1f\x43\xb6\x75", b"\xa0", b"\x16\x54\xae\x6b", b"\xae")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def open_container(file: Any, label: str) -> InputContainer:
    """Open a path, or an object with `read`, with PyAV. Raises `InputError` with the reason, also for playlists and
    other files that refer to other files."""
    start = read_start(Path(file), 2048) if isinstance(file, str) else b""
    if start.startswith(_HDF5):
        raise InputError(f"{label} is an HDF5 file (descriptors?), not a video; give the video that it was made from")
    if _PLAYLIST.match(start.removeprefix(b"\xef\xbb\xbf")):
        raise InputError(f"{label} is a playlist, which refers to other files; give one of those, or join them")
    allowed = ",".join(sorted(av.formats_available - _REFUSED))
    try:
        # Without the protocol file:, FFmpeg would take "12:30.mp4" for a URL.
        place = f"file:{file}" if isinstance(file, str) else file
        options = {"format_whitelist": allowed}
        try:
            return av.open(place, mode="r", options=options, metadata_errors="ignore")
        except TypeError:  # PyAV 19 dropped the argument; it reads metadata of any encoding
            return av.open(place, mode="r", options=options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, PermissionError):
            raise InputError(f"{label} cannot be read: permission denied") from error
        raise InputError(f"{label} is not a video that can be read ({reason})") from error


def pick_stream(container: InputContainer, label: str) -> VideoStream:
    """Choose the video stream to read, and set it up to decode on all cores: the default stream, or else the largest;
    cover pictures are the last choice. Raises `InputError` if no stream can be decoded."""
    if container.format.name.endswith("_pipe"):
        raise InputError(f"{label} is a single picture, not a video; give a video or the folder of the pictures")
    streams = sorted(_moving(container), key=_rank, reverse=True)
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        found = "a cover picture and sound" if container.streams.video else " and ".join(kinds) or "nothing"
        raise InputError(f"{label} is not a video: it holds only {found}")
    stream = streams[0]
    codec = getattr(stream.codec_context, "name", None)
    if codec is None:
        raise InputError(f"{label} holds a video that no installed decoder can decode; convert it to H.264 first")
    if stream.width * stream.height > MOST_PIXELS:
        raise InputError(f"{label} has frames of {stream.width}x{stream.height}, too large to read; scale it down")
    stream.codec_context.thread_type = "AUTO"
    return stream


def describe_unused(container: InputContainer, used: VideoStream, label: str) -> str:
    """A sentence about other video tracks, which are not read; empty if there are none."""
    others = [stream for stream in _moving(container) if stream.index != used.index and stream.frames != 1]
    if not others:
        return ""
    sizes = ["{}x{}".format(*_size(stream)) for stream in (used, *others)]
    return f"{label} has {len(sizes)} video tracks: {used.index} ({sizes[0]}) is used, {', '.join(sizes[1:])} left out"


def _moving(container: InputContainer) -> list[VideoStream]:
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _rank(stream: VideoStream) -> tuple[bool, bool, bool, int, int]:
    still = stream.frames == 1
    cover = still and getattr(stream.codec_context, "name", None) in _STILL_CODECS
    width, height = _size(stream)
    default = bool(stream.disposition & Disposition.default)
    return not cover, not still, default, width * height, -stream.index


def _size(stream: VideoStream) -> tuple[int, int]:
    """(width, height); zeros for a track that no installed decoder can read."""
    return getattr(stream, "width", 0) or 0, getattr(stream, "height", 0) or 0


def count_missing_bytes(path: Path) -> int:
    """How many of the bytes declared by a file's outermost boxes are missing; 0 for formats that declare no size.

    Raises `InputError` if the file cannot be read, is empty, or is an MP4 that is cut off before its index.
    """
    with reading_file(path), path.open("rb") as file:
        size, end, has_index = path.stat().st_size, 0, False
        head = file.read(16)
        mp4, avi = head[4:8] in _MP4_BOXES, head[:4] == b"RIFF" and head[8:12] == b"AVI "
        length_of = _mp4_length if mp4 else _riff_length if avi else _matroska_length
        while length := length_of(head, size - end):
            has_index |= head[4:8] == b"moov" and end + length <= size
            end += length
            file.seek(end)
            head = file.read(16)
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes)")
    if mp4 and not has_index:
        raise InputError(f"{path} is an MP4 cut off before its index (moov), so no frame can be read; copy it again")
    return max(0, end - size)


def _mp4_length(head: bytes, rest: int) -> int:
    """The length of a box from its first 16 bytes, 0 if they are not a box. rest: bytes from there to the file end."""
    length = int.from_bytes(head[:4], "big") or rest
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    return length if length >= 8 and len(head) >= 8 else 0


def _riff_length(head: bytes, rest: int) -> int:
    length = int.from_bytes(head[4:8], "little")
    return 8 + length + length % 2 if head[:4] == b"RIFF" and length else 0  # large AVI files are a chain of chunks


def is_torn(path: Path, *, cut: bool = False) -> bool:
    """Whether the structure of a Matroska or WebM file is damaged, so that FFmpeg skips packets: its elements are not
    contiguous, or a packet belongs to no track.

    False for other formats, which have a table of their packets. Reads the head of every element. cut: whether the file
    is known to be cut off; then an incomplete last element does not count.
    """
    size, at = path.stat().st_size, 0
    tracks: set[bytes] = set()
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(16)
            name, begin, length = _matroska_element(head)
            if at == 0 and name != _EBML:
                return False
            number = head[begin : begin + 1]  # empty if the file is cut off here
            if begin == 0 or (name in _BLOCKS and number not in tracks):
                return not cut or len(head) == 16
            if name == _TRACK_NUMBER:
                tracks.update(bytes([track | 0x80]) for track in number)  # as blocks write it
            at += begin + (0 if name in _ENTERED else length or 0)
    return at > size and not cut


def _matroska_length(head: bytes, rest: int) -> int:
    name, begin, length = _matroska_element(head)
    if name not in (_EBML, _SEGMENT):
        return 0
    return rest if length is None else begin + length


def _matroska_element(head: bytes) -> tuple[bytes, int, int | None]:
    """The name of the element that begins with these bytes, the offset of its content (0: they are not an element), and
    the content's length (None: unknown, as in a live recording)."""
    named = 9 - head[0].bit_length() if head and head[0] else 9
    width = 9 - head[named].bit_length() if len(head) > named and head[named] else 9
    if named > 4 or width > 8 or len(head) < named + width:
        return b"", 0, 0
    unknown = (1 << 7 * width) - 1
    length = int.from_bytes(head[named : named + width], "big") & unknown
    return head[:named], named + width, None if length == unknown else length
