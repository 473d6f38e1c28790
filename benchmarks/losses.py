"""Time and memory of the losses beside their counterparts, and their values with ``--compare``.

In each round every candidate runs forward and backward once, so that a busy machine slows all of
them alike. Times are medians over the rounds, and ratios are ratios of medians.

    python benchmarks/losses.py              the table of time and memory
    python benchmarks/losses.py --compare    our values and MONAI's, side by side
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import monai
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from nacl_monai import losses

SHAPES = ((16, 4, 224, 224), (2, 4, 96, 96, 96))
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def unfold_nacl(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """NACL whose prior is the mean over windows that are unfolded from the one-hot labels."""
    dims = labels.ndim - 1
    one_hot = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    windows = F.pad(one_hot, [1, 1] * dims)
    for axis in range(2, 2 + dims):
        windows = windows.unfold(axis, 3, 1)
    proportions = windows.flatten(2 + dims).mean(-1)
    return F.cross_entropy(logits, labels) + 0.1 * (proportions - logits).abs().mean()


def candidates(classes: int, dims: int) -> dict[str, Loss]:
    """The losses to measure, cross-entropy first."""
    return {
        "torch cross_entropy": F.cross_entropy,
        "NACLLoss": losses.NACLLoss(),
        "NACLLoss, gaussian": losses.NACLLoss(prior="gaussian"),
        "MONAI NACLLoss": monai.losses.NACLLoss(classes, dims),
        "NACL by unfold": unfold_nacl,
        "CrossEntropyLoss": losses.CrossEntropyLoss(),
        "DiceCELoss": losses.DiceCELoss(),
        "FocalLoss": losses.FocalLoss(),
        "ECPLoss": losses.ECPLoss(),
        "LabelSmoothingLoss": losses.LabelSmoothingLoss(),
        "SVLSLoss": losses.SVLSLoss(),
        "MbLSLoss": losses.MbLSLoss(),
        "ML1ACELoss, hard": losses.ML1ACELoss(),
        "ML1ACELoss, soft": losses.ML1ACELoss(binning="soft"),
        "CRaCLoss": losses.CRaCLoss(),
        "SDCLoss": losses.SDCLoss(),
        "DCALoss": losses.DCALoss(),
    }


def step(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Runs forward and backward once, which sets the gradient of the logits."""
    logits.grad = None
    loss(logits, labels).backward()
    if logits.is_cuda:
        torch.cuda.synchronize()


def seconds(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Returns the wall-clock time of one step."""
    start = time.perf_counter()
    step(loss, logits, labels)
    return time.perf_counter() - start


def peak_bytes(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> int:
    """Returns the peak memory of one step, beyond logits and labels."""
    logits.grad = None
    if logits.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(loss, logits, labels)
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step(loss, logits, labels)
    events = trace.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    in_use = peak = 0
    for _, change in changes:
        in_use += change
        peak = max(peak, in_use)
    return peak


def measure(shape: tuple[int, ...], rounds: int, device: str) -> list[tuple[str, float, float]]:
    """Returns name, median seconds and peak memory (as a multiple of the logits) of each candidate."""
    generator = torch.Generator().manual_seed(0)
    batch, classes, *spatial = shape
    logits = torch.randn(shape, generator=generator).to(device).requires_grad_()
    labels = torch.randint(classes, (batch, *spatial), generator=generator).to(device)
    measured = {
        name: loss.to(device) if isinstance(loss, torch.nn.Module) else loss
        for name, loss in candidates(classes, len(spatial)).items()
    }
    size = logits.numel() * logits.element_size()
    for loss in measured.values():
        step(loss, logits, labels)
    memory = {name: peak_bytes(loss, logits, labels) / size for name, loss in measured.items()}
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, loss in measured.items():
            times[name].append(seconds(loss, logits, labels))
    return [(name, statistics.median(times[name]), memory[name]) for name in measured]


def print_speed(rounds: int, device: str) -> None:
    """Prints the table of time and memory."""
    where = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    print(f"torch {torch.__version__}, MONAI {monai.__version__}, {where}, {rounds} rounds\n")
    print("| logits | loss | ms | × cross-entropy | peak, × logits | of it beyond the gradient |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for shape in SHAPES:
        rows = measure(shape, rounds, device)
        base = rows[0][1]
        for name, median, memory in rows:
            print(
                f"| {'×'.join(map(str, shape))} | {name} | {1000 * median:.1f} | "
                f"{median / base:.2f} | {memory:.2f} | {memory - 1:.2f} |"
            )


def comparisons() -> list[tuple[str, float, float]]:
    """Returns our value and MONAI's on the same input, one pair per statement in the docs."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 32, 32, generator=generator)
    labels = torch.randint(3, (2, 32, 32), generator=generator)
    channel = labels.unsqueeze(1)
    inside = torch.zeros_like(labels, dtype=torch.bool)
    inside[:, 1:-1, 1:-1] = True
    ones = torch.ones(1, 8, 8, dtype=torch.int64)
    ours = losses.neighborhood_proportions
    theirs = monai.losses.NACLLoss(3, 2).get_constr_target
    gauss = monai.losses.NACLLoss(3, 2, kernel_ops="gaussian").get_constr_target
    point = torch.zeros(1, 15, 15, dtype=torch.int64)
    point[0, 7, 7] = 1
    focal = {"to_onehot_y": True, "use_softmax": True}
    dice_ce = monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)
    half = channel.clone()
    half[:, :, :16] = 255
    return [
        (
            "NACL prior, mean of class 1 inside",
            ours(labels, 3)[:, 1][inside].mean().item(),
            theirs(labels)[:, 1][inside].mean().item(),
        ),
        (
            "NACL prior of an all-ones map, corner",
            ours(ones, 3)[0, 1, 0, 0].item(),
            theirs(ones)[0, 1, 0, 0].item(),
        ),
        (
            "NACL prior of an all-ones map, edge",
            ours(ones, 3)[0, 1, 0, 4].item(),
            theirs(ones)[0, 1, 0, 4].item(),
        ),
        (
            "Gaussian prior, weight of the center",
            ours(point, 3, prior="gaussian")[0, 1, 7, 7].item(),
            gauss(point)[0, 1, 7, 7].item(),
        ),
        (
            "Gaussian prior, voxels that weigh, kernel_size=3",
            (ours(point, 3, prior="gaussian")[0, 1] > 0).sum().item(),
            (gauss(point)[0, 1] > 0).sum().item(),
        ),
        (
            "NACL loss, random labels",
            losses.NACLLoss()(logits, labels).item(),
            monai.losses.NACLLoss(3, 2)(logits, labels).item(),
        ),
        ("CE+DSC", losses.DiceCELoss()(logits, channel).item(), dice_ce(logits, channel).item()),
        (
            "Focal, gamma 3",
            losses.FocalLoss()(logits, channel).item(),
            monai.losses.FocalLoss(gamma=3.0, **focal)(logits, channel).item(),
        ),
        (
            "Focal, gamma 0 (cross-entropy)",
            losses.FocalLoss(gamma=0.0)(logits, channel).item(),
            monai.losses.FocalLoss(gamma=0.0, **focal)(logits, channel).item(),
        ),
        (
            "Focal, gamma 0, half of the voxels ignored",
            losses.FocalLoss(gamma=0.0, ignore_index=255)(logits, half).item(),
            monai.losses.FocalLoss(gamma=0.0, ignore_index=255, **focal)(logits, half).item(),
        ),
        (
            "Deep supervision, CE+DSC, 3 equal outputs",
            losses.DeepSupervisionLoss(losses.DiceCELoss())([logits] * 3, channel).item(),
            monai.losses.DeepSupervisionLoss(dice_ce)([logits] * 3, channel).item(),
        ),
    ]


def print_comparison() -> None:
    """Prints the table of values."""
    print(f"| value | ours | MONAI {monai.__version__} |")
    print("| --- | ---: | ---: |")
    for name, ours, theirs in comparisons():
        print(f"| {name} | {ours:.4g} | {theirs:.4g} |")


def main() -> None:
    """Parses the command line and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true", help="print values instead of times")
    parser.add_argument("--rounds", type=int, default=20, help="measured rounds (default 20)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", message=".*CUDA.*")
    if arguments.compare:
        print_comparison()
    else:
        print_speed(arguments.rounds, arguments.device)


if __name__ == "__main__":
    main()
