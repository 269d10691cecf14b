from __future__ import annotations

import math

import numpy as np
import pytest

from powercut_lab.statistics import compare_paired, quantile, share


@pytest.mark.parametrize("count", [0, 1, 5, 399, 400])
def test_the_interval_of_a_share_is_wilsons(count: int) -> None:
    """By the formula, with the normal quantile that the paper rounds to 1.96."""
    n, z = 400, 1.959963984540054
    p = count / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = share(count, n)
    assert found.low == pytest.approx(max(0.0, middle - half), abs=1e-9)
    assert found.high == pytest.approx(min(1.0, middle + half), abs=1e-9)


@pytest.mark.parametrize(("count", "of"), [(1, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_is_refused(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        share(count, of)


def test_the_papers_p99_of_ten_samples_is_made_of_the_two_largest() -> None:
    samples = [1.0] * 8 + [2.0, 4.0]
    assert quantile(samples, 0.99).value == pytest.approx(0.91 * 4 + 0.09 * 2)


def test_bootstrap_intervals_hold_the_true_median_about_as_often_as_they_say() -> None:
    dice = np.random.default_rng(5)
    inside = 0
    for turn in range(100):
        found = quantile([dice.exponential() for _ in range(60)], 0.5, turn)
        inside += found.low <= math.log(2) <= found.high
    assert 88 <= inside <= 100


def test_the_same_samples_and_seed_give_the_same_interval() -> None:
    samples = list(np.random.default_rng(1).random(30))
    assert quantile(samples, 0.9, 3) == quantile(samples, 0.9, 3)
    assert quantile([7.0], 0.9).high == 7.0


def test_a_paired_comparison_sees_a_factor_and_no_factor() -> None:
    dice = np.random.default_rng(2)
    base = [1 + dice.random() for _ in range(40)]
    assert compare_paired(base, [2 * b for b in base]).ratio.value == pytest.approx(2)
    assert compare_paired(base, [2 * b for b in base]).p_value < 0.001
    assert compare_paired(base, base).p_value == 1.0
    with pytest.raises(ValueError, match="zip"):
        compare_paired(base, base[1:])
