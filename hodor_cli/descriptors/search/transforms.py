"""Cheap changes to descriptors before they are compared: normalisation, whitening, projection, averaging over frames.

Each returns a function from (n, C) to (n, D) rows, except averaging, which needs to know the rows' frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.descriptors.store.schema import RowIndex
from hodor_cli.descriptors.store.vectors import Transform, Vectors, unit_length

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor


def standardise(vectors: Vectors) -> Transform:
    """Every channel to mean 0 and variance 1 over the rows given, then every row to length 1."""
    count, total, squares = 0, np.zeros(0), np.zeros(0)
    for _, block in vectors:
        values = block.astype(np.float64)
        count += len(values)
        total = values.sum(axis=0) + (total if len(total) else 0)
        squares = (values**2).sum(axis=0) + (squares if len(squares) else 0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return lambda rows: unit_length(((rows - mean) / deviation).astype(np.float32))


def decoder_query(model: Hodor) -> Transform:
    """The query with which the decoder asks the pixels for an object: `instance_query_proj` of its descriptor."""
    projection = model.decoder.instance_query_proj
    weight, bias = projection.weight.detach().cpu().numpy(), projection.bias.detach().cpu().numpy()
    return lambda rows: rows @ weight.T + bias


def within_object_whitening(vectors: np.ndarray, instance: np.ndarray, shrink: float = 0.1) -> Transform:
    """A projection learned from objects seen several times: directions in which one object varies count less.

    vectors (n, C) and instance (n,), the number of the object each row shows. Rows are mapped so that the covariance of
    an object around its own mean becomes the identity (shrunk by `shrink` towards a sphere), then to length 1.
    """
    values = vectors.astype(np.float64)
    _, numbers = np.unique(instance, return_inverse=True)
    counts = np.bincount(numbers)
    means = np.stack([np.bincount(numbers, values[:, c]) for c in range(values.shape[1])], axis=1) / counts[:, None]
    around = values - means[numbers]
    covariance = around.T @ around / max(len(values) - len(counts), 1)
    covariance = (1 - shrink) * covariance + shrink * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    strength, axes = np.linalg.eigh(covariance)
    whitening = (axes / np.sqrt(strength)).astype(np.float32)
    centre = values.mean(axis=0).astype(np.float32)
    return lambda rows: unit_length((rows - centre) @ whitening)


def average_over_frames(vectors: np.ndarray, index: RowIndex, radius: int) -> np.ndarray:
    """Each row becomes the mean of its object's rows among those at most `radius` places before or after it."""
    order = np.lexsort((index.frame, index.instance))
    ordered = vectors[order].astype(np.float64)
    instance = index.instance[order]
    edges = np.flatnonzero(np.diff(instance)) + 1
    result = np.empty_like(ordered)
    for start, end in zip([0, *edges], [*edges, len(order)], strict=True):
        sums = np.concatenate([np.zeros((1, ordered.shape[1])), np.cumsum(ordered[start:end], axis=0)])
        place = np.arange(end - start)
        low, high = np.maximum(place - radius, 0), np.minimum(place + radius + 1, end - start)
        result[start:end] = (sums[high] - sums[low]) / (high - low)[:, None]
    averaged = np.empty_like(vectors)
    averaged[order] = result
    return averaged
