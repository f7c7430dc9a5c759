"""Freed memory goes back to the system."""

import sys

import pytest
import torch

from brevitas_defakeq.memory_release import give_back


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory")
def test_freed_layers_leave_the_process():
    del [torch.ones(7 << 20)][0]  # 28 MB freed once: from now on glibc keeps blocks of that size
    before = resident()
    layers = [torch.ones(1 << 20) for _ in range(50)]  # 4 MB each
    last = torch.ones(1 << 18)  # lies above them
    del layers
    give_back()
    assert resident() - before < 60e6, last.shape
