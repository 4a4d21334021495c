"""Accuracy figures agree with cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.report.data import Boxes
from edgeq.report.metrics import (
    Found,
    average_precision,
    edit_distance,
    hmean,
    text_accuracy,
    top_k,
)

A, B = [0.0, 0, 10, 10], [20.0, 20, 30, 30]


def found(*rows: tuple[list[float], float, int]) -> Found:
    boxes, scores, index = zip(*rows, strict=True) if rows else ((), (), ())
    corners = np.array(boxes, float).reshape(-1, 4)
    return Found(corners, np.array(scores, float), np.array(index, int))


def truth(*rows: tuple[list[float], int, bool]) -> Boxes:
    boxes, index, crowd = zip(*rows, strict=True) if rows else ((), (), ())
    return Boxes(np.array(boxes, float).reshape(-1, 4), np.array(index, int), np.array(crowd, bool))


def test_perfect_boxes_have_ap_one() -> None:
    figures = average_precision(
        [found((A, 0.9, 0), (B, 0.1, 3)), found()], [truth((A, 0, False), (B, 3, False)), truth()]
    )
    assert figures == {"ap50": 1.0, "ap": 1.0}


def test_iou_decides_up_to_which_level_a_box_counts() -> None:
    shifted = [0.0, 0, 10, 7]  # IoU 0.7 exactly: right at .50 .55 .60 .65 .70
    figures = average_precision([found((shifted, 0.9, 0))], [truth((A, 0, False))])
    assert figures == {"ap50": 1.0, "ap": 0.5}


def test_precision_is_averaged_over_101_recall_points() -> None:
    # right, wrong, right of two: precision 1 up to recall 0.5 (51 points), then 2/3 (50 points)
    mine = found((A, 0.9, 0), ([50.0, 50, 60, 60], 0.8, 0), (B, 0.7, 0))
    figures = average_precision([mine], [truth((A, 0, False), (B, 0, False))])
    assert figures["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    mine = found((A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0))
    figures = average_precision([mine], [truth((A, 0, False), (B, 0, False))])
    assert figures["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_box_in_a_crowd_counts_neither_way() -> None:
    crowd = [40.0, 40, 100, 100]
    mine = found(([50.0, 50, 60, 60], 0.95, 0), ([50.0, 50, 61, 61], 0.9, 0), (A, 0.5, 0))
    real = truth((A, 0, False), (crowd, 0, True))
    assert average_precision([mine], [real]) == {"ap50": 1.0, "ap": 1.0}


def test_classes_without_truth_do_not_count_and_missed_ones_do() -> None:
    mine = found((A, 0.9, 0), (A, 0.9, 7))
    real = truth((A, 0, False), (B, 1, False))
    assert average_precision([mine], [real])["ap50"] == 0.5


def test_scores_rank_boxes_across_pictures() -> None:
    mine = [found((B, 0.9, 0)), found((A, 0.8, 0))]
    real = [truth((A, 0, False)), truth((A, 0, False))]
    assert average_precision(mine, real)["ap50"] == pytest.approx(51 * 0.5 / 101)


def test_only_the_best_hundred_boxes_count() -> None:
    noise = [([200.0 + i, 0, 201 + i, 1], 0.9, 0) for i in range(100)]
    assert average_precision([found(*noise, (A, 0.5, 0))], [truth((A, 0, False))])["ap"] == 0


def test_no_truth_gives_zero() -> None:
    assert average_precision([found((A, 0.9, 0))], [truth()]) == {"ap50": 0.0, "ap": 0.0}


def test_top_k_accepts_any_listed_class() -> None:
    ranked, accepted = [[3, 1, 2], [0, 5, 4]], [{1, 9}, {0}]
    assert top_k(ranked, accepted, 1) == 0.5
    assert top_k(ranked, accepted, 2) == 1.0


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "", 3), ("ab", "ba", 2)],
)
def test_edit_distance_of_known_words(a: str, b: str, edits: int) -> None:
    assert edit_distance(a, b) == edits


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_edit_distance_equals_the_textbook_table(a: str, b: str) -> None:
    table = [[max(i, j) for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            ways = table[i][j] + (x != y), table[i][j + 1] + 1, table[i + 1][j] + 1
            table[i + 1][j + 1] = min(ways)
    assert edit_distance(a, b) == table[-1][-1]


def test_loose_comparison_ignores_case_and_spaces() -> None:
    read, real = ["Total 12", "abX"], ["TOTAL12", "abc"]
    assert text_accuracy(read, real) == {"exact": 0.0, "cer": 6 / 10}
    assert text_accuracy(read, real, loose=True) == {"exact": 0.5, "cer": 1 / 10}


def test_hmean_pairs_boxes_one_to_one() -> None:
    real = np.array([A, B, [90.0, 90, 99, 99]])
    mine = np.array([A, A, [20.0, 20, 30, 26]])  # a double, and an IoU of 0.6
    figures = hmean([mine, np.empty((0, 4))], [real, np.empty((0, 4))])
    assert figures == pytest.approx({"hmean": 2 / 3, "precision": 2 / 3, "recall": 2 / 3})
    assert hmean([mine], [real], overlap=0.7)["recall"] == pytest.approx(1 / 3)
    assert hmean([np.empty((0, 4))], [real])["hmean"] == 0
