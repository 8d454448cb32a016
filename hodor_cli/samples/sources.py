"""Builds training sets from the user's data, and sets of the pictures that are held out to measure the network."""

from __future__ import annotations

from collections.abc import Sequence

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.samples.clip_sets import ClipFrames, ClipSequences, FrameSet
from hodor_cli.samples.composites import Composites
from hodor_cli.samples.imgaug_sequence import load_imgaug
from hodor_cli.samples.sets import PhotographSet, TrainingSet
from hodor_cli.samples.settings import MAX_GAP, AugmentSettings, ClipOptions

#: Nothing is held out from a set with fewer photographs or clips.
_FEWEST = 8


def build_sets(
    opened: Sequence[StillImages | ClipSet],
    weights: Sequence[float],
    clips: ClipOptions,
    limits: ObjectLimits,
    augment: AugmentSettings,
    held_out: int = 0,
) -> tuple[Sequence[TrainingSet], Sequence[TrainingSet]]:
    """A training set for each opened data set, and sets of the held-out pictures.

    Photographs become augmented sequences; `clips.mode` says how clips are used.

    Args:
        opened: the data sets.
        weights: how often each set provides the objects that are pasted into samples, if `augment.pasted` is above 0.
        held_out: photographs to hold out of a set, evenly spaced. Of clips, whose frames look alike, all frames of the
            middle clip are held out.
    Raises:
        DataError for clips without a usable frame, or if imgaug is needed and missing.
    """
    kept: list[PhotographSet] = []
    apart: list[PhotographSet] = []
    for found in opened:
        pictures: StillImages | ClipFrames
        if isinstance(found, StillImages):
            pictures = found
            number = min(held_out, len(found) // _FEWEST)
            held = [(2 * place + 1) * len(found) // (2 * number) for place in range(number)]
        else:
            pictures = ClipFrames(found, limits, mode=clips.mode)
            names = list(dict.fromkeys(pictures.groups))
            middle = names[len(names) // 2] if len(names) >= _FEWEST and held_out else None
            held = [item for item, group in enumerate(pictures.groups) if group == middle]
        kept.append(_training_set(pictures, sorted(set(range(len(pictures))).difference(held)), clips, augment))
        if held:
            apart.append(_training_set(pictures, held, clips, augment))
    if not augment.pasted:
        return kept, apart
    # Held-out pictures also get pasted objects, from the pictures that are trained on.
    composed = [Composites(part, kept, augment, weights) for part in (*kept, *apart)]
    return composed[: len(kept)], composed[len(kept) :]


def _training_set(
    pictures: StillImages | ClipFrames, chosen: Sequence[int], clips: ClipOptions, augment: AugmentSettings
) -> PhotographSet:
    if isinstance(pictures, ClipFrames) and clips.mode in ("sparse", "dense"):
        return ClipSequences(pictures, augment, chosen, max_gap=clips.max_gap or MAX_GAP)
    if augment.maker == "imgaug":
        load_imgaug()  # now, so that a missing package is not found out by the first sample
    return (FrameSet if isinstance(pictures, ClipFrames) else PhotographSet)(pictures, augment, chosen)
