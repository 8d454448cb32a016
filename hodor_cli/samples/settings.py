"""Settings of the training data, of how photographs and clips become sequences, and of batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os.path import abspath, exists
from pathlib import Path
from typing import Annotated, Literal

from hodor_cli.errors import UsageError
from hodor_cli.settings import about, check_settings, settings_of

Range = tuple[float, float]
#: `max_gap` where `ClipOptions` has None, which `resume` takes for left out.
MAX_GAP = 10


def chance(help: str) -> object:
    """The declaration of a field that is a probability, 0..1."""
    return about(f"Chance {help}.", least=0, most=1)


@dataclass(frozen=True)
class DataSource:
    """A data set and how often it is drawn from, relative to others.

    folder: of the set or, with `annotations` (a COCO file), of its images. samples: their number when a run began.
    """

    folder: Path
    weight: float = 1.0
    annotations: Path | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise UsageError(f"the weight of {self.folder} must be a number above 0, not {self.weight:g}")


Data = Sequence["str | Path | DataSource"] | str | Path | DataSource | None


def parse_source(text: str | Path | DataSource) -> DataSource:
    """Read `FOLDER` or `FOLDER:WEIGHT`; a path that exists is always a folder. Raises UsageError for a bad weight."""
    if isinstance(text, DataSource):
        return text
    folder, _, weight = str(text).rpartition(":")
    if folder and not exists(Path(text)):
        with suppress(ValueError):
            return DataSource(Path(folder), float(weight))
    return DataSource(Path(text))


def parse_sources(data: Data) -> list[DataSource]:
    """The data sets in `data`, each read by `parse_source`. Raises UsageError for another type, and for a set that is
    named twice."""
    given = [data] if isinstance(data, str | Path | DataSource) else data or []
    if not isinstance(given, Sequence):
        raise UsageError(f"`data` is a {type(given).__name__}; give a folder, or a list of folders")
    sources = [parse_source(item) for item in given]
    places = [(abspath(source.folder), source.annotations) for source in sources]
    if twice := next((sources[index] for index, place in enumerate(places) if place in places[:index]), None):
        raise UsageError(f"`data` names {twice.folder} twice; name each data set once")
    return sources


@dataclass(frozen=True)
class ClipOptions:
    """How `finetune` uses clips; `pretrain` has no mode.

    `frames` uses labelled frames as additional photographs; `sparse` learns by cyclic consistency from one labelled
    frame of each clip (HODOR, sec. 3.5); `dense` learns from sequences of labelled frames.
    """

    mode: Annotated[
        Literal["", "frames", "sparse", "dense"],
        about(
            "How clips are used: labelled frames as further photographs; one labelled frame of each clip (cyclic"
            " consistency); or clips with many labelled frames."
        ),
    ] = ""
    max_gap: (
        Annotated[int, about(f"Maximum distance between the frames of a sample.  [default: {MAX_GAP}]", least=1)] | None
    ) = None
    resolution: Annotated[str | None, about("Folder in JPEGImages, if there are several.")] = None

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class AugmentSettings:
    """How a photograph becomes a sequence. The defaults of the first block are the paper's (HODOR, CVPR 2022).

    Ranges are (least, most); chances are per sample unless said otherwise; lengths are shares of the side.
    """

    maker: Annotated[Literal["fast", "imgaug"], about("Which code augments: our own, or imgaug as in the paper.")] = (
        "fast"
    )
    frames: Annotated[int, about("Frames per sequence; 1 means single images, an ablation of the paper.", least=1)] = 3

    # The paper's ranges, in both directions; a new motion is drawn for every frame.
    translation: Annotated[Range, about("Shift, as a share of the side.")] = (0.0, 0.25)
    rotation: Annotated[Range, about("Rotation in degrees.")] = (0.0, 10.0)
    shear: Annotated[Range, about("Shear in degrees.")] = (0.0, 10.0)
    crop_keep: Annotated[Range, about("Share of each side that a crop keeps.")] = (0.6, 0.9)
    hue: Annotated[Range, about("Change of hue, as a share of the colour circle.")] = (0.0, 0.12)
    saturation: Annotated[Range, about("Relative change of saturation.")] = (0.0, 0.12)
    contrast: Annotated[Range, about("Relative change of contrast.")] = (0.0, 0.05)
    brightness: Annotated[Range, about("Relative change of brightness.")] = (0.0, 0.25)
    colour_each_frame: Annotated[bool, about("Vary colours in every frame, not once per sequence.")] = True
    flip: Annotated[float, chance("of mirroring the whole sequence")] = 0.5

    # Beyond the paper, all off by default.
    view_scale: Annotated[Range, about("Zoom of the whole sequence, towards an object.")] = (1.0, 1.0)
    view_rotation: Annotated[float, about("Rotation of the whole sequence in degrees.", least=0)] = 0.0
    frame_scale: Annotated[Range, about("Zoom of each frame.")] = (1.0, 1.0)
    scale_jump: Annotated[float, chance("per frame of a sudden zoom on top")] = 0.0
    scale_jump_range: Annotated[Range, about("The sudden zoom.")] = (0.6, 1.7)
    path: Annotated[float, chance("that the frames follow one smooth motion, as in a video")] = 0.0
    path_step: Annotated[Range, about("How far each frame goes from one random motion towards the next.")] = (0.05, 0.4)
    independent: Annotated[float, chance("that objects and background move independently")] = 0.0
    other_background: Annotated[float, chance("that the background of such objects is another photograph")] = 0.0
    object_motion: Annotated[float, about("How far such objects move, as a share of the side.", least=0)] = 0.15
    occluder: Annotated[float, chance("that an object of another photograph is in front")] = 0.0
    distractor: Annotated[float, chance("that one is behind the objects, if these move independently")] = 0.0
    pasted: Annotated[
        int, about("Maximum number of labelled objects to paste into a sample from other pictures.", least=0, most=254)
    ] = 0
    pasted_twin: Annotated[float, chance("that such an object comes from the same picture or clip")] = 0.25
    elastic: Annotated[float, chance("per frame of a smooth deformation")] = 0.0
    elastic_strength: Annotated[float, about("Standard deviation of its offsets, relative to the side.", least=0)] = (
        0.03
    )
    shared_colour: Annotated[float, about("Strength of one colour change of the whole sequence.", least=0)] = 0.0
    grey: Annotated[float, chance("of a grey sequence")] = 0.0
    blur: Annotated[float, chance("per frame of defocus or motion blur")] = 0.0
    compression: Annotated[float, chance("per frame of JPEG and resampling artefacts")] = 0.0
    min_visible: Annotated[
        float, about("Minimum share of the frame's pixels that each object covers in frame 0.", least=0, most=1)
    ] = 0.001

    def __post_init__(self) -> None:
        check_settings(self)
        for name, setting in settings_of(AugmentSettings).items():
            if setting.kind == Range:
                low, high = getattr(self, name)
                if not 0 <= low <= high < float("inf"):
                    raise UsageError(f"`{name}` must be (least, most) with 0 <= least <= most, not ({low}, {high})")


@dataclass(frozen=True)
class BatchSettings:
    """How batches are put together."""

    batch_size: Annotated[int, about("Samples per batch, over all processes.", least=1)] = 8
    max_objects: Annotated[int, about("Maximum number of objects per sample.", least=1, most=254)] = 4
    area: Annotated[float, about("Area of a frame in pixels.", least=1024)] = 300_000.0
    exact: Annotated[
        bool, about("Keep each image's aspect ratio and pad (paper), instead of using the nearest of `aspects`.")
    ] = True
    aspects: Annotated[tuple[float, ...], about("Width / height of the frames, unless `exact`.")] = (
        0.5, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0,
    )  # fmt: skip
    balance: Annotated[
        float, about("A source of n images is drawn in proportion to n to this power; 1 draws every image alike.")
    ] = 1.0
    source_weights: Annotated[Mapping[str, float], about("Factors on that, by source or by source/coverage.")] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.aspects or any(not math.isfinite(aspect) or aspect <= 0 for aspect in self.aspects):
            raise UsageError(f"`aspects` must be numbers above 0, not {self.aspects}")
        if any(not math.isfinite(weight) or weight < 0 for weight in self.source_weights.values()):
            raise UsageError("`source_weights` must be numbers of at least 0")


PAPER = AugmentSettings(maker="imgaug", colour_each_frame=False)

MINI = AugmentSettings(
    translation=(0.0, 0.15), rotation=(0.0, 12.0), shear=(0.0, 8.0), crop_keep=(0.75, 1.0),
    hue=(0.0, 0.02), saturation=(0.0, 0.12), contrast=(0.0, 0.1), brightness=(0.0, 0.12),
    view_scale=(0.95, 1.6), view_rotation=8.0, frame_scale=(0.87, 1.2), scale_jump=0.15,
    scale_jump_range=(0.7, 1.6), path=0.5,
    independent=0.5, other_background=0.5, occluder=0.25, distractor=0.3, elastic=0.5, elastic_strength=0.025,
    shared_colour=0.2, grey=0.03, blur=0.15, compression=0.15,
)  # fmt: skip

PRESETS: dict[str, AugmentSettings] = {
    "paper": PAPER,
    "fast": AugmentSettings(colour_each_frame=False),
    "mini": MINI,
    "toy": AugmentSettings(
        translation=(0.0, 0.05), rotation=(0.0, 5.0), shear=(0.0, 2.0), crop_keep=(0.95, 1.0),
        hue=(0.0, 0.02), saturation=(0.0, 0.05), brightness=(0.0, 0.1),
    ),
}  # fmt: skip


def augment_preset(name: str) -> AugmentSettings:
    """The augmentation preset with this name. Raises UsageError that lists the known ones."""
    if name not in PRESETS:
        raise UsageError(f"there is no augmentation preset '{name}'; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
