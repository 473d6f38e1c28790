"""Slow, obvious forms of the equations, voxel by voxel."""

import itertools
import math

import torch


def each(value, axes):
    """A number for every axis, or the numbers that there are."""
    return value if isinstance(value, (list, tuple)) else [value] * axes


def gaussian_weight(sigma):
    """A Gaussian of the distance; ``sigma`` is one for all axes, or one for each."""

    def weight(j, i):
        steps = [b - a for a, b in zip(j, i, strict=True)]
        pairs = zip(steps, each(sigma, len(j)), strict=True)
        return math.exp(-sum(s**2 / (2 * w**2) for s, w in pairs))

    return weight


def mean_weight(_j, _i):
    """Every voxel weighs the same."""
    return 1.0


def svls_weight(sigma, radius, dims):
    """A Gaussian whose center is the sum of all its neighbors."""
    gaussian, middle = gaussian_weight(sigma), (0,) * dims
    steps = itertools.product(*(range(-r, r + 1) for r in each(radius, dims)))
    center = sum(gaussian(middle, step) for step in steps if any(step))
    return lambda j, i: gaussian(j, i) if i != j else center


def bilateral_weight(image, sigma, intensity_sigma):
    """A Gaussian of the distance times one of the difference in ``image``, ``(M, *spatial)``."""
    gaussian, shape = gaussian_weight(sigma), image.shape[1:]

    def at(i):
        near = tuple(min(max(a, 0), n - 1) for a, n in zip(i, shape, strict=True))
        return image[(slice(None), *near)].double()

    def weight(j, i):
        difference = float(((at(i) - at(j)) ** 2).mean())
        return gaussian(j, i) * math.exp(-difference / (2 * intensity_sigma**2))

    return weight


def mean(values):
    """The mean of an iterable of numbers."""
    values = [float(value) for value in values]
    return sum(values) / len(values)


def barrier(z, t):
    """Equation 8 of Kervadec et al.: the log-barrier extension of z ≤ 0."""
    if z <= -1 / t**2:
        return -math.log(-z) / t
    return t * z - math.log(1 / t**2) / t + 1 / t


def log_barrier(d, t=5.0):
    """Both inequalities of d = 0, less their constant."""
    return barrier(d, t) + barrier(-d, t) - 2 * barrier(0.0, t)


def voxels(logits, labels):
    """Probabilities, logits and shares of each voxel that has shares, for ``(B, C, *spatial)``."""
    doubles = (x.detach().double().movedim(1, -1) for x in (logits, labels))
    flat, shares = (x.reshape(-1, logits.shape[1]) for x in doubles)
    for scores, share in zip(flat, shares, strict=True):
        if share.any():
            yield scores.softmax(0), scores, share


def cross_entropy(logits, labels, alpha=0.0):
    """Mean of -(1 - α) Σ y log p - α / K Σ log p."""
    return mean(
        -sum(((1 - alpha) * y[k] + alpha / len(y)) * p[k].log() for k in range(len(y)))
        for p, _, y in voxels(logits, labels)
    )


def focal(logits, labels, gamma):
    """Mean of -Σ y (1 - p)^γ log p."""
    return mean(
        -sum(y[k] * (1 - p[k]) ** gamma * p[k].log() for k in range(len(y)))
        for p, _, y in voxels(logits, labels)
    )


def dice(logits, labels, smooth=1e-5):
    """One minus the soft Dice score with the smaller of probability and share in common."""
    scores = []
    for image, shares in zip(logits.detach().double().softmax(1), labels, strict=True):
        for p, y in zip(image, shares, strict=True):
            common, sizes = 0.0, 0.0
            for i in itertools.product(*map(range, p.shape)):
                if shares[(slice(None), *i)].any():
                    common += min(float(p[i]), float(y[i]))
                    sizes += float(p[i]) + float(y[i])
            scores.append((2 * common + smooth) / (sizes + smooth))
    return 1 - mean(scores)


def dice_plus_plus(logits, labels, gamma=2.0, alpha=0.5, smooth=1e-5):
    """One minus right / (right + α Σ excess^γ + (1 - α) Σ lack^γ), a mean over images and classes."""
    scores = []
    for image, shares in zip(logits.detach().double().softmax(1), labels, strict=True):
        for p, y in zip(image, shares, strict=True):
            right, wrong, missed = 0.0, 0.0, 0.0
            for i in itertools.product(*map(range, p.shape)):
                if shares[(slice(None), *i)].any():
                    right += min(float(p[i]), float(y[i]))
                    wrong += max(float(p[i]) - float(y[i]), 0) ** gamma
                    missed += max(float(y[i]) - float(p[i]), 0) ** gamma
            scores.append(
                (right + smooth) / (right + alpha * wrong + (1 - alpha) * missed + smooth)
            )
    return 1 - mean(scores)


def proportions(shares, weight, border="valid", radius=1):
    """Equation 2: the weighted mean of shares ``(K, *spatial)`` over the window, where there are any.

    ``weight(j, i)`` weighs neighbor i of voxel j. Under ``replicate``, i may be outside and has the
    label of the nearest voxel.
    """
    result = torch.zeros_like(shares, dtype=torch.float64)
    shape = shares.shape[1:]
    steps = [range(-r, r + 1) for r in each(radius, len(shape))]
    for j in itertools.product(*map(range, shape)):
        total = 0.0
        for step in itertools.product(*steps):
            i = tuple(a + b for a, b in zip(j, step, strict=True))
            near = tuple(min(max(a, 0), n - 1) for a, n in zip(i, shape, strict=True))
            here = shares[(slice(None), *near)].double()
            if (border == "valid" and near != i) or not here.any():
                continue
            result[(slice(None), *j)] += weight(j, i) * here
            total += weight(j, i)
        if total:
            result[(slice(None), *j)] /= total
    return result


def shares_of(labels, num_classes, ignore_index=None):
    """Label maps ``(B, 1, *spatial)`` as shares ``(B, C, *spatial)``; none where they are ignored."""
    counted = labels != ignore_index
    return torch.cat([(labels == k) & counted for k in range(num_classes)], 1).double()


def memberships(p, num_bins, binning):
    """To which bins a probability belongs, as pairs of a bin and a share of it."""
    if binning == "hard":
        last = num_bins - 1
        return [(next(m for m in range(num_bins) if p <= (m + 1) / num_bins or m == last), 1.0)]
    centers = [(m + 0.5) / num_bins for m in range(num_bins)]
    if p <= centers[0]:
        return [(0, 1.0)]
    if p >= centers[-1]:
        return [(num_bins - 1, 1.0)]
    right = next(m for m in range(num_bins) if p < centers[m])
    share = (p - centers[right - 1]) * num_bins
    return [(right - 1, 1 - share), (right, share)]


def ml1ace(logits, shares, num_bins, binning, ignore_empty=True):
    """Mean over images, classes and bins with voxels of |mean probability - mean share|."""
    errors = []
    for image, labels in zip(logits, shares, strict=True):
        voxels_of_image = list(voxels(image[None], labels[None]))
        for k in range(logits.shape[1]):
            sums = [[0.0, 0.0, 0.0] for _ in range(num_bins)]
            for p, _, y in voxels_of_image:
                for m, share in memberships(float(p[k]), num_bins, binning):
                    for n, value in enumerate((1.0, float(p[k]), float(y[k]))):
                        sums[m][n] += share * value
            gaps = [abs(p - y) / n for n, p, y in sums if n >= 0.01]
            absent = not any(y[k] > 0 for _, _, y in voxels_of_image)
            counts = gaps and not (ignore_empty and absent)
            errors.append(sum(gaps) / len(gaps) if counts else 0.0)
    return mean(errors)


def crac_violations(logits, shares, margin=5.0):
    """For every voxel that counts: 0 and |m τ - l| if it is inner, 1 and |τ - l| if it is outer."""
    for image, labels in zip(logits.detach().double(), shares, strict=True):
        tau = proportions(labels, mean_weight)
        for j in itertools.product(*map(range, labels.shape[1:])):
            if labels[(slice(None), *j)].any():
                near = tau[(slice(None), *j)]
                region = int(sum(float(t) > 0 for t in near) > 1)
                factor = 1.0 if region else margin
                yield region, (factor * near - image[(slice(None), *j)]).abs()


def crac(logits, shares, multipliers, parameters, margin=5.0):
    """Mean over voxels, classes and regions of the function of Powell, Hestenes and Rockafellar."""

    def phr(h, rho, lam):  # as it is defined, for constraints h ≤ 0
        return (max(0.0, lam + rho * h) ** 2 - lam**2) / (2 * rho)

    values = []
    for region, h in crac_violations(logits, shares, margin):
        for r in (0, 1):
            for k in range(len(h)):
                here = float(h[k]) if r == region else 0.0
                values.append(phr(here, parameters[r][k], multipliers[r][k]))
    return mean(values)


def signed_distances(labels, k, ignore_index=None):
    """The distance of every voxel of ``(*spatial)`` to the border of class k, from 1 to -1."""
    counted = [j for j in itertools.product(*map(range, labels.shape)) if labels[j] != ignore_index]
    inside = [j for j in counted if labels[j] == k]
    outside = [j for j in counted if labels[j] != k]
    found = {}
    for j in counted:
        opposite, sign = (outside, 1) if labels[j] == k else (inside, -1)
        found[j] = sign * min((math.dist(i, j) for i in opposite), default=math.inf)
    finite = inside and outside
    largest = max(map(abs, found.values())) if finite else 1.0
    return {j: d / largest if finite else math.copysign(1.0, d) for j, d in found.items()}


def distance_penalty(logits, labels, ignore_index=None):
    """Mean over voxels and classes of |2p - 1 - d|."""
    values = []
    for image, label in zip(logits.detach().double().softmax(1), labels[:, 0], strict=True):
        for k, p in enumerate(image):
            for j, d in signed_distances(label, k, ignore_index).items():
                values.append(abs(2 * float(p[j]) - 1 - d))
    return mean(values)


def morphed(labels, k, operation, ignore_index=None):
    """The voxels of ``(*spatial)`` that an operation makes of the mask of class k, as a set."""
    grid = [j for j in itertools.product(*map(range, labels.shape)) if labels[j] != ignore_index]

    def window(j):
        return [i for i in grid if all(abs(a - b) <= 1 for a, b in zip(i, j, strict=True))]

    def dilation(mask):
        return {j for j in grid if any(i in mask for i in window(j))}

    def erosion(mask):
        return {j for j in grid if all(i in mask for i in window(j))}

    mask = {j for j in grid if labels[j] == k}
    return {
        "erosion": lambda: erosion(mask),
        "dilation": lambda: dilation(mask),
        "opening": lambda: dilation(erosion(mask)),
        "closing": lambda: erosion(dilation(mask)),
        "inner": lambda: mask - erosion(mask),
        "outer": lambda: dilation(mask) - mask,
        "gradient": lambda: dilation(mask) - erosion(mask),
    }[operation]()


def morphology_penalty(logits, labels, operation, ignore_index=None):
    """Mean over voxels and classes of |p - share of the class in what is left in the window|."""
    values = []
    for image, label in zip(logits.detach().double().softmax(1), labels[:, 0], strict=True):
        masks = [morphed(label, k, operation, ignore_index) for k in range(len(image))]
        for j in itertools.product(*map(range, label.shape)):
            if label[j] == ignore_index:
                continue
            steps = itertools.product(range(-1, 2), repeat=label.ndim)
            near = [tuple(a + b for a, b in zip(j, step, strict=True)) for step in steps]
            counts = [sum(i in mask for i in near) for mask in masks]
            for p, count in zip(image[(slice(None), *j)], counts, strict=True):
                values.append(abs(float(p) - count / max(sum(counts), 1)))
    return mean(values)
