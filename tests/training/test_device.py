"""A GPU is used where there is one."""

import pytest
import torch

from nacl_monai.training import default_device


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_gpu_goes_before_cpu(monkeypatch, available, device):
    """Without a number: the current one, which torchrun's processes have set."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)

    assert default_device() == torch.device(device)
