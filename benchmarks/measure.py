"What the benchmarks measure with: the wall time of an act, processes of their own for what is compared, the machine's own limit."
import multiprocessing
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


class Apart:
    "An act in a process of its own, so that what one way sets for its process (memory, threads) helps no other."
    def __init__(self, prepare, *given): # A function of a module, and its arguments; its context gives the act
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, prepare, given))
        self.process.start()
        self.pipe.recv()

    def seconds(self):
        "Wall time of the act, once more."
        self.pipe.send(True)
        return self.pipe.recv()

    def end(self):
        "End the process."
        self.pipe.send(False)
        self.process.join()


def _serve(pipe, prepare, given):
    with prepare(*given) as act:
        pipe.send("ready")
        while pipe.recv(): pipe.send(seconds(act))
