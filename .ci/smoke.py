"""Imports, a loss, an audit and a promise, in an environment that need not have what tests need."""

import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from nacl_monai import audit
from nacl_monai.promises import promise

for room in ("training.run_record", "bundles.export", "reports", "paper"):
    import_module(f"nacl_monai.{room}")
losses = import_module("nacl_monai.losses")

rng = np.random.default_rng(0)
inside = rng.uniform(size=(8, 6, 6))
labels = (rng.uniform(size=inside.shape) < inside).astype(int)
probs = np.stack([1 - inside, inside], 1)

logits = torch.from_numpy(np.log(probs)).float().requires_grad_()
losses.NACLLoss()(logits, torch.from_numpy(labels)).backward()
assert logits.grad is not None
assert logits.grad.isfinite().all()
# A function that has the name of its module.
expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
torch.testing.assert_close(losses.cross_entropy(logits, torch.from_numpy(labels)), expected)

classes = ["outside", "liver"]
with tempfile.TemporaryDirectory() as folder:
    page = audit(probs, labels, classes=classes).page(Path(folder, "page.html"))
    promised = promise(probs, labels, levels=[0.3], classes=classes)
    promised.save(Path(folder, "promise"))
    print(f"{page.stat().st_size:,} bytes of a page")
print(promised)
