"""What counts in a sequence: frames, objects, void, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from evaluation_fakes import label_map, moving_labels

from hodor_cli.errors import DataError, InputError
from hodor_cli.evaluation.scoring import DAVIS, DAVIS_LIKE, YOUTUBE_VOS, score_sequence


def test_first_and_last_frame_do_not_count() -> None:
    truth = moving_labels(5)
    predictions = [np.zeros_like(truth[0]), *truth[1:4], np.zeros_like(truth[0])]
    score = score_sequence(truth, predictions)
    assert score.jf == 1.0
    assert score.objects[1].frames == ("00001", "00002", "00003")
    assert score_sequence(truth, predictions, rules=YOUTUBE_VOS).jf == pytest.approx(0.75)


def test_a_missing_object_counts_zero_and_empty_against_empty_one() -> None:
    truth = moving_labels(6)
    predictions = [np.where(labels == 2, 0, labels) for labels in truth]
    score = score_sequence(truth, predictions)
    assert (score.objects[1].jf, score.objects[2].jf, score.jf) == (1.0, 0.0, 0.5)
    truth[3] = predictions[3]  # the object is out of sight, and the prediction says so
    assert score_sequence(truth, predictions).objects[2].j == 0.25


def test_arrays_and_generators_score_alike() -> None:
    truth, predictions = np.stack(moving_labels(7)), np.stack(moving_labels(8)[1:])
    one = score_sequence(truth, predictions)
    other = score_sequence((frame for frame in truth), iter(predictions.astype(np.uint16)))
    assert one.jf == other.jf

    def reusing(frames: np.ndarray) -> Iterator[np.ndarray]:
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[:] = frame
            yield buffer

    assert score_sequence(reusing(truth), predictions).jf == one.jf
    assert score_sequence(truth, reusing(predictions)).jf == one.jf
    assert 0 < one.jf < 1


def test_memory_does_not_grow_with_length() -> None:
    def frames(count: int) -> Iterator[np.ndarray]:
        for index in range(count):
            yield label_map({1: (40, index % 200, 60)}, (240, 320))

    def peak(count: int) -> int:
        tracemalloc.start()
        score_sequence(frames(count), frames(count))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(5)
    assert peak(300) < peak(20) + 300_000  # 300 masks are 23 MB


@pytest.mark.parametrize("object_value", [255, 1])
def test_binary_truth(object_value: int) -> None:
    truth = [labels * 255 for labels in moving_labels(5, ids=(1,))]
    truth[0][:] = truth[0]
    predictions = [(labels > 0) * np.uint8(object_value) for labels in truth]
    score = score_sequence(truth, predictions)
    assert list(score.objects) == [1]
    assert score.jf == 1.0


def test_255_is_void_beside_ids_and_an_id_beside_larger_ones() -> None:
    truth, predictions = moving_labels(5), moving_labels(5)
    for labels, predicted in zip(truth, predictions, strict=True):
        labels[40:47, 60:75] = 255
        predicted[40:47, 60:75] = 1
    score = score_sequence(truth, predictions)
    assert score.jf == 1.0
    assert list(score.objects) == [1, 2]
    assert "void" in " ".join(score.notes)
    wide = [np.where(labels == 2, np.uint16(300), labels).astype(np.uint16) for labels in truth]
    score = score_sequence(wide, wide, rules=DAVIS_LIKE)
    assert list(score.objects) == [1, 255, 300]


def test_ids_that_the_truth_lacks() -> None:
    truth, predictions = moving_labels(5, ids=(1, 3)), moving_labels(5, ids=(1, 3))
    for labels in predictions:
        labels[40:44, 0:4] = 9
    with pytest.raises(InputError, match=r"holds id 9.*largest is 3.*refuses"):
        score_sequence(truth, predictions, rules=DAVIS)
    score = score_sequence(truth, predictions, rules=DAVIS_LIKE)
    assert list(score.objects) == [1, 3]
    assert "id 9" in score.notes[0]


def test_ids_that_are_exchanged_or_never_predicted_are_told() -> None:
    truth = moving_labels(5)
    assert score_sequence(truth, truth).notes == ()
    exchanged = [np.choose(labels, (0, 2, 1)).astype(np.uint8) for labels in truth]
    (note,) = score_sequence(truth, exchanged, name="camel").notes
    assert "ids of camel seem swapped: in frame 00001, object 1 has the value 2, object 2" in note
    inverted = [np.choose(labels, (1, 0, 2)).astype(np.uint8) for labels in truth]
    assert "object 1 has the value 0; keep" in score_sequence(truth, inverted).notes[0]
    merged = [(labels > 0).astype(np.uint8) for labels in truth]
    assert score_sequence(truth, merged, name="camel").notes == (
        "the prediction of camel never shows object 2 in the frames that count",
    )
    swapped_later = [*truth[:2], *exchanged[2:]]  # what a method may do
    assert score_sequence(truth, swapped_later).notes == ()
    gone = [truth[0], *([np.where(labels == 2, 0, labels) for labels in truth[1:]])]
    assert score_sequence(gone, gone).notes == ()


def test_a_soft_map_of_one_object_is_refused() -> None:
    truth = [labels * 255 for labels in moving_labels(5, ids=(1,))]
    soft = np.random.default_rng(0).random((5, *truth[0].shape)).astype(np.float32)
    for prediction in (soft, (255 * soft).astype(np.uint8)):
        with pytest.raises(InputError, match=r"camel (frame 00001 has \d+ values|is float32).*threshold "):
            score_sequence(truth, prediction, name="camel")
    several = [(labels > 0) * np.uint8(5) for labels in truth]
    several[1][4:8] = np.arange(1, 5)[:, None] * (several[1][4:8] > 0)  # ids of several objects, merged in the truth
    assert score_sequence(truth, several).jf == 1.0


def test_davis_counts_every_id_up_to_the_largest() -> None:
    truth = moving_labels(5, ids=(1, 3))
    score = score_sequence(truth, truth, rules=DAVIS)
    assert list(score.objects) == [1, 2, 3]
    assert "no object 2" in score.notes[0]
    predictions = [np.where(labels == 3, 2, labels) for labels in truth]
    assert score_sequence(truth, predictions).objects[2].j == 0.0


def test_davis_counts_an_object_that_starts_later_in_all_frames_and_says_so() -> None:
    truth = moving_labels(6)
    for labels in truth[:3]:
        labels[labels == 2] = 0
    score = score_sequence(truth, truth, rules=DAVIS)
    assert len(score.objects[2].frames) == 4
    assert "object 2 of sequence is missing from the first mask" in score.notes[0]


def test_an_object_that_starts_later_counts_from_the_frame_after() -> None:
    truth = moving_labels(8)
    for labels in truth[:3]:
        labels[labels == 2] = 0
    predictions = [labels.copy() for labels in truth]
    predictions[3][predictions[3] == 2] = 0  # the frame in which it is given
    score = score_sequence(truth, predictions, rules=YOUTUBE_VOS)
    assert score.objects[2].frames == ("00004", "00005", "00006", "00007")
    assert score.jf == 1.0


def test_an_object_of_the_last_frame_alone_is_left_out() -> None:
    truth = moving_labels(5, ids=(1,))
    truth[4][40:45, 60:65] = 2
    score = score_sequence(truth, truth, rules=YOUTUBE_VOS)
    assert list(score.objects) == [1]
    assert "too late" in score.notes[0]


def test_bad_input_is_named() -> None:
    truth = moving_labels(4)
    with pytest.raises(InputError, match=r"camel frame 00001 is 40x24 but the truth is 80x48"):
        score_sequence(truth, [labels[::2, ::2] for labels in truth], name="camel")
    with pytest.raises(DataError, match=r"has masks of 40x24 \(frame 00002\) and 80x48"):
        score_sequence([*truth[:2], truth[2][::2, ::2], truth[3]], truth, name="camel")
    with pytest.raises(DataError, match=r"camel has 2 labelled frames.*at least 3"):
        score_sequence(truth[:2], truth[:2], name="camel")
    with pytest.raises(DataError, match="no object"):
        score_sequence([labels * 0 for labels in truth], truth)
    with pytest.raises(InputError, match="fewer predictions"):
        score_sequence(truth, truth[:3])
    with pytest.raises(InputError, match="more predictions"):
        score_sequence(truth[:3], truth)
    ignored = [np.where(labels == 2, -1, labels.astype(int)) for labels in truth]
    with pytest.raises(DataError, match="the truth of frame 00000 of camel holds ids from -1"):
        score_sequence(ignored, truth, name="camel")
    with pytest.raises(InputError, match="the prediction of frame 00000 of sequence holds ids from -1"):
        score_sequence(truth, ignored)
