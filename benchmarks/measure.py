"What the benchmarks measure with: the wall time of an act, and the machine's own limit."
import time

import torch


def seconds(act):
    "Wall time of an act."
    start = time.perf_counter()
    act()
    return time.perf_counter()-start


def peak(side=2048):
    "Floating-point operations a second of the machine's matrix multiplication, float32, the best of seven."
    a, b = torch.randn(2, side, side)
    return 2*side**3/min(seconds(lambda: a @ b) for _ in range(7))
