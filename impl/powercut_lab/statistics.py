"""The statistics of the report, by scipy: intervals of shares and quantiles, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from attrs import frozen
from scipy import stats

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000


@frozen
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def share(count: int, of: int) -> Interval:
    """The share `count` / `of` with its Wilson score interval.

    ValueError unless 0 <= `count` <= `of` and `of` > 0.
    """
    if not 0 <= count <= of or of == 0:
        raise ValueError(f"{count} of {of} is no share")
    found = stats.binomtest(count, of).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(count / of, float(found.low), float(found.high))


def quantile(samples: Sequence[float], at: float, seed: int = 0) -> Interval:
    """A quantile (linear between samples, as the paper's) with its bootstrap percentile interval.

    The same samples and seed give the same interval.  ValueError for no samples.
    """
    data = np.asarray(samples, dtype=float)
    if data.size == 0:
        raise ValueError("a quantile of no samples")
    value = float(np.quantile(data, at))
    if data.size == 1:
        return Interval(value, value, value)
    return _resampled(value, (data,), lambda sample, axis: np.quantile(sample, at, axis=axis), seed)


@frozen
class PairedComparison:
    """Samples that took turns: the median of their ratios, and Wilcoxon's signed-rank p-value."""

    ratio: Interval
    p_value: float


def compare_paired(
    base: Sequence[float], other: Sequence[float], seed: int = 0
) -> PairedComparison:
    """`other` against `base`, sample by sample. ValueError where they differ in number."""
    ratios = [b / a for a, b in zip(base, other, strict=True)]
    if all(a == b for a, b in zip(base, other, strict=True)):
        return PairedComparison(quantile(ratios, 0.5, seed), 1.0)
    return PairedComparison(quantile(ratios, 0.5, seed), float(stats.wilcoxon(base, other).pvalue))


def quantile_ratio(
    base: Sequence[float], other: Sequence[float], at: float, seed: int = 0
) -> Interval:
    """A quantile of `other` by the same of `base`, samples that took turns; its bootstrap interval.

    Both samples of a round are drawn together.  ValueError where they differ in number, none is
    there, or the quantile of `base` is 0.
    """
    pairs = np.asarray([(a, b) for a, b in zip(base, other, strict=True)], dtype=float)
    if not len(pairs) or not np.quantile(pairs[:, 0], at):
        raise ValueError("no ratio of quantiles: no samples, or nothing to divide by")

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        by = np.quantile(a, at, axis=axis)
        found: np.ndarray = np.quantile(b, at, axis=axis) / np.where(by, by, np.nan)
        return found

    first, second = pairs[:, 0], pairs[:, 1]
    value = float(ratio(first, second))
    if len(pairs) == 1:
        return Interval(value, value, value)
    return _resampled(value, (first, second), ratio, seed)


def _resampled(
    value: float, samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], seed: int
) -> Interval:
    """The value with its bootstrap percentile interval; several samples are drawn in pairs."""
    found = stats.bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        n_resamples=RESAMPLES,
        batch=200,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))
