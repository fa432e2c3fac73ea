"""The release at its full size, without its 42 GB: all 112,120 rows through labels, splits, the cache's bookkeeping, an epoch of
loading and an evaluation, each in a process of its own, with its time and peak memory.

    python benchmarks/rehearsal.py [FOLDER]

The pixels are a sparse file: 5.6 GB long, nearly nothing on disk. Peak memory is that of the process and its loader's workers
together: "own" is what they have allocated (pages they share counted once), "resident" the sum of what `ps` shows (libraries and
other shared pages counted in each process).
Writes rehearsal.csv beside this script.
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent

STAGES = {
    "nothing: import the package's torch-free modules":
        "import chexnet_nb.data.labels, chexnet_nb.data.splits, chexnet_nb.data.cache",
    "labels and splits": """
        from chexnet_nb.data.labels import read_labels
        from chexnet_nb.data.splits import random_split
        split = random_split(read_labels())
        assert len(split) == 112_120 and "torch" not in sys.modules""",
    "cache bookkeeping: index, stamps and records of 112,120 images": """
        import numpy as np
        from chexnet_nb.data.cache import _assign_rows, _close, _find_stale, _open
        from chexnet_nb.data.labels import read_labels
        names = read_labels()["Image Index"].tolist()
        cache = Path(sys.argv[1])
        cache.mkdir(parents=True, exist_ok=True)
        sources = {n: (f"images/{n}", 400_000, 1) for n in names}
        index, mtimes = _open(cache, 224)
        rows = _assign_rows(_find_stale(sources, index, mtimes), {}, index)
        same = {"stamp": 1, "bytes": 400_000, "file_crc32": 0, "width": 1024, "height": 1024, "mode": "L", "crc32": 0}
        records = [{"row": r, "Image Index": n, "file": f"images/{n}"} | same for n, r in rows.items()]
        _close(cache, 224, index, mtimes, records, [])""",
    "a second prepare that finds nothing to do": """
        from chexnet_nb.data.cache import build_cache
        from chexnet_nb.data.labels import read_labels
        sources = {n: (f"images/{n}", 400_000, 1) for n in read_labels()["Image Index"]}
        assert len(build_cache(sys.argv[1], 224, sources, lambda names: (), progress=False)) == 112_120""",
    "empty loading: two batches, no worker": "LOADER\nload(cache, 0, 32)",
    "an epoch of loading, no worker": "LOADER\nload(cache, 0)",
    "empty loading: two batches, 2 workers": "LOADER\nload(cache, 2, 32)",
    "an epoch of loading, 2 workers": "LOADER\nload(cache, 2)",
    "checksums of every row (verify)": """
        from chexnet_nb.data.cache import Cache
        assert len(Cache(sys.argv[1]).verify()) == 112_120""",
    "write predictions of every image (synthetic)": """
        import numpy as np
        import pandas as pd
        from chexnet_nb.data.labels import FINDINGS, label_matrix, read_labels
        from chexnet_nb.metrics.predictions import write_predictions
        table = read_labels()
        truth = label_matrix(table)
        scores = 1/(1+np.exp(-(truth-1 + np.random.default_rng(0).normal(0, 2, truth.shape))))
        predictions = pd.DataFrame(scores, columns=FINDINGS)
        predictions.insert(0, "Image Index", table["Image Index"])
        write_predictions(predictions, Path(sys.argv[1]).parent/"predictions.csv")""",
    "evaluation and its report: 112,120 images, 14 findings, 1,000 samples of patients": """
        import pandas as pd
        from chexnet_nb.report.experiment import run_experiment
        folder = Path(sys.argv[1]).parent
        asked = dict(predictions=folder/"predictions.csv", n_boot=1000, synthetic=True)
        out = run_experiment("evaluate", parameters=asked, out=folder/"report", progress=False)
        assert len(pd.read_csv(out/"auroc.csv")) == 15""",
}
LOADER = """
import time
import torch
from torch.utils.data import DataLoader
from chexnet_nb.data.dataset import Radiographs, as_is
from chexnet_nb.data.cache import Cache
from chexnet_nb.data.labels import label_matrix, read_labels
torch.set_num_threads(1)

def load(cache, workers, most=None):
    table = read_labels()
    data = Radiographs(cache, table["Image Index"], label_matrix(table))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:most].tolist()
    seen = 0
    for images, _ in DataLoader(data, 16, sampler=order, collate_fn=as_is, num_workers=workers):
        seen += len(images)
        if seen == most: time.sleep(1)
    assert seen == (most or 112_120)

cache = Cache(sys.argv[1])
"""


def family(pid):
    "A process and its descendants."
    found = [pid]
    for p in found: found += [int(c) for c in Path(f"/proc/{p}/task/{p}/children").read_text().split()]
    return found


def memory(pid):
    "(own, resident) bytes of a process and its descendants."
    total = [0, 0]
    for p in family(pid):
        for line in Path(f"/proc/{p}/smaps_rollup").read_text().splitlines():
            key, value = line.split()[:2] if ":" in line.split()[0] else ("", 0)
            if key in ("Pss_Anon:", "Pss_Shmem:"): total[0] += 1024*int(value)
            if key == "Rss:": total[1] += 1024*int(value)
    return total


def run(code, cache):
    "Seconds, and peak own and resident bytes, of a stage."
    code = "import sys\nfrom pathlib import Path\n" + dedent(code).replace("LOADER", LOADER)
    begin, peak = time.perf_counter(), [0, 0]
    process = subprocess.Popen([sys.executable, "-c", code, str(cache)])
    while process.poll() is None:
        try: peak = [max(a, b) for a, b in zip(peak, memory(process.pid))]
        except (OSError, ProcessLookupError): pass
        time.sleep(.05)
    if process.returncode: sys.exit(f"a stage failed:\n{code}")
    return time.perf_counter()-begin, *peak


def main(folder=None):
    import pandas as pd
    with tempfile.TemporaryDirectory(dir=folder) as place:
        rows = []
        for name, code in STAGES.items():
            seconds, *peak = run(code, Path(place)/"224")
            rows.append((name, seconds, *(p/1e6 for p in peak)))
            print(f"{name}: {rows[-1][1]:.1f} s, {rows[-1][2]:.0f} MB own, {rows[-1][3]:.0f} MB resident", flush=True)
            if "bookkeeping" in name: os.truncate(Path(place)/"224"/"images.npy", 128+112_120*224**2)
    table = pd.DataFrame(rows, columns=["stage", "seconds", "peak own, MB", "peak resident, MB"])
    table.round(1).to_csv(Path(__file__).with_suffix(".csv"), index=False)
    peak = table.set_index("stage")[["peak own, MB", "peak resident, MB"]]
    for w in ("no worker", "2 workers"):
        above = peak.loc[f"an epoch of loading, {w}"] - peak.loc[f"empty loading: two batches, {w}"]
        print(f"an epoch over an empty one, {w}:", above.round().to_dict())


if __name__ == "__main__": main(*sys.argv[1:])
