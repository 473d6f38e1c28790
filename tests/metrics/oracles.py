"""Random and adversarial inputs for the metrics' tests, and slow, obvious versions of the metrics."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from nacl_monai.metrics import CalibrationMetric
from tests.same import same_bits


def measured(probs, labels, mask=None, **options):
    """A metric with these options that has seen one batch, or one list of cases."""
    metric = CalibrationMetric(**options)
    metric(probs, labels, mask=mask)
    return metric


def random_case(shape, seed=0, scale=2.0):
    """Probabilities of shape (B, C, *spatial) and labels (B, *spatial) drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    probs = (scale * torch.randn(shape, generator=generator)).softmax(1)
    flat = probs.movedim(1, -1).reshape(-1, shape[1])
    labels = torch.multinomial(flat, 1, generator=generator)
    return probs, labels.reshape(shape[0], *shape[2:])


@st.composite
def cases(draw):
    """Small volumes, 2-D and 3-D, with saturated, tied and edge probabilities among them."""
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(2, 4)),
        *draw(st.lists(st.integers(1, 4), min_size=2, max_size=3)),
    )
    seed = draw(st.integers(0, 2**16))
    kind = draw(st.sampled_from(["soft", "saturated", "coarse"]))
    generator = torch.Generator().manual_seed(seed)
    if kind == "soft":
        probs = (3 * torch.randn(shape, generator=generator)).softmax(1)
    elif kind == "saturated":
        probs = (200 * torch.randn(shape, generator=generator)).softmax(1)
    else:  # multiples of 1/15 and 1/10: on the edges, and often tied
        parts = draw(st.sampled_from([10, 15]))
        cuts = torch.randint(
            0, parts + 1, (shape[0], shape[1] - 1, *shape[2:]), generator=generator
        )
        cuts = cuts.sort(1).values
        low = torch.cat([torch.zeros_like(cuts[:, :1]), cuts], 1)
        high = torch.cat([cuts, torch.full_like(cuts[:, :1], parts)], 1)
        probs = ((high - low).double() / parts).float()
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    mask = torch.rand(labels.shape, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.1]))
    return probs, labels, mask


def same_sums(first, second):
    """Two sums over voxels hold the same tensors, to the bit."""
    for ours, other in zip(first.tensors(), second.tensors(), strict=True):
        same_bits(ours, other, "voxels of a case are added one by one in their order")


def bin_of(probability, edges):
    """The first bin whose upper edge is not below the probability."""
    return next(i for i, upper in enumerate(edges[1:]) if probability <= upper)


def slow_bins(probs, labels, mask, num_bins):
    """Counts, positives and sums by a loop over voxels; probs (B, C, *spatial)."""
    classes = probs.shape[1]
    flat = probs.movedim(1, -1).reshape(-1, classes).numpy()
    indices = labels.flatten().tolist()
    keep = mask.flatten().tolist() if mask is not None else [True] * len(indices)
    edges = [flat.dtype.type(i / num_bins) for i in range(num_bins + 1)]
    counts, positives, sums = (np.zeros((classes + 1, num_bins)) for _ in range(3))
    for vector, label, kept in zip(flat, indices, keep, strict=True):
        if not kept:
            continue
        predicted = int(np.argmax(vector))
        for k, (p, hit) in enumerate(
            [(vector[predicted], predicted == label)]
            + [(vector[c], label == c) for c in range(classes)]
        ):
            i = bin_of(p, edges)
            counts[k, i] += 1
            positives[k, i] += hit
            sums[k, i] += float(p)
    return counts, positives, sums


def slow_errors(counts, positives, sums):
    """ECE, ACE, MCE and confidence gap of one class by a loop over its bins."""
    total = sum(counts)
    gaps = [(n, s / n - h / n) for n, h, s in zip(counts, positives, sums, strict=True) if n]
    if not gaps:
        return (math.nan,) * 4
    return (
        sum(n / total * abs(gap) for n, gap in gaps),
        sum(abs(gap) for _, gap in gaps) / len(gaps),
        max(abs(gap) for _, gap in gaps),
        sum(n / total * gap for n, gap in gaps),
    )


def distances_in(structure, sizes):
    """SciPy's distance of each voxel to a structure of one case; infinite without one."""
    if not structure.any():
        return np.full(structure.shape, np.inf)
    return distance_transform_edt(~np.asarray(structure), sampling=sizes)


def slow_near(prediction, margin, sizes):
    """What is within a margin of a predicted structure, or exactly as far; one case."""
    return torch.from_numpy(distances_in(prediction != 0, sizes) <= margin + 1e-6)


def slow_boundary_band(labels, width, sizes):
    """What is closer than the width to a voxel that has a face neighbor of another label; one case."""
    grid = labels.numpy()
    border = np.zeros(grid.shape, dtype=bool)
    for place, other in product(np.ndindex(grid.shape), repeat=2):
        border[place] |= math.dist(place, other) == 1 and grid[place] != grid[other]
    return torch.from_numpy(distances_in(border, sizes) < width)


def slow_adaptive_error(confidences, hits, num_bins):
    """Each voxel cut into ``num_bins`` equal parts, so that every bin holds whole parts.

    Voxels of equal confidence share their hits, as nothing tells them apart.
    """
    ordered = sorted(set(confidences))
    share = {
        c: np.mean([h for d, h in zip(confidences, hits, strict=True) if d == c]) for c in ordered
    }
    parts = [(c, share[c]) for c in sorted(confidences) for _ in range(num_bins)]
    size = len(confidences)
    bins = [parts[i * size : (i + 1) * size] for i in range(num_bins)]
    return sum(abs(sum(c - h for c, h in part)) for part in bins) / len(parts)
