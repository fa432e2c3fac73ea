"""What preparing costs, and what a cached epoch costs, against the usual pipeline and against zlib, which is the floor.

    python benchmarks/images.py DATA1024 [REPEATS]

DATA1024: a folder of 1024 px PNG radiographs. Writes images.csv beside this script. Every figure is the median of REPEATS
rounds; a round measures everything once, so that a busy machine troubles all alike. One thread, except with two workers.
"""
import os
import resource
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision import transforms

from chexnet_nb.data.cache import _prepare_batch, prepare
from chexnet_nb.models.base import to_input
from chexnet_nb.data.images import find_images

torch.set_num_threads(1)
USUAL = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
                            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])


def usual(path): return USUAL(Image.open(path).convert("RGB"))


def inflate(path):
    "Only zlib: the compressed image data of a PNG, inflated."
    data, at, parts = path.read_bytes(), 8, []
    while at < len(data):
        length, = struct.unpack_from(">I", data, at)
        if data[at+4:at+8] == b"IDAT": parts.append(data[at+8:at+8+length])
        at += 12+length
    zlib.decompress(b"".join(parts))


class Rows(torch.utils.data.Dataset):
    "Whole batches of uint8 rows."
    def __init__(self, cache): self.cache = cache
    def __len__(self): return len(self.cache)
    def __getitems__(self, rows): return torch.from_numpy(self.cache.read(rows))


def epoch(cache, seed, use):
    "A shuffled epoch of batches of 16."
    order = torch.Generator().manual_seed(seed)
    for batch in torch.utils.data.DataLoader(Rows(cache), 16, shuffle=True, generator=order, collate_fn=lambda b: b): use(batch)


def clocked(work):
    "Seconds of wall time, and of CPU time of this process and the workers that it started."
    cpu = lambda: time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    wall, begin = time.perf_counter(), cpu()
    work()
    return time.perf_counter()-wall, cpu()-begin


def measure(files, repeats, folder):
    "Milliseconds an image: name -> (wall, cpu), each a list over the rounds."
    many = folder/"many"
    many.mkdir()
    for i in range(16):
        for f in files: (many/f"{i:02d}_{f.name}").symlink_to(f.resolve())
    n, times = 16*len(files), {}
    cache = prepare(many, 224, folder/"cache", progress=False)
    epoch(cache, 0, to_input)
    npy = folder/"rows.npy"
    npy.write_bytes(bytes(128))
    task = [(i, f.name, f.name, 0, None, str(f)) for i, f in enumerate(files)]
    for r in range(repeats):
        rounds = {"usual pipeline": (lambda: [usual(f) for f in files], len(files)),
                  "zlib inflate": (lambda: [inflate(f) for f in files], len(files)),
                  "prepare, one core": (lambda: _prepare_batch(str(npy), 224, task), len(files)),
                  "prepare, 1 worker": (lambda: prepare(many, 224, folder/f"one{r}", workers=1, progress=False), n),
                  "prepare, 2 workers": (lambda: prepare(many, 224, folder/f"two{r}", workers=2, progress=False), n),
                  "cached epoch, uint8 batches": (lambda: epoch(cache, r, lambda batch: None), n),
                  "cached epoch, normalised on the CPU": (lambda: epoch(cache, r, to_input), n)}
        for name, (work, images) in rounds.items():
            wall, cpu = clocked(work)
            times.setdefault(name, []).append((1e3*wall/images, 1e3*cpu/images))
    return times


def main(data, repeats=5):
    files = list(find_images(data).values())
    with tempfile.TemporaryDirectory() as folder: times = measure(files, int(repeats), Path(folder))
    rows = {name: (np.median(t, 0)[0], np.min(t, 0)[0], np.median(t, 0)[1]) for name, t in times.items()}
    columns = ["what", "ms an image (median)", "ms an image (fastest)", "CPU ms an image (median)"]
    table = pd.DataFrame([(name, *row) for name, row in rows.items()], columns=columns)
    ratio = lambda a, b, i=0: np.median([x[i]/y[i] for x, y in zip(times[a], times[b])])
    ratios = pd.DataFrame([
        ("prepare / usual pipeline, one core, CPU time", ratio("prepare, one core", "usual pipeline", 1), "at most 0.75"),
        ("prepare / usual pipeline, one core, wall time", ratio("prepare, one core", "usual pipeline"), "at most 0.75"),
        ("prepare / zlib inflate, CPU time", ratio("prepare, one core", "zlib inflate", 1), "the floor is 1"),
        ("one worker / two workers, wall time", ratio("prepare, 1 worker", "prepare, 2 workers"), "at least 1.8"),
        ("one worker / two workers, if two cores were free: twice the ratio of CPU times",
         2*ratio("prepare, 1 worker", "prepare, 2 workers", 1), "at least 1.8"),
        *((f"usual pipeline / {name}, {clock} time", ratio("usual pipeline", name, i), "at least 100")
          for name in ("cached epoch, uint8 batches", "cached epoch, normalised on the CPU")
          for i, clock in enumerate(("wall", "CPU"))),
    ], columns=["ratio", "measured", "wanted"])
    print(table.round(3).to_string(index=False), ratios.round(3).to_string(index=False), sep="\n\n")
    about = f"{len(files)} PNG files, {repeats} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print("\n"+about)
    here = Path(__file__).parent
    table.round(4).to_csv(here/"images.csv", index=False)
    ratios.round(4).assign(about=about).to_csv(here/"images_ratios.csv", index=False)


if __name__ == "__main__": main(*sys.argv[1:])
