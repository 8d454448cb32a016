"""Assigns object ids to annotations: by group or track, by name, or separately in each picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hodor_cli.datasets.rle import reaches_far_outside
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Key, Picture
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.paths import listed, plural


def number_together(several: Sequence[Annotations]) -> list[Annotations]:
    """Assign object ids, so that an object has the same id in all of `several`.

    Shapes with the same name and key (a group, a track) are one object, and a whole-number key becomes its id. If no
    shape has a key, shapes with the same name are one object, unless a picture has two shapes with the same name. Then
    each picture numbers its objects from 1, and the result is not `tracked`. Raises InputError if two files give
    different names to one key, or if there are more than 65,535 objects.
    """
    pictures = [picture for one in several for picture in one.pictures]
    keyed = any(shape.key is not None for picture in pictures for shape in picture.shapes)
    known = keyed or all(repeated_name(picture) is None for picture in pictures)
    tracked, ids = known or len(pictures) == 1, _ids(several, keyed) if known else {}
    found = []
    for one in several:
        numbered = [_with_ids(picture, ids, keyed) for picture in one.pictures]
        named = [shape for picture in numbered for shape in picture.shapes if tracked and shape.name]
        names = dict(sorted({shape.object_id: shape.name for shape in reversed(named)}.items()))
        shapes = [(picture, shape.segmentation) for picture in one.pictures for shape in picture.shapes]
        cut = [picture.name for picture, outline in shapes if reaches_far_outside(outline, *picture.size)]
        notes = (*one.notes, *cut_outlines(cut))
        found.append(replace(one, tracked=tracked, names=names, pictures=numbered, notes=notes))
    if found:
        found[-1] = replace(found[-1], notes=(*found[-1].notes, *_differing_names(pictures), *_too_large(ids)))
    return found


def repeated_name(picture: Picture) -> str | None:
    """A name that several shapes of the picture share; None if all names differ."""
    counts = Counter(shape.name for shape in picture.shapes)
    return next((name for name, count in counts.items() if count > 1), None)


def _differing_names(pictures: Iterable[Picture]) -> list[str]:
    """Sentences about objects that may be the same but have different names: they share a key, or their names differ
    only in case or in spaces, and no picture has both."""
    called: dict[tuple[str, Key], dict[str, str]] = {}
    apart: set[tuple[str, Key]] = set()
    for picture in pictures:
        here: dict[tuple[str, Key], str] = {}
        for shape in picture.shapes:
            for kind, known in (("name", " ".join(shape.name.casefold().split())), ("key", shape.key)):
                if known is not None:
                    called.setdefault((kind, known), {}).setdefault(shape.name, picture.name)
                    if here.setdefault((kind, known), shape.name) != shape.name:
                        apart.add((kind, known))
    found = []
    for key, names in called.items():
        if len(names) > 1 and key not in apart:
            named = listed([f"'{name}' ({picture})" for name, picture in names.items()], 3)
            found.append(
                f"object {key[1]} has the names {named} and is read as {len(names)} objects, which is right if the "
                "pictures do not belong together; in a video, give it one name"
                if key[0] == "key"
                else f"there are the names {named}; if they mean the same, spell them the same"
            )
    return found


def _too_large(ids: Mapping[tuple[str, Key], int]) -> list[str]:
    """A sentence about keys that are too large for object ids; empty if there are none."""
    others = [f"{key} is object {number}" for (_, key), number in ids.items() if isinstance(key, int) and key > MAX_ID]
    return [f"ids above {MAX_ID} are replaced: {listed(others, 3)}"] if others else []


def cut_outlines(names: Sequence[str]) -> list[str]:
    """A sentence about outlines that reach far outside their pictures, called `names`; empty if there are none."""
    if not names:
        return []
    return [
        f"{plural(len(names), 'outline')} far outside the picture, cut at its edge, the first in {names[0]}; was it "
        "drawn at another size?"
    ]


def _with_ids(picture: Picture, ids: dict[tuple[str, Key], int], keyed: bool) -> Picture:
    numbers = [ids.get(_identity(picture, place, keyed), place + 1) for place in range(len(picture.shapes))]
    shapes = (replace(shape, object_id=number) for shape, number in zip(picture.shapes, numbers, strict=True))
    return replace(picture, shapes=tuple(shapes))


def _identity(picture: Picture, place: int, keyed: bool) -> tuple[str, Key]:
    """(name, key) of the shape's object. A shape without a key, where others have one, is a separate object."""
    shape = picture.shapes[place]
    own = f"{picture.name}#{place}" if keyed else shape.name
    return shape.name, own if shape.key is None else shape.key


def _ids(several: Sequence[Annotations], keyed: bool) -> dict[tuple[str, Key], int]:
    """The id of each object: its key, if that is a number that no earlier object has, else the first unused number."""
    objects = [
        (_identity(picture, place, keyed), one.path)
        for one in several for picture in one.pictures for place in range(len(picture.shapes))
    ]  # fmt: skip
    paths: dict[tuple[str, Key], Path] = {}
    first: dict[Key, tuple[str, Key]] = {}
    for known, path in objects:
        paths.setdefault(known, path)
        other = first.setdefault(known[1], known)
        if other[0] != known[0] and paths[other] != path:
            raise InputError(
                f"object {known[1]} is '{known[0]}' in {path} and '{other[0]}' in {paths[other]}; number them apart"
            )
    wanted = {key for key in first if isinstance(key, int) and 0 < key <= MAX_ID}
    free = (number for number in range(1, MAX_ID + 1) if number not in wanted)
    ids: dict[tuple[str, Key], int] = {}
    for known, path in paths.items():
        own = known[1] in wanted and first[known[1]] == known
        ids[known] = int(known[1]) if own else next(free, 0)
        if not ids[known]:
            raise InputError(f"{path} has more than {MAX_ID} objects")
    return ids
