"""How sure a mean is if some of its scores belong together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

RESAMPLES = 2000


def mean_of_means(
    scores: Sequence[float], paths: Sequence[tuple[str, ...]], clusters: Sequence[Hashable]
) -> tuple[float, float, float]:
    """(mean, low, high) of at least one score: a 95 % percentile bootstrap interval that resamples whole clusters.

    `paths` name what each score counts for, the coarsest level first: the mean is over the names of the first level, of
    means over those of the second within each, and so on down to the scores. Empty paths give the plain mean. A mean
    that has no scores in a resample is left out of it.
    """
    leaves = sorted(set(paths))
    stratum = np.array([leaves.index(path) for path in paths])
    # by name, not as they come: answers are kept in the order in which they were finished
    numbers = {name: k for k, name in enumerate(sorted(set(clusters), key=repr))}
    cluster = np.array([numbers[name] for name in clusters])
    shape = (len(leaves), len(numbers))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (stratum, cluster), np.asarray(scores, dtype=np.float64))
    np.add.at(counts, (stratum, cluster), 1)
    weights = np.array([_weight(leaf, leaves) for leaf in leaves])

    def mean(times: np.ndarray) -> np.ndarray:
        """The means (resamples,) if each cluster is there so many times (resamples, clusters)."""
        total, n = times @ sums.T, times @ counts.T
        share = weights * (n > 0)
        return (share * total / np.maximum(n, 1)).sum(axis=1) / share.sum(axis=1)

    generator = np.random.default_rng(0)
    means = []
    block = max(1, 4_000_000 // shape[1])  # keeps what is drawn within 32 MB
    for start in range(0, RESAMPLES, block):
        number = min(block, RESAMPLES - start)
        means.append(mean(generator.multinomial(shape[1], np.full(shape[1], 1 / shape[1]), size=number)))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(mean(np.ones((1, shape[1])))[0]), float(low), float(high)


def _weight(path: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> float:
    """What a path's mean counts for: at each level as much as every other name there is."""
    weight = 1.0
    for level in range(len(path)):
        weight /= len({other[level] for other in paths if len(other) > level and other[:level] == path[:level]})
    return weight
