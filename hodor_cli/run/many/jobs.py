"""Finds the videos to segment and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import exists
from pathlib import Path

from hodor_cli.errors import InputError
from hodor_cli.images.paths import listed, plural, require_exists, summarise_files, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header
from hodor_cli.video.dicom import dicom_files
from hodor_cli.video.image_folder import VIDEO_SUFFIXES, count_pages

LIST_SUFFIXES = (".txt", ".lst", ".list")
_SHOWN = 4
#: Names of other files in the result folder, which no video may have.
_TAKEN = ("summary.json", ".unfinished", ".hodor.lock")


@dataclass(frozen=True)
class VideoJob:
    """A video. name: of its results. masks: a file for its first frame, or a folder of files named like its frames."""

    name: str
    source: Path
    masks: Path


def find_jobs(videos: Path, masks: Path) -> list[VideoJob]:
    """The videos of a folder, in natural order, or of a list, in its order; each with its masks. Names are unique.

    videos: a folder that holds video files, files of many pictures (TIFF, animated WebP or PNG), folders of images or
    of DICOM files; or a text file with one path on each line, relative to the file (empty lines and lines that begin
    with `#` are skipped). masks: the folder with the masks. For a video `clip.mp4` or a folder of images `clip`, it has
    `clip.png` (or `.npy`, or another kind of picture) for the first frame, or a folder `clip` of masks named like the
    frames.

    Raises InputError if there is no video, a video is missing or has no mask, or two videos have the same name.
    """
    require_exists(videos, "folder or list of videos")
    require_exists(masks, "folder of masks")
    if not masks.is_dir():
        raise InputError(f"{masks} is a file; give the folder that holds a mask for each video, named like the videos")
    sources = videos_of_folder(videos, masks) if videos.is_dir() else videos_of_list(videos)
    by_name: dict[str, Path] = {}
    jobs, missing = [], []
    for source in sources:
        name = source.resolve().name if source.is_dir() else source.stem
        other = by_name.setdefault(name.casefold(), source)  # many file systems ignore case
        if other is not source:
            raise InputError(f"{other} and {source} would both be called {name} in the results; rename one of them")
        if name.casefold() in _TAKEN:
            raise InputError(f"{source} would be called {name} in the results, which is a reserved name; rename it")
        # A folder of masks is preferred to a file, because it may also have masks of later frames.
        files = (masks / f"{name}{suffix}" for suffix in (".png", ".npy", *sorted(PICTURE_SUFFIXES - {".png"})))
        folder = masks / name
        place = folder if folder.is_dir() else next((file for file in files if file.is_file()), None)
        if place is None:
            missing.append(name)
        else:
            jobs.append(VideoJob(name, source, place))
    if missing:
        some, has = listed(missing, _SHOWN), "has" if len(missing) == 1 else "have"
        raise InputError(
            f"{plural(len(missing), 'video')} of {len(sources)} {has} no mask in {masks} ({some}): each needs "
            f"{missing[0]}.png for its first frame or a folder {missing[0]} of masks by frame; a list may leave it out"
        )
    return jobs


def unused_masks(masks: Path, jobs: Sequence[VideoJob]) -> list[str]:
    """The names of masks and folders of masks that belong to none of these videos."""
    used = {job.masks.name for job in jobs}
    names = [*visible_folders(masks), *(masks / name for name in visible_files(masks))]
    kinds = {".npy", *PICTURE_SUFFIXES}
    return [path.name for path in names if path.name not in used and (path.is_dir() or path.suffix.lower() in kinds)]


def videos_of_folder(folder: Path, masks: Path) -> list[Path]:
    """The videos, files of many pictures, and folders of images or DICOM files directly in a folder, except its folder
    of masks.

    Raises InputError if there is none.
    """
    names = visible_files(folder)
    videos = (folder / name for name in names if _is_video(name))
    found = [path for path in videos if not _is_still(path)]
    folders = [sub for sub in visible_folders(folder) if sub.resolve() != masks.resolve()]
    found += [sub for sub in folders if _are_pictures(visible_files(sub)) or dicom_files(sub)]
    taken = {path.stem for path in found}  # a file of many pictures beside clip.mp4 may be the masks of clip.mp4
    found += [path for name in names if (path := folder / name).stem not in taken and count_pages(path) > 1]
    if found:
        return found
    if _are_pictures(names):
        raise InputError(f"{folder} holds images, so it is one video; use `segment_source`, or give its folder")
    inside = f"it holds {summarise_files(names)}" if names else "it has neither a video nor a folder of images"
    if deeper := folders_left_out(folder, masks):
        inside = f"its folders do ({listed(list(deeper), _SHOWN)}); give one of these, or a list of the videos"
    raise InputError(f"{folder} holds no videos: {inside}")


def folders_left_out(folder: Path, masks: Path) -> dict[str, int]:
    """The folders directly in a folder, except that of the masks, whose videos `videos_of_folder` leaves out, and how
    many each has."""
    folders = [sub for sub in visible_folders(folder) if sub.resolve() != masks.resolve()]
    names = {sub.name: visible_files(sub) for sub in folders}
    # A result has report.json next to overlay.mp4.
    found = {name: sum(map(_is_video, files)) for name, files in names.items() if "report.json" not in files}
    return {name: count for name, count in found.items() if count}


def videos_of_list(file: Path) -> list[Path]:
    """The videos that a text file names. Raises InputError for a video file, an empty list, or a missing video."""
    if file.suffix.lower() not in LIST_SUFFIXES:
        raise InputError(
            f"{file} is no folder or list of videos ({', '.join(LIST_SUFFIXES)}); give it to `segment_source`"
        )
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a list of videos, one path on each line ({error})") from error
    named = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not named:
        raise InputError(f"{file} lists no video; write one path on each line")
    paths = [file.parent / Path(name).expanduser() for name in named]
    missing = [name for name, path in zip(named, paths, strict=True) if not exists(path)]
    if missing:
        raise InputError(
            f"{file} names {plural(len(missing), 'video')} not in {file.resolve().parent}: {listed(missing, _SHOWN)}"
        )
    return list(dict.fromkeys(paths))


def _is_still(path: Path) -> bool:
    """Whether a file is a GIF of one picture; a damaged one counts as a video, so that it is reported."""
    try:
        return path.suffix.lower() == ".gif" and read_header(path).pages == 1
    except InputError:
        return False


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _are_pictures(names: Sequence[str]) -> bool:
    return any(Path(name).suffix.lower() in PICTURE_SUFFIXES for name in names)
