"""A piece of a mask that lies apart from its object, and looks like another one or like none, is not its own."""

from __future__ import annotations

import pytest
import torch

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.strays import without_strays
from hodor_cli.model.types import Cue

#: Columns, in cells, of the first object's largest piece, of its other piece, and of the second object.
REST, PIECE, OTHER = slice(0, 5), slice(8, 10), slice(10, 14)


def found(own: float, rival: float, *, piece: slice = PIECE, other: slice = OTHER, given: bool = True) -> list[bool]:
    """Whether the first object, the second one and no object have the piece, after the masks given in an earlier frame
    were carried to it with these values."""
    logits = torch.full((1, NUM_NON_OBJECT + 2, 12, 32), -5.0)
    logits[:, 0] = 0.0
    carried = torch.zeros(1, 2, 6, 16)
    for row, columns, value in ((0, REST, 0.8), (1, other, 0.8), (0, piece, own), (1, piece, rival)):
        carried[0, row, 2:4, columns] = value
    for row, columns in ((0, REST), (0, piece), (1, other)):
        logits[0, NUM_NON_OBJECT + row, 4:8, 2 * columns.start : 2 * columns.stop] = 5.0
    changed = without_strays(logits, Cue(torch.zeros_like(carried), carried), [given, True])
    swapped = [*range(NUM_NON_OBJECT), NUM_NON_OBJECT + 1, NUM_NON_OBJECT]
    # The order of the objects decides nothing.
    again = without_strays(logits[:, swapped], Cue(torch.zeros_like(carried), carried.flip(1)), [True, given])
    assert torch.equal(again[:, swapped], changed)
    assert torch.equal(changed[..., : 2 * REST.stop], logits[..., : 2 * REST.stop])
    likeliest = changed[0, :, 4:8, 2 * piece.start : 2 * piece.stop].argmax(dim=0)
    return [bool((likeliest == channel).all()) for channel in (NUM_NON_OBJECT, NUM_NON_OBJECT + 1, 0)]


@pytest.mark.parametrize(
    ("own", "rival", "has_it"),
    [
        (0.5, 0.0, [True, False, False]),
        (0.05, 0.5, [False, True, False]),
        (0.4, 0.5, [False, True, False]),
        (0.05, 0.0, [False, False, True]),
        (0.0, 0.0, [False, False, True]),
    ],
)
def test_a_piece_apart_belongs_to_the_object_that_it_looks_like(own: float, rival: float, has_it: list[bool]) -> None:
    assert found(own, rival) == has_it


def test_a_piece_beside_an_object_in_front_stays_unless_it_looks_like_nothing() -> None:
    beside = slice(5, 8)  # it may hide what connects both pieces
    assert found(0.4, 0.5, other=beside) == [True, False, False]
    assert found(0.05, 0.5, other=beside) == [False, False, True]


def test_no_object_gets_a_piece_that_it_does_not_touch() -> None:
    assert found(0.4, 0.5, other=slice(13, 16)) == [True, False, False]


def test_specks_are_left_alone() -> None:
    assert found(0.05, 0.5, piece=slice(9, 10)) == [True, False, False]


def test_an_object_without_a_given_mask_keeps_its_pieces() -> None:
    assert found(0.05, 0.5, given=False) == [True, False, False]


@pytest.mark.parametrize(
    ("columns", "carried_to_it", "kept"),
    [(slice(13, 15), 0.05, False), (slice(13, 15), 0.5, True), (slice(7, 9), 0.05, True)],
)
def test_a_single_object_loses_a_piece_far_from_it_that_looks_like_nothing_of_it(
    columns: slice, carried_to_it: float, kept: bool
) -> None:
    logits = torch.full((1, NUM_NON_OBJECT + 1, 12, 32), -5.0)
    logits[:, 0] = 0.0
    carried = torch.zeros(1, 1, 6, 16)
    for place, value in ((REST, 0.8), (columns, carried_to_it)):  # 28 cells in all, so 7 cells are close
        carried[0, 0, 1:5, place] = value
        logits[0, NUM_NON_OBJECT, 2:10, 2 * place.start : 2 * place.stop] = 5.0
    changed = without_strays(logits, Cue(torch.zeros_like(carried), carried), [True])
    likeliest = changed[0].argmax(dim=0) == NUM_NON_OBJECT
    assert bool(likeliest[2:10, : 2 * REST.stop].all())
    assert bool(likeliest[2:10, 2 * columns.start : 2 * columns.stop].any()) == kept


def after_contact(
    own: float, rival: float, *, bridge: bool = True, rest: float = 0.8, body: int = 6, rows: int = 3, gap: int = 0
) -> list[bool]:
    """Whether each of two objects has the piece that hangs on the first one, after the masks given in an earlier frame
    were carried to it with these values, and to the rest of the first object with `rest`.

    In cells, body: the width of that rest; rows: the height of the piece; gap: how far it is from the second object.
    """
    logits = torch.full((1, NUM_NON_OBJECT + 2, 24, 32), -5.0)
    logits[:, 0] = 0.0
    carried = torch.zeros(1, 2, 12, 16)
    high = slice(1, 10) if body == 6 else slice(4, 7)
    whole, piece, other = (high, slice(6 - body, 6)), (slice(4, 4 + rows), slice(7, 11)), (high, slice(11 + gap, 16))
    joint = (slice(5, 6) if bridge else slice(3, 8), slice(6, 7))
    for row, (lines, columns), value in ((0, whole, rest), (0, piece, own), (1, piece, rival), (1, other, 0.8)):
        carried[0, row, lines, columns] = value
    for row, (lines, columns) in ((0, whole), (0, joint), (0, piece), (1, other)):
        logits[0, NUM_NON_OBJECT + row, 2 * lines.start : 2 * lines.stop, 2 * columns.start : 2 * columns.stop] = 5.0
    changed = without_strays(logits, Cue(torch.zeros_like(carried), carried), [True, True])
    assert torch.equal(changed[..., :12], logits[..., :12]) and torch.equal(changed[..., 22:], logits[..., 22:])
    likeliest = changed[0, :, 8 : 8 + 2 * rows, 14:22].argmax(dim=0)
    return [bool((likeliest == NUM_NON_OBJECT + row).all()) for row in (0, 1)]


def test_a_piece_on_a_narrow_bridge_goes_to_the_object_that_it_looks_like() -> None:
    assert after_contact(0.2, 0.6) == [False, True]
    assert after_contact(0.6, 0.2) == after_contact(0.3, 0.45) == [True, False]


@pytest.mark.parametrize("change", [{"bridge": False}, {"rest": 0.3}, {"body": 2}, {"rows": 2}, {"gap": 1}])
def test_a_piece_on_a_bridge_stays(change: dict[str, float]) -> None:
    """It is well attached; the rest of its object has changed as well; it is most of its object; it is small; it
    touches no other object."""
    assert after_contact(0.2, 0.6, **change) == [True, False]  # type: ignore[arg-type]
