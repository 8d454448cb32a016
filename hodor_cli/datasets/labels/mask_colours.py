"""RGB masks: assigns an object id to each colour."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID, VOID, davis_palette, voc_palette, youtube_palette
from hodor_cli.images.paths import listed

Colour = tuple[int, int, int]


def labels_from_colours(
    values: np.ndarray, index_map: np.ndarray, name: str, known: dict[int, Colour] | None
) -> tuple[np.ndarray, dict[int, Colour], list[str]]:
    """Give every colour an object id; returns labels (H, W) uint16, id -> colour, and notes.

    values: (K,) colours as 0xRRGGBB, ascending. index_map: (H, W) index into `values` per pixel. name: the file's name,
    for notes. known: id -> colour of earlier masks, whose colours keep their ids.

    Black is background; in a picture without black it is the colour of nearly the whole border, such as a white canvas.
    If all colours are in the palettes of DAVIS and VOC, or all in YouTube-VOS's palette, they get its ids; otherwise
    they get 1, 2, ... in order of appearance from the top left.
    """
    border = np.concatenate([index_map[0], index_map[-1], index_map[:, 0], index_map[:, -1]])
    counts = np.bincount(border, minlength=len(values))
    canvas = values[int(counts.argmax())]
    plain = values[0] != 0 and len(values) > 1 and counts.max() > 0.9 * len(border)
    ground = canvas if plain and _colour(canvas) not in (known or {}).values() else 0
    first_seen = np.zeros(len(values), dtype=np.int64)
    # Pixels are written in reverse order, so that each colour keeps its first one.
    first_seen[index_map.ravel()[::-1]] = np.arange(index_map.size)[::-1]
    order = [int(k) for k in np.argsort(first_seen, kind="stable") if values[k] != ground]
    ids_by_colour = {colour: object_id for object_id, colour in (known or {}).items()}
    new = [k for k in order if _colour(values[k]) not in ids_by_colour]
    # Later entries win: DAVIS's palette over VOC's, and low ids over high ones.
    palette = _ids_by_colour(voc_palette()) | _ids_by_colour(davis_palette())
    youtube = _ids_by_colour(youtube_palette())
    if {*ids_by_colour, *(_colour(values[k]) for k in new)} <= youtube.keys():
        palette = youtube
    standard = all(_colour(values[k]) in palette for k in new)
    taken = set(ids_by_colour.values())
    table = np.zeros(len(values), dtype=np.uint16)
    notes = [f"{name} has no black: {_hex(_colour(ground))} along its border is the background"] if ground else []
    for k in order:
        colour = _colour(values[k])
        if colour not in ids_by_colour:
            object_id = palette[colour] if standard else 0
            if standard and object_id == VOID and len(order) > 1:
                notes.append(f"{name}: the colour {_hex(colour)} means void, which is treated as background")
                continue
            ids_by_colour[colour] = object_id if object_id and object_id not in taken else smallest_free_id(taken)
            taken.add(ids_by_colour[colour])
        table[k] = ids_by_colour[colour]
    colours = {int(table[k]): _colour(values[k]) for k in order if table[k]}
    if colours:
        mapping = listed((f"{_hex(colour)} is {i}" for i, colour in sorted(colours.items())), 12)
        notes.insert(0, f"{name} is RGB, each colour an object: {mapping}")
    return table[index_map], colours, notes


def _ids_by_colour(palette: np.ndarray) -> dict[Colour, int]:
    """Colour -> id in a palette; the lower id if a colour occurs twice."""
    return {(row[0], row[1], row[2]): object_id for object_id, row in reversed(list(enumerate(palette.tolist())))}


def _colour(value: np.unsignedinteger | int) -> Colour:
    number = int(value)
    return number >> 16, (number >> 8) & 255, number & 255


def _hex(colour: Colour) -> str:
    return "#" + bytes(colour).hex()


def smallest_free_id(taken: Collection[int | None]) -> int:
    """The smallest object id that is not taken. Raises `InputError` if all are."""
    for object_id in range(1, MAX_ID + 1):
        if object_id not in taken:
            return object_id
    raise InputError(f"there are more than {MAX_ID} objects")
