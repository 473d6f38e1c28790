"""One of two processes that evaluate a share of the cases: ``metric_worker.py RANK FOLDER``."""

import sys

import torch

import nacl_monai
from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric
from tests.metrics.oracles import random_case

SHARES = (slice(0, 3), slice(3, 4))


def data():
    probs, labels = random_case((4, 3, 10, 11))
    labels[3] = 0  # a case without foreground
    return probs, labels


def main(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(SHARES)
    )
    probs, labels = data()
    metric = CalibrationMetric()
    metric(probs[SHARES[rank]], labels[SHARES[rank]])
    results = [metric.aggregate(), vars(metric.case_bins()), nacl_monai.__file__]
    metric.reset()
    if rank == 0:
        metric(probs, labels)
    try:
        metric.aggregate()
    except InputError as error:
        results.append(str(error))
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
