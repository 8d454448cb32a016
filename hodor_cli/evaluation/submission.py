"""The zip archive that a benchmark's server takes, for sets whose truth is not public."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hodor_cli.datasets.dataset import Dataset, masks_of_frames
from hodor_cli.datasets.folders import masks_in
from hodor_cli.datasets.labels.numbers import read_numbers
from hodor_cli.errors import InputError
from hodor_cli.evaluation.predictions import find_predictions
from hodor_cli.files import replacing, writing
from hodor_cli.images.paths import listed, plural


def pack_submission(dataset: Dataset, predictions: Path, target: Path) -> Path:
    """Pack predicted masks (SEQ/FRAME.png) into the zip that the data set's server wants, and return its path.

    DAVIS and MOSE want SEQ/FRAME.png, YouTube-VOS wants Annotations/SEQ/FRAME.png and only the frames of its meta.json.
    Raises InputError for masks that are missing or hold ids past 255, which 8-bit label PNGs cannot.
    """
    prefix = "Annotations/" if dataset.kind == "youtube-vos" else ""
    places = find_predictions(predictions, dataset.sequences)
    lost = [name for name in dataset.sequences if name not in places]
    if lost:
        raise InputError(f"{predictions} has no predictions of {listed(lost, 20)}; the server wants all sequences")
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        # The masks are compressed already.
        with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, sequence in dataset.sequences.items():
                frames = sequence.frames
                files = masks_of_frames(places[name], frames)[0] if frames else masks_in(places[name])
                wanted = list(sequence.wanted or sequence.images or files)
                missing = [frame for frame in wanted if frame not in files]
                if missing:
                    raise InputError(
                        f"{places[name]} has no mask for {plural(len(missing), 'frame')}: {listed(missing, 20)}"
                    )
                for frame in wanted:
                    _check_mask(files[frame])
                    archive.write(files[frame], f"{prefix}{name}/{frame}.png")
    return target


def _check_mask(file: Path) -> None:
    if file.suffix.lower() != ".png":
        raise InputError(f"{file} is no PNG; servers take indexed PNGs only")
    values = read_numbers(file)
    if values is None:
        raise InputError(f"{file} is a colour picture; servers take indexed PNGs only")
    if values.dtype.itemsize > 1:
        raise InputError(f"{file} is a 16-bit PNG; servers take indexed PNGs with ids up to 255")
