"""Hostile input, one case each: one message that names the thing, the right exit code, no traceback, the earlier state whole.

`python tests/test_hostile.py` tries every case and prints how many were met, by area; `-m "not slow"` leaves out the slow ones.
"""
import contextlib
import gzip
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import urllib.error
import urllib.request
import zipfile
import zlib
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from warm import Started

from chexnet_nb.report.cli import main

os.environ["OMP_NUM_THREADS"] = "1" # These networks are too small for more
ROOT = Path(__file__).parents[1]
START = "import sys; from chexnet_nb.report.cli import main; sys.exit(main())"
SMALL = ("--architecture", "densenet_28", "--no-pretrained", "--size", 28, "--split", "official", "--precision", "32-true")


class Case(NamedTuple):
    area: str
    what: str
    try_it: Callable # Called with the ground and a folder of its own
    slow: bool


CASES = []


def case(area, what, slow=False):
    "Register a function as a case."
    def register(function):
        CASES.append(Case(area, what, function, slow))
        return function
    return register


def chexnet(*argv, cwd=None):
    "Exit code, stdout and stderr of a command line, in this process; anything but a `SystemExit` that leaves it is a traceback."
    out, err, was = io.StringIO(), io.StringIO(), os.getcwd()
    os.chdir(cwd or was)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try: code = main([str(a) for a in argv])
            except SystemExit as e: code = e.code
    finally: os.chdir(was)
    return code, out.getvalue(), err.getvalue()


def start(*argv, cwd=ROOT, code=START):
    "The command in a process of its own, whose memory is told or limited."
    env = os.environ | dict(PYTHONPATH=str(ROOT), PYTHONWARNINGS="ignore")
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, "-c", code, *map(str, argv)], cwd=cwd, env=env, start_new_session=True, **pipes)


def state(folder):
    "Every path below a folder and what is in it."
    def held(path):
        if path.is_symlink(): return os.readlink(path)
        return path.read_bytes() if path.is_file() else path.is_dir()
    return {str(p.relative_to(folder)): held(p) for p in sorted(folder.rglob("*"))}


def said(err, *words):
    "The message is one, without a traceback, and has the words."
    assert "Traceback" not in err, err
    assert len(re.findall(r"^chexnet[ :].*?:", err, re.M)) == 1, err
    for word in words: assert re.search(word, err), f"{word!r} not in: {err}"


def refused(here, *argv, says=(), code=2, may=(), **how):
    "The command is refused, and nothing below `here` changed but what `may` names by the beginning of its path."
    kept = lambda: {p: v for p, v in state(here).items() if not any(p.startswith(m) for m in may)}
    before = kept()
    found, out, err = chexnet(*argv, **how)
    said(err, *([says] if isinstance(says, str) else says))
    assert found == code, f"exit code {found}: {err}"
    assert kept() == before, set(kept()) ^ set(before) or "contents changed"


class Ground:
    "What cases need, made once: a phantom (synthetic), a run, tables."
    def __init__(self, folder): self.folder = Path(folder)

    @cached_property
    def data(self):
        code, _, err = chexnet("phantom", self.folder/"data", "--patients", 14, "--size", 64)
        assert code == 0, err
        return self.folder/"data"

    @cached_property
    def run(self):
        code, _, err = chexnet("train", self.data, "--task", "chexnet14", "--out", self.folder/"run", *SMALL, "--epochs", 1)
        assert code == 0, err
        return self.folder/"run"

    @cached_property
    def tables(self):
        from chexnet_nb.data.labels import label_matrix, read_labels
        from chexnet_nb.metrics.predictions import simulate_predictions
        from chexnet_nb.readers.panel import simulate_readers
        rows, few = read_labels().head(300), ["Effusion", "Mass"]
        self.folder.joinpath("tables").mkdir()
        simulate_predictions(rows, few).to_csv(self.folder/"tables/p.csv", index=False)
        said = simulate_readers(rows["Image Index"][:60], label_matrix(rows[:60], few), few)
        said.to_csv(self.folder/"tables/r.csv", index=False)
        return self.folder/"tables"

    @property
    def p(self): return self.tables/"p.csv"

    @property
    def r(self): return self.tables/"r.csv"

    @cached_property
    def image(self): return next((self.data/"images").glob("*.png"))

    def copy(self, what, here):
        "A copy of the data folder or of the run."
        return Path(shutil.copytree(getattr(self, what), here/what))


def png(rows, width=64, height=64):
    "A PNG with valid checksums of so many rows."
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind+data))
    pixels = np.random.default_rng(0).integers(1, 256, (rows, width), dtype=np.uint8)
    lines = b"".join(b"\0"+line.tobytes() for line in pixels)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) \
        + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")


def jpeg(cut=None):
    "A JPEG, or the first bytes of one with an end mark."
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue() if cut is None else out.getvalue()[:cut] + b"\xff\xd9"


def folder_of(here, **files):
    "A data folder with a good image, a label table that names it, and whatever else."
    data = here/"data"
    data.mkdir()
    (data/"00000001_000.png").write_bytes(png(64))
    for name, content in files.items(): (data/name.replace("__", ".")).write_bytes(content)
    return data


# 1 What runs ---------------------------------------------------------------------------------------

@case("code that lies there", "modules planted in the data folder, which is the present one")
def _(g, here):
    data = folder_of(here)
    for i in range(2, 132): (data/f"{i:08d}_000.png").write_bytes(png(64))
    for name in ("struct", "pickle", "zlib", "sitecustomize"): (data/f"{name}.py").write_text(f"open('{here}/ran', 'w')")
    script = here/"chexnet.py"
    script.write_text(START)
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, script, "prepare", ".", "--workers", "2"], cwd=data, capture_output=True, text=True,
                          env=env)
    assert done.returncode == 0 and not (here/"ran").exists(), done.stderr


@case("code that lies there", "experiments planted in a parent folder")
def _(g, here):
    (here/"nbs/experiments/presets").mkdir(parents=True)
    (here/"nbs/experiments/chexnet14.ipynb").write_text("planted")
    (here/"nbs/experiments/mine.ipynb").write_text("planted")
    (here/"work").mkdir()
    refused(here, "run", "mine", says="unknown experiment 'mine'; valid: ", cwd=here/"work")
    code, out, err = chexnet("experiments", cwd=here/"work")
    assert code == 0 and "chexnet14" in out and "mine" not in out


class Evil:
    "Makes a file `ran` where it is unpickled."
    def __reduce__(self): return os.system, ("touch ran",)


def evil_files(here):
    "Malicious files of weights: a state dict, a checkpoint, a module's attribute, a bare pickle; each in both forms of torch's."
    import pickle

    import torch
    here.mkdir()
    holder = torch.nn.Linear(2, 2)
    holder.extra = Evil()
    for i, what in enumerate(({"classifier.weight": Evil()}, {"state_dict": {"x": torch.ones(1)}, "y": Evil()}, holder)):
        for new in (True, False): torch.save(what, here/f"{i}{new}.pth", _use_new_zipfile_serialization=new)
    (here/"bare.pkl").write_bytes(pickle.dumps(Evil()))
    return sorted(here.iterdir())


@case("code that lies there", "malicious pickles offered to import, which runs nothing")
def _(g, here):
    for file in evil_files(here/"evil"):
        code, _, err = chexnet("import", file, "--out", here/"x", cwd=here)
        said(err, "does not load as tensors only")
        assert code == 2 and "\x1b" not in err, err
        for how in (["--pickled"], ["--architecture", "xrv:densenet121-res224-nih"], ["--architecture", "torchvision:resnet18"]):
            code, _, err = chexnet("import", file, "--out", here/"x", *how, "--size", 64, cwd=here)
            assert code == 2 and "Traceback" not in err, err
    assert not list(here.rglob("ran")) and not Path("ran").exists() and not (here/"x").exists()


def exhausting_files(here):
    "Files of weights made to take memory, time or the process of whoever reads them: name -> what the refusal says."
    import pickle

    import torch
    from torch.nn import Linear, ModuleList
    pickled = {"deep": b"\x80\x02}" + b")" + b"\x85"*3_000_000 + b"K\x01s.", "memo": b"\x80\x02}r\x00\x00\x00\x10."}
    for name, content in pickled.items():
        with zipfile.ZipFile(here/f"{name}.pth", "w") as z: z.writestr("a/data.pkl", content)
    with zipfile.ZipFile(here/"deflated.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        with z.open("a/data.pkl", "w", force_zip64=True) as part:
            for _ in range(1500): part.write(bytes(1 << 20))
    module = Linear(1, 1)
    for _ in range(40): module = ModuleList([module, module])
    torch.save(module, here/"twice.pth")
    one = torch.zeros(6_000_000)
    torch.save(dict({f"t{i}": one for i in range(200)}, x=Evil()), here/"shared.pth")
    header = lambda n: json.dumps({f"t{i}": dict(dtype="U8", shape=[0], data_offsets=[0, 0]) for i in range(n)}).encode()
    for name, head in (("many", header(100_000)), ("wide", b" "*99_000_000 + b"{}"), ("promised", b"{}")):
        length = 1 << 62 if name == "promised" else len(head)
        (here/f"{name}.safetensors").write_bytes(struct.pack("<Q", length) + head)
    says = dict(deep="ended its process", memo="more than 1 GB", deflated="compressed", wide="99,000,002",
                twice="modules in each other", shared="is not a densenet121", many="100,000 tensors", promised="header of")
    return {next(here.glob(f"{name}.*")): word for name, word in says.items()}


LIMITED = """import json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
import torch
from chexnet_nb.report.cli import main
import chexnet_nb.runs.external
used = int(open("/proc/self/statm").read().split()[0])*resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), used + (2 << 30)))
for file in sys.argv[1:]: print(json.dumps(main(["import", file, "--out", "out", "--pickled"])))
"""


@case("code that lies there", "weights made to exhaust memory or time, or to crash: refused within two gigabytes", slow=True)
def _(g, here):
    files = exhausting_files(here)
    process = start(*files, cwd=here, code=LIMITED)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0 and "Traceback" not in err and out.split() == ["2"]*len(files), err
    lines = err.splitlines()
    assert len(lines) == len(files), err
    for line, (file, word) in zip(lines, files.items()): assert file.name in line and word in line, line
    assert not (here/"out").exists() and not (here/"ran").exists()


@case("code that lies there", "malicious pickles as the last and the best checkpoint of a run that goes on")
def _(g, here):
    file = next(f for f in evil_files(here/"evil") if f.name.startswith("1"))
    command = ("train", g.data, "--task", "chexnet14", "--out", here/"run", *SMALL, "--epochs", 1)
    (here/"run/checkpoints").mkdir(parents=True)
    about = json.loads((g.run/"run.json").read_text()) | dict(status="training")
    (here/"run/run.json").write_text(json.dumps(about))
    for name in ("split.csv", "split.json"): (g.run/name).exists() and shutil.copy(g.run/name, here/"run"/name)
    for name in ("last.ckpt", "best.ckpt"): shutil.copy(file, here/"run/checkpoints"/name)
    code, _, err = chexnet(*command, cwd=here)
    said(err, "last.ckpt and best.ckpt damaged; remove")
    assert code == 2 and not list(here.rglob("ran"))


@case("code that lies there", "a pickle as weights, which is not run")
def _(g, here):
    run = g.copy("run", here)
    (run/"model.safetensors").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    refused(here, "predict", run, g.image, "--out", here/"p.csv", says="safetensors does not load as tensors only", cwd=here)


# 2, 3 Interruptions --------------------------------------------------------------------------------

@contextlib.contextmanager
def stopped_before(epoch, error):
    "Training raises an error at the start of an epoch, counted from 0."
    from chexnet_nb.training.callbacks import Curves
    original = Curves.on_train_epoch_start
    def stop(self, trainer, module):
        original(self, trainer, module)
        if trainer.current_epoch == epoch: raise error
    Curves.on_train_epoch_start = stop
    try: yield
    finally: Curves.on_train_epoch_start = original


def interrupted(g, here, data=None, epochs=3):
    "The command of a run that was stopped before its second epoch."
    command = ("train", data or g.data, "--task", "chexnet14", "--out", here/"run", *SMALL, "--epochs", epochs)
    with stopped_before(1, KeyboardInterrupt()): code, _, err = chexnet(*command)
    assert code == 130, err
    said(err, "stopped; the same command continues")
    return command


@case("interruptions", "Ctrl-C between epochs, then the same command", slow=True)
def _(g, here):
    assert chexnet(*interrupted(g, here))[0] == 0
    assert len(pd.read_csv(here/"run/curves.csv")) == 3


@case("interruptions", "last.ckpt cut off: the run goes on from the best one")
def _(g, here):
    command = interrupted(g, here)
    last = here/"run/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    code, _, err = chexnet(*command)
    assert code == 0 and "last.ckpt is damaged; resuming from best.ckpt" in err, err


@case("interruptions", "every checkpoint cut off", slow=True)
def _(g, here):
    command = interrupted(g, here)
    for file in (here/"run/checkpoints").iterdir(): file.write_bytes(b"PK")
    refused(here, *command, says="last.ckpt and best.ckpt damaged; remove")


def ended(g, here, number, code, argv, ready, first=""):
    "A process that gets a signal when `ready()` holds; its exit code and message."
    process = Started(argv, here, first=first)
    end = time.time() + 120
    while process.poll() is None and not ready() and time.time() < end: time.sleep(.05)
    time.sleep(.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, (process.returncode, err[-2000:])
    said(err, "the same command continues")


for _name, _number, _code in (("SIGTERM", signal.SIGTERM, 143), ("SIGINT", signal.SIGINT, 130)):
    @case("interruptions", f"{_name} while a network is fitted: exit code {_code}", slow=_name == "SIGINT")
    def _(g, here, number=_number, code=_code):
        data = g.data
        ended(g, here, number, code, ("train", data, "--task", "chexnet14", "--out", here/"run", *SMALL, "--epochs", 9999,
                                      "--early-stop-patience", 9999), (here/"run/checkpoints/last.ckpt").exists)
        assert not (here/"run/.lock").exists() and (here/"run/checkpoints/last.ckpt").exists()

    @case("interruptions", f"{_name} while an experiment runs: exit code {_code}", slow=True)
    def _(g, here, number=_number, code=_code):
        values = dict(data=g.data, size=28, architecture="densenet_28", epochs=9999, early_stop_patience=9999)
        ended(g, here, number, code, ("run", "chexnet14", "--out", here/"out", *(a for k, v in values.items() for a in
                                      ("-p", f"{k}={v}"))), (here/"out/run/checkpoints/last.ckpt").exists)
        assert sorted(p.name for p in (here/"out").iterdir()) == ["run"]

    @case("interruptions", f"{_name} while a folder is prepared: exit code {_code}, no worker left")
    def _(g, here, number=_number, code=_code):
        data = folder_of(here)
        for i in range(2, 3000): os.link(data/"00000001_000.png", data/f"{i:08d}_000.png")
        ended(g, here, number, code, ("prepare", data, "--workers", 2), (data/".cache/224/journal.jsonl").exists)


SLOW_END = """import asyncio
from jupyter_client import AsyncKernelManager
end = AsyncKernelManager.cleanup_resources
async def slow(self, *args, **options):
    await asyncio.sleep(1.5)
    await end(self, *args, **options)
AsyncKernelManager.cleanup_resources = slow
"""


@case("interruptions", "SIGINT, and a kernel that takes longer to end than the watch for dead ones waits", slow=True)
def _(g, here):
    cell = lambda code, **about: dict(cell_type="code", metadata=about, source=code, outputs=[], execution_count=None)
    cells = [cell("out = '' # Folder", tags=["parameters"]), cell("import time\nopen('begun', 'w')\ntime.sleep(99)")]
    kernel = dict(kernelspec=dict(name="python3", display_name="Python 3", language="python"))
    (here/"mine").mkdir()
    (here/"mine/a.ipynb").write_text(json.dumps(dict(cells=cells, metadata=kernel, nbformat=4, nbformat_minor=4)))
    ended(g, here, signal.SIGINT, 130, ("run", "a", "--folder", here/"mine", "--out", here/"out"), (here/"begun").exists,
          SLOW_END)


# 4 What is prepared is what is there ---------------------------------------------------------------

def prepared(g, here):
    "A copy of the phantom, prepared."
    data = g.copy("data", here)
    shutil.rmtree(data/".cache", ignore_errors=True)
    assert chexnet("prepare", data, "--size", 28)[0] == 0
    return data, sorted((data/"images").glob("*.png"))


@case("sources", "an image deleted after it was prepared: prepare, train, verify")
def _(g, here):
    data, images = prepared(g, here)
    images[0].unlink()
    refused(here, "prepare", data, "--size", 28, says=f"1 images of the cache .* no source any more: {images[0].name}")
    refused(here, "train", data, "--task", "chexnet14", "--out", here/"run", *SMALL, says="no source any more")
    code, out, err = chexnet("verify", data)
    assert code == 1 and f"1 gone: {images[0].name}" in out
    assert chexnet("prepare", data, "--size", 28, "--on-error", "skip")[0] == 0
    assert f"gone: {images[0].name}" not in chexnet("verify", data)[1]


@case("sources", "an image replaced by rubbish of the same length")
def _(g, here):
    data, images = prepared(g, here)
    images[0].write_bytes(b"?"*images[0].stat().st_size)
    code, out, _ = chexnet("verify", data)
    assert code == 1 and f"changed: {images[0].name}" in out
    refused(here, "prepare", data, "--size", 28, says=[f"{images[0].name}: neither PNG", "skip"], may=("data/.cache",))
    assert chexnet("prepare", data, "--size", 28, "--on-error", "skip")[0] == 0
    from chexnet_nb.data.cache import Cache
    assert images[0].name not in Cache(data/".cache/28").names


@case("sources", "an image replaced by another of the same length and time")
def _(g, here):
    data, images = prepared(g, here)
    time.sleep(.02)
    was, pixels = images[0].stat(), images[0].read_bytes()
    images[0].write_bytes(pixels[:-30]+bytes(30))
    os.utime(images[0], ns=(was.st_atime_ns, was.st_mtime_ns))
    code, out, _ = chexnet("verify", data)
    assert code == 1 and f"changed: {images[0].name}" in out


@case("sources", "an image gone from its archive, another changed in it")
def _(g, here):
    data = here/"data"
    data.mkdir()
    archive(data/"images_001.tar.gz", {f"images/{n}.png": png(64) for n in "abc"})
    assert chexnet("prepare", data, "--size", 28)[0] == 0
    archive(data/"images_001.tar.gz", {"images/a.png": png(64), "images/b.png": jpeg()})
    code, out, _ = chexnet("verify", data)
    assert code == 1 and "1 changed: b.png" in out and "1 gone: c.png" in out, out
    refused(here, "prepare", data, "--size", 28, says="no source any more: c.png", may=("data/",))


@case("sources", "resuming with other labels")
def _(g, here):
    data = g.copy("data", here)
    command = interrupted(g, here, data)
    table = data/"Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("No Finding", "Mass"))
    refused(here, *command, says="holds an unfinished run of another labels")


@case("sources", "resuming with other pixels", slow=True)
def _(g, here):
    data = g.copy("data", here)
    command = interrupted(g, here, data)
    shutil.copy(sorted((data/"images").glob("*.png"))[1], sorted((data/"images").glob("*.png"))[0])
    refused(here, *command, says="holds an unfinished run of another pixels", may=("data/.cache",))


@case("sources", "damaged pixels in the cache: verify says so, --repair and prepare mend it")
def _(g, here):
    data, images = prepared(g, here)
    with open(data/".cache/28/images.npy", "r+b") as f:
        f.seek(128)
        f.write(bytes(99))
    code, out, _ = chexnet("verify", data, "--repair")
    assert code == 1 and "changed" in out
    assert chexnet("prepare", data, "--size", 28)[0] == 0
    assert "changed" not in chexnet("verify", data)[1].replace("unchanged", "")


# 5 Packaging ---------------------------------------------------------------------------------------

@case("packaging", "a wheel from the sdist", slow=True)
def _(g, here):
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/test_wheel.py::test_everything_travels"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# 6, 7 Bad files ------------------------------------------------------------------------------------

def with_bad(g, here):
    "The phantom with an image that does not decode, named by the official lists."
    data = g.copy("data", here)
    bad = sorted((data/"images").glob("*.png"))[2]
    bad.write_text("rubbish")
    return data, bad


@case("bad files", "prepare --on-error skip, then train without and with it")
def _(g, here):
    data, bad = with_bad(g, here)
    assert chexnet("prepare", data, "--size", 28, "--on-error", "skip")[0] == 0
    command = "train", data, "--task", "chexnet14", "--out", here/"run", *SMALL, "--epochs", 1
    refused(here, *command, says=[bad.name, "--on-error skip"], may=("data/.cache",))
    code, _, err = chexnet(*command, "--on-error", "skip")
    assert code == 0, err
    assert bad.name not in (here/"run/split.csv").read_text()


@case("bad files", "an experiment with on_error=skip", slow=True)
def _(g, here):
    data, bad = with_bad(g, here)
    values = dict(data=data, size=28, architecture="densenet_28", epochs=1, control_epochs=0, n_boot=20, on_error="skip")
    code, _, err = chexnet("run", "chexnet14", "--out", here/"out", *(a for k, v in values.items() for a in ("-p", f"{k}={v}")))
    assert code == 0, err


@case("bad files", "maps of i.png and i.jpg: both are kept")
def _(g, here):
    (here/"i.png").write_bytes(png(64))
    (here/"i.jpg").write_bytes(jpeg())
    code, _, err = chexnet("cam", g.run, here/"i.png", here/"i.jpg", "--out", here/"out", "--findings", "Mass")
    assert code == 0, err
    assert {"i.png_Mass.png", "i.jpg_Mass.png"} <= {p.name for p in (here/"out").iterdir()}


@case("bad files", "a broken link, a looping link and a pipe among the images")
def _(g, here):
    data = folder_of(here)
    (data/"broken.png").symlink_to("nowhere")
    (data/"loop.png").symlink_to("loop.png")
    (data/"loop").symlink_to(data)
    os.mkfifo(data/"pipe.png")
    refused(here, "prepare", data, says=["3 files", "broken.png: a broken link", "loop.png: a broken link",
                                         "pipe.png: not a regular file"],
            may=("data/.cache",))
    assert chexnet("prepare", data, "--on-error", "skip")[0] == 0


@case("bad files", "a pipe where each command wants a table")
def _(g, here):
    pipe = here/"pipe.csv"
    os.mkfifo(pipe)
    for argv in (("evaluate", pipe), ("compare", pipe, g.p), ("radiologists", pipe, "--predictions", g.p)):
        found, _, err = chexnet(*argv, "--out", here/"out")
        said(err, "pipe.csv")
        assert found == 2 and not (here/"out").exists()


@case("bad files", "a folder below that cannot be listed")
def _(g, here):
    data = folder_of(here)
    (data/"closed").mkdir()
    listed = os.scandir
    def scandir(path=".", *a):
        if str(path).endswith("closed"): raise PermissionError(13, "Permission denied", str(path))
        return listed(path, *a)
    os.scandir = scandir
    try: found, _, err = chexnet("prepare", data)
    finally: os.scandir = listed
    said(err, "closed cannot be read .Permission denied.")
    assert found == 2


@case("bad files", "an image with the name of another: the path is its name")
def _(g, here):
    from chexnet_nb.data.cache import Cache
    data = folder_of(here)
    (data/"b").mkdir()
    shutil.copy(data/"00000001_000.png", data/"b")
    assert chexnet("prepare", data, "--size", 28)[0] == 0
    assert {"00000001_000.png", "b/00000001_000.png"} <= set(Cache(data/".cache/28").names)


# 8 Outputs and locks -------------------------------------------------------------------------------

OUTPUTS = dict(
    phantom=lambda g, out: ("phantom", out, "--patients", 3), download=lambda g, out: ("download", out, "--archives", 1),
    prepare=lambda g, out: ("prepare", g.data, "--cache", out),
    medmnist=lambda g, out: ("medmnist", "pneumonia", out, "--npz", g.p),
    train=lambda g, out: ("train", g.data, "--task", "chexnet14", "--out", out, *SMALL),
    predict=lambda g, out: ("predict", g.run, g.image, "--out", out), cam=lambda g, out: ("cam", g.run, g.image, "--out", out),
    evaluate=lambda g, out: ("evaluate", g.p, "--out", out), compare=lambda g, out: ("compare", f"a={g.p}", g.p, "--out", out),
    radiologists=lambda g, out: ("radiologists", g.r, "--predictions", g.p, "--out", out),
    run=lambda g, out: ("run", "evaluate", "--out", out))


def places(here):
    "What is wrong with a place -> the place."
    (here/"file").write_text("")
    (here/"link").symlink_to(here/"nowhere")
    found = {"below a file": here/"file/out", "a broken link": here/"link", "below a broken link": here/"link/out",
             "a name too long": here/("x"*300)}
    return found | ({"without permission": Path("/proc/nowhere")} if Path("/proc").exists() else {})


for _command in OUTPUTS:
    @case("outputs", f"{_command} into a place that cannot be written, five kinds")
    def _(g, here, command=_command):
        g.run, g.tables
        for kind, out in places(here).items():
            began = time.time()
            refused(here, *OUTPUTS[command](g, out), says=re.escape(str(out)[:60]))
            assert time.time()-began < 5, f"{kind}: {time.time()-began:.0f} s of work before"

    if _command not in ("download", "prepare"):
        @case("outputs", f"{_command} into the present folder, which holds something")
        def _(g, here, command=_command):
            (here/"mine").write_text("")
            refused(here, *OUTPUTS[command](g, "."), says=r"\.|present folder", cwd=here)


@case("outputs", "no room on the disk: six commands at once", slow=True)
def _(g, here):
    g.run, g.tables
    six = "phantom", "train", "predict", "cam", "evaluate", "run"
    some = {c: Started(OUTPUTS[c](g, here/c), here, room=30_000) for c in six}
    for command, process in some.items():
        _, err = process.communicate(timeout=120)
        said(err, f"{command}.* cannot be written")
        assert process.returncode == 2 and not (here/command).exists(), (command, err)


@case("outputs", "the disk is full while checkpoints are written", slow=True)
def _(g, here):
    process = Started(("train", g.data, "--task", "chexnet14", "--out", here/"run", *SMALL, "--epochs", 1), room=120_000)
    _, err = process.communicate(timeout=120)
    said(err, "cannot be written .File too large.; what was finished is kept")
    assert process.returncode == 2 and not list((here/"run/checkpoints").glob("*.ckpt"))


LAST_STEP = """import resource
from chexnet_nb.runs.run import Run
finish = Run.finish
def full(self, *args, **options):
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
    finish(self, *args, **options)
Run.finish = full
"""


@case("outputs", "the disk is full in the last step of a training, and in an import; the training is finished later", slow=True)
def _(g, here):
    train = TRAIN("--epochs", 1)(g, here)
    process = Started(train, first=LAST_STEP)
    _, err = process.communicate(timeout=120)
    said(err, "out.* cannot be written .File too large.; what was finished is kept: free disk space")
    assert process.returncode == 2 and not list((here/"out").rglob(".*.tmp*")), sorted((here/"out").rglob("*"))
    code, _, err = chexnet(*train)
    assert code == 0, err
    process = Started(("import", here/"out/model.safetensors", "--out", here/"in", *SMALL[:2], "--size", 28), room=500_000)
    _, err = process.communicate(timeout=120)
    said(err, "in cannot be written .File too large.; free disk space")
    assert process.returncode == 2 and sorted(p.name for p in here.iterdir()) == ["out"]


@case("outputs", "standard output that is full")
def _(g, here):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", START, "experiments"], stdout=full, stderr=subprocess.PIPE, text=True,
                              env=os.environ | dict(PYTHONPATH=str(ROOT)))
    assert done.returncode == 2 and "Traceback" not in done.stderr and "No space left" in done.stderr, done.stderr


@case("locks", "train, cam, prepare and run while another process holds their folder")
def _(g, here):
    from chexnet_nb.core.files import folder_lock
    g.run, g.tables
    for command, word in dict(train="training into", cam="drawing maps into", prepare="preparing", run="writing a report",
                              evaluate="writing a report", download="downloading").items():
        with folder_lock(here/command, word): refused(here, *OUTPUTS[command](g, here/command), says="another process is")
        assert not (here/command).exists()


@case("locks", "two evaluations into one folder: the loser gets a message, the winner its report", slow=True)
def _(g, here):
    two = [Started(("evaluate", g.p, "--out", here/"out", "--n-boot", 50)) for _ in range(2)]
    done = [(p.communicate(timeout=300)[1], p.returncode) for p in two]
    assert sorted(code for _, code in done) == [0, 2], done
    said(next(err for err, code in done if code), "another process is|never overwritten|not empty")
    assert (here/"out/index.html").exists() and (here/"out/auroc.csv").exists()


@case("locks", "a folder with the lock file of a process that was killed")
def _(g, here):
    (here/"run").mkdir()
    (here/"run/.lock").touch()
    code, _, err = chexnet("train", g.data, "--task", "chexnet14", "--out", here/"run", *SMALL, "--epochs", 1)
    assert code == 0, err


# 9 Values ------------------------------------------------------------------------------------------

TRAIN = lambda *more, task="chexnet14": lambda g, here: ("train", g.data, "--task", task, "--out", here/"out", *SMALL, *more)
EVALUATE = lambda *more: lambda g, here: ("evaluate", g.p, "--out", here/"out", *more)
RADIOLOGISTS = lambda *more: lambda g, here: ("radiologists", g.r, "--predictions", g.p, "--out", here/"out", *more)
RUN = lambda *more, name="evaluate": lambda g, here: ("run", name, "--out", here/"out", *more)
VALUES = [
    (TRAIN("--precision", "fp32"), "unknown precision 'fp32'; valid: auto, 32-true"),
    (TRAIN("--devices", 0), "devices 0; allowed"), (TRAIN("--devices", -1), "devices -1; allowed"),
    (TRAIN("--lr", "nan"), "lr nan; allowed"), (TRAIN("--lr", "inf"), "lr inf"), (TRAIN("--lr", 0), "lr 0"),
    (TRAIN("--lr", "x"), "invalid float value: 'x'"), (TRAIN("--seed", -1), "seed -1; allowed"),
    (TRAIN("--epochs", 0), "epochs 0"),
    (TRAIN("--batch-size", 0), "batch_size 0"), (TRAIN("--architecture", "x"), "architecture 'x'"),
    (TRAIN("--absent", "skip"), "--absent has been renamed; use --missing"),
    (TRAIN("--split", "x"), "unknown split 'x'"), (TRAIN("--missing", "x"), "missing='x'"),
    (TRAIN("--on-error", "x"), "on_error 'x'"),
    (TRAIN(task="x"), "unknown task 'x'"), (TRAIN("--size", 99999), "size 99999"),
    (lambda g, here: ("prepare", g.data, "--size", 3), "size 3; allowed: 8 to 4096"),
    (lambda g, here: ("prepare", g.data, "--workers", 0), "workers 0; allowed"),
    (lambda g, here: ("prepare", g.data, "--workers", -2), "workers -2; allowed"),
    (lambda g, here: ("prepare", g.data, "--on-error", "x"), "on_error 'x'"),
    (lambda g, here: ("download", here/"out", "--jobs", 0), "jobs 0; allowed"),
    (lambda g, here: ("download", here/"out", "--archives", "0-99"), "archives '0-99'"),
    (lambda g, here: ("phantom", here/"out", "--seed", -1), "seed"),
    (lambda g, here: ("phantom", here/"out", "--patients", 0), "patients"),
    (lambda g, here: ("phantom", here/"out", "--size", 1), "size"),
    (lambda g, here: ("cam", g.run, g.image, "--out", here/"out", "--findings", "Mass,Mass"), "Mass asked for twice"),
    (lambda g, here: ("cam", g.run, g.image, "--out", here/"out", "--findings", "Maas"), "Maas"),
    (EVALUATE("--findings", "Mass,mass"), "Mass asked for twice"), (EVALUATE("--n-boot", 10**9), "n_boot 1,?000,?000,?000"),
    (EVALUATE("--n-boot", -5), "n_boot -5"), (EVALUATE("--seed", -1), "seed -1; allowed"),
    (EVALUATE("--labels", "none"), "none"), (RADIOLOGISTS("--thresholds", "none.csv"), "no such file: none.csv"),
    (RADIOLOGISTS("--seed", "1.5"), "invalid .*value"), (RADIOLOGISTS("--findings", "Mass,Mass"), "asked for twice"),
    (RUN("-p", "n_boot={a"), "n_boot '{a'; allowed: a whole number"),
    (RUN("-p", "n_boot"), "-p n_boot: a parameter is given"), (RUN("-p", "n_boot=1000000000"), "n_boot 1000000000; allowed"),
    (RUN("-p", "seed=-1"), "seed -1; allowed"), (RUN("-p", "seed=[1"), r"seed '\[1'; allowed: a whole number"),
    (RUN("-p", "cluster=maybe"), "cluster 'maybe'; allowed: True or False"), (RUN("-p", "nboot=3"), "unknown parameter nboot"),
    (RUN("--preset", "x"), "unknown preset 'x'"), (RUN(name="x"), "unknown experiment 'x'"),
    (RUN("-p", "lr=nan", name="chexnet14"), "lr nan; allowed"), (RUN("-p", "lr=inf", name="chexnet14"), "lr inf"),
    (RUN("-p", "epochs=0", name="chexnet14"), "epochs 0; allowed"),
    (RUN("-p", "control_epochs=-1", name="chexnet14"), "control_epochs -1"), (lambda g, here: ("no",), "unknown command 'no'")]


def shown(argv):
    "A command line as a case's name."
    words = dict(data="DATA", p="TABLE", r="READERS", run="RUN", image="IMAGE")
    return " ".join(str(a) for a in argv(type("Words", (), words), Path("")) if a not in SMALL)


for _argv, _says in VALUES:
    @case("values", shown(_argv))
    def _(g, here, argv=_argv, says=_says):
        g.tables
        before, began = state(here), time.time()
        found, _, err = chexnet(*argv(g, here))
        assert "Traceback" not in err and re.search(says, err) and found == 2, (found, err)
        assert state(here) == before and time.time()-began < 20


@case("values", "--thresholds 0.5 is a number and taken", slow=True)
def _(g, here):
    code, out, err = chexnet("radiologists", g.r, "--predictions", g.p, "--out", here/"out", "--thresholds", 0.5, "--n-boot", 50)
    assert code == 0, err


@case("values", "a loss that is not finite stops at once, with step and learning rate")
def _(g, here):
    from chexnet_nb.training.fit import LitCheXNet
    original = LitCheXNet.loss
    LitCheXNet.loss = lambda self, images, labels: original(self, images, labels)*float("nan")
    says = "the training loss is nan in epoch 1, step 1, at a learning rate of 0.001"
    try: refused(here, *TRAIN()(g, here), says=says, may=("out",))
    finally: LitCheXNet.loss = original


@case("values", "pneumonia without a positive")
def _(g, here):
    data = g.copy("data", here)
    table = data/"Data_Entry_2017_v2020.csv"
    table.write_text(re.sub(r"\bPneumonia\b", "Mass", table.read_text()))
    refused(here, "train", data, "--task", "pneumonia", "--out", here/"out", *SMALL, may=("data/.cache",),
            says="0 of .* training images show pneumonia")


# 10 Damaged files ----------------------------------------------------------------------------------

LATIN = "Image Index,Größe\n1.png,1\n".encode("latin-1")
TABLES = {
    "Latin-1": ("t.csv", LATIN), "empty": ("t.csv", b""), "binary": ("t.csv", bytes(range(256))*40),
    "null bytes": ("t.csv", b"\0"*999), "UTF-16": ("t.csv", "Image Index,Mass\n".encode("utf-16")),
    "header alone": ("t.csv", b"Image Index,Mass\n"), "uneven rows": ("t.csv", b"Image Index,Mass\na,1\nb,1,2,3\n"),
    "gzip cut": ("t.csv.gz", gzip.compress(b"Image Index,Mass\n"*9999)[:50]), "no gzip": ("t.csv.gz", b"Image Index,Mass\n"),
    "no zip": ("t.csv.zip", b"PK\3\4 no"), "no bz2": ("t.csv.bz2", b"BZh9 no"), "no xz": ("t.csv.xz", b"\xfd7zXZ\0 no"),
    "no tar": ("t.tar.gz", gzip.compress(b"x"*999)), "no zstd": ("t.csv.zst", b"(\xb5/\xfd no"),
    "a value of 2": ("t.csv", b"Image Index,Mass\na,2\n"), "a word": ("t.csv", b"Image Index,Mass\na,high\n"),
    "a doubled image": ("t.csv", b"Image Index,Mass\na,.2\na,.3\n"), "no finding": ("t.csv", b"Image Index,Maas\na,.2\n")}

for _kind, (_file, _content) in TABLES.items():
    @case("damaged files", f"a table that is {_kind}: as predictions, labels, readers, thresholds, list")
    def _(g, here, file=_file, content=_content):
        from chexnet_nb.core.errors import BadInput
        from chexnet_nb.data.labels import read_labels, read_truth
        from chexnet_nb.metrics.predictions import read_predictions
        from chexnet_nb.metrics.thresholds import read_thresholds
        from chexnet_nb.readers.panel import read_readers
        table = here/file
        table.write_bytes(content)
        for read in (read_predictions, read_labels, read_truth, read_readers, lambda t: read_thresholds(t, ["Mass"])):
            try: read(table)
            except BadInput as e: assert file in str(e) or "row" in str(e) or "threshold" in str(e), e
            else: assert file == "t.csv" and content[:11] in (b"Image Index", "Image".encode("utf-16")[:11])


@case("damaged files", "predictions in Latin-1, through the command", slow=True)
def _(g, here):
    (here/"p.csv").write_bytes(LATIN)
    refused(here, "evaluate", here/"p.csv", "--out", here/"out", says="p.csv is not UTF-8 text")


JUNK = {"cut": b'{"a": ', "binary": b"\xff\xfe\x00", "a list": b"[1]", "empty": b"", "an empty object": b"{}",
        "deep": b"["*100_000}
WRONG = b'{"status": 3, "recipe": [], "findings": 3, "size": "x", "architecture": [], "Mass": "x", "zero": 1}'
for _file in ("run.json", "model.json", "thresholds.json", "cam_scale.json"):
    @case("damaged files", f"{_file} that is cut, binary, a list, empty, deep: predict and cam")
    def _(g, here, file=_file):
        run = g.copy("run", here)
        for content in [*JUNK.values(), WRONG]:
            (run/file).write_bytes(content)
            reads = dict(predict=here/"p.csv", cam=here/"maps") if file in ("run.json", "model.json") else dict(cam=here/"maps")
            for command, out in reads.items():
                found, _, err = chexnet(command, run, g.image, "--out", out)
                assert found in (0, 2) and "Traceback" not in err, err
                if found == 2: said(err, file)
                if found == 0: shutil.rmtree(out) if out.is_dir() else out.unlink()


for _file in ("cache.json", "index.csv", "stamps.csv", "skipped.csv", "images.npy", "journal.jsonl"):
    @case("damaged files", f"{_file} of a cache that is cut, binary, a list, empty, gone: prepare and verify")
    def _(g, here, file=_file):
        data, _ = prepared(g, here)
        place = data/".cache/28"
        whole = state(place)
        for content in [*JUNK.values(), b"row,Image Index\nx,y\n", None]:
            for command in (("prepare", data, "--size", 28), ("verify", data)):
                for name, was in whole.items(): (place/name).write_bytes(was)
                (place/file).unlink(missing_ok=True) if content is None else (place/file).write_bytes(content)
                found, out, err = chexnet(*command)
                assert found in (0, 1, 2) and "Traceback" not in err, (content, err)
                if found == 2: said(err, r"\.cache")


@case("damaged files", "SOURCE.json that is cut, binary, a list, empty, deep")
def _(g, here):
    data = g.copy("data", here)
    for content in JUNK.values():
        (data/"SOURCE.json").write_bytes(content)
        command = "train", data, "--task", "chexnet14", "--out", here/"out", *SMALL
        refused(here, *command, says="SOURCE.json", may=("data/.cache",))


@case("damaged files", "presets that are not YAML, a list, Latin-1; notebooks that are not")
def _(g, here):
    shutil.copytree(ROOT/"nbs/experiments", here/"mine")
    preset = here/"mine/presets/evaluate.demo.yaml"
    for content, says in ((b"a: [", "is not valid YAML"), ("größe: 1".encode("latin-1"), "is not valid YAML"),
                          (b"- 1", "holds list"), (b"x: 1", "unknown parameter x")):
        preset.write_bytes(content)
        refused(here, "run", "evaluate", "--folder", here/"mine", "--out", here/"out", says=says)
    for content in JUNK.values():
        (here/"mine/evaluate.ipynb").write_bytes(content)
        refused(here, "run", "evaluate", "--folder", here/"mine", "--out", here/"out", says="evaluate.ipynb")
    refused(here, "run", "evaluate", "--folder", here/"none", "--out", here/"out", says="no experiment in")


@case("damaged files", "records of reports: index")
def _(g, here):
    out = here/"reports/a"
    out.mkdir(parents=True)
    (out/"index.html").write_text("x")
    for content in JUNK.values():
        (out/"headline.json").write_bytes(content)
        refused(here, "index", "--reports", here/"reports", says="headline.json")


@case("damaged files", "an archive that is a folder, a pipe, a broken link, cut, no archive")
def _(g, here):
    for make in (lambda p: p.mkdir(), os.mkfifo, lambda p: p.symlink_to("none"), lambda p: p.write_bytes(b"x"),
                 lambda p: p.write_bytes(archive(here/"a.tgz", {"a.png": png(64)}).read_bytes()[:200])):
        data = folder_of(here)
        make(data/"images_001.tar.gz")
        refused(here, "prepare", data, says="images_001.tar.gz", may=("data/", "a.tgz"))
        shutil.rmtree(data)


@case("damaged files", "a list that is Latin-1, empty, doubled")
def _(g, here):
    from chexnet_nb.core.errors import BadInput
    from chexnet_nb.data.splits import read_list
    for content in ("größe.png".encode("latin-1"), b"", b"a.png\na.png\n"):
        (here/"l.txt").write_bytes(content)
        with pytest.raises(BadInput, match="l.txt"): read_list(here/"l.txt")


@case("damaged files", "boxes that are words")
def _(g, here):
    from chexnet_nb.core.errors import BadInput
    from chexnet_nb.data.labels import read_boxes
    (here/"BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Mass,left,1,2,3,,,\n")
    with pytest.raises(BadInput, match="BBox_List_2017.csv"): read_boxes(here)


# 11 Pages ------------------------------------------------------------------------------------------

@case("pages", "SOURCE.json with <script> in every field: nothing of it is markup in a report", slow=True)
def _(g, here):
    data, evil = g.copy("data", here), "<script>alert(1)</script>\"><img src=x onerror=alert(2)>"
    about = json.loads((data/"SOURCE.json").read_text()) | dict(title=evil, labels=evil, citation=evil, terms=evil, notes=[evil])
    for synthetic in (True, False):
        (data/"SOURCE.json").write_text(json.dumps(about | dict(synthetic=synthetic)))
        values = dict(data=data, size=28, architecture="densenet_28", epochs=1, control_epochs=0, n_boot=20)
        out = here/f"reports/{synthetic}"
        code, _, err = chexnet("run", "chexnet14", "--out", out, *(a for k, v in values.items() for a in ("-p", f"{k}={v}")))
        assert code == 0, err
    assert chexnet("index", "--reports", here/"reports")[0] == 0
    for page in (here/"reports").rglob("index.html"):
        assert not {"<script>alert", "<img src=x"} & set(re.findall("<script>alert|<img src=x", page.read_text()))


@case("pages", "names with markup in tables and readers stay text")
def _(g, here):
    from chexnet_nb.report.tables import html_table, html_list, synthetic_note
    evil = "<script>alert(1)</script>"
    for made in (html_table(pd.DataFrame({evil: [evil]}), evil), html_list([evil]), synthetic_note(evil)):
        assert "<script" not in made


@case("pages", "the browser's page without its token, and under another host's name", slow=True)
def _(g, here):
    options = re.search(r"^VOILA := (.*)$", (ROOT/"Makefile").read_text(), re.M)[1].split()
    cell = dict(cell_type="code", metadata={}, source="print('only for '+'friends')", outputs=[], execution_count=None)
    kernel = dict(kernelspec=dict(name="python3", display_name="Python 3", language="python"))
    (here/"a.ipynb").write_text(json.dumps(dict(cells=[cell], metadata=kernel, nbformat=4, nbformat_minor=4)))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {f"JUPYTER_{k}_DIR": str(here/k) for k in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "voila", "a.ipynb", *options, "--no-browser", f"--port={port}"]
    server = subprocess.Popen(command, cwd=here, env=env, stdout=subprocess.DEVNULL, stderr=open(here/"log", "w"))
    try:
        while not (found := re.search(r"token=(\w+)", (here/"log").read_text())):
            assert server.poll() is None, (here/"log").read_text()
            time.sleep(.2)
        def ask(path, host="localhost"):
            "Status and page."
            request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers={"Host": host})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer: return answer.status, answer.read().decode()
            except urllib.error.HTTPError as e: return e.code, ""
        assert "only for friends" not in ask("")[1] and "token" in ask("")[1]
        assert ask(f"?{found[0]}", "evil.example")[0] == 403
        assert "only for friends" in ask(f"?{found[0]}")[1]
    finally:
        server.terminate()
        server.wait(20)


# 12 Bombs and half files ---------------------------------------------------------------------------

def archive(path, members):
    "A .tar.gz of name -> contents."
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def bomb(path, kind, size):
    "A .tar.gz whose first header says a length of `size` and has it, in zeros."
    info = tarfile.TarInfo("a.png" if kind == tarfile.REGTYPE else "././@LongLink")
    info.type, info.size = kind, size
    head, zeros, tail = info.tobuf(tarfile.GNU_FORMAT), bytes(1 << 20), tarfile.TarInfo("b.png").tobuf() + bytes(1024)
    check = zlib.crc32(head)
    for _ in range(size >> 20): check = zlib.crc32(zeros, check)
    trailer = struct.pack("<II", zlib.crc32(tail, check), len(head)+size+len(tail))
    packed = deflated(zeros) # Once: after a full flush nothing depends on what came before
    with open(path, "wb") as out:
        out.write(b"\x1f\x8b\x08" + bytes(7) + deflated(head))
        for _ in range(size >> 20): out.write(packed)
        out.write(deflated(tail, zlib.Z_FINISH) + trailer)
    return path


def deflated(data, flush=zlib.Z_FULL_FLUSH):
    "A piece of a deflated stream."
    packer = zlib.compressobj(1, wbits=-15)
    return packer.compress(data) + packer.flush(flush)


BOMBS = {"pax header": tarfile.XHDTYPE, "global pax header": tarfile.XGLTYPE, "long name": tarfile.GNUTYPE_LONGNAME,
         "long link": tarfile.GNUTYPE_LONGLINK, "member": tarfile.REGTYPE}
for _kind, _type in BOMBS.items():
    @case("bombs", f"an archive with a {_kind} of 1 GiB: bounded memory, refused by name", slow=True)
    def _(g, here, kind=_type):
        data = folder_of(here)
        bomb(data/"images_001.tar.gz", kind, 1 << 30)
        process = start("prepare", data, "--workers", 1)
        most = 0
        while process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                most = max(most, int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])*4096)
            time.sleep(.02)
        said(process.stderr.read(), r"images_001.tar.gz.*1,073,741,824 bytes")
        assert process.returncode == 2 and most < 500e6, f"{most/1e6:.0f} MB"


@case("bombs", "a chain of 5,000 headers before a member")
def _(g, here):
    data, info = folder_of(here), tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 9
    with gzip.open(data/"images_001.tar.gz", "wb") as out:
        for _ in range(5000): out.write(info.tobuf(tarfile.GNU_FORMAT) + b"name.png\0".ljust(512, b"\0"))
        out.write(tarfile.TarInfo("b.png").tobuf() + bytes(1024))
    refused(here, "prepare", data, says="images_001.tar.gz is damaged", may=("data/",))


@case("bombs", "an archive without images, and one with a sparse file")
def _(g, here):
    data = folder_of(here)
    archive(data/"images_001.tar.gz", {"read.me": b"hello"})
    sparse = tarfile.TarInfo("s.png")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with gzip.open(data/"images_002.tar.gz", "wb") as out: out.write(sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    says = ["images_001.tar.gz holds no image", "images_002.tar.gz is damaged .a sparse file"]
    refused(here, "prepare", data, says=says, may=("data/",))


@case("bombs", "archives of nothing but text, and no loose image")
def _(g, here):
    (here/"data").mkdir()
    archive(here/"data/images_001.tar.gz", {"read.me": b"hello"})
    refused(here, "prepare", here/"data", says="holds no image", may=("data/",))


IMAGES = {
    "a PNG without its last row": (png(63), "truncated"), "a PNG without half its rows": (png(32), "truncated"),
    "a PNG cut off": (png(64)[:900], "truncated"), "a PNG with a flipped bit": (png(64)[:300]+b"!"+png(64)[301:], "checksum"),
    "a PNG of 40,000 x 40,000": (png(1, 40_000, 40_000), "40,000 x 40,000"), "a JPEG ending early": (jpeg(2000), "truncated"),
    "a JPEG cut off": (jpeg()[:2000], "JPEG"), "nothing": (b"", "empty file"), "HTML": (b"<html>", "neither PNG")}

for _kind, (_content, _says) in IMAGES.items():
    @case("half files", f"{_kind}: prepare, predict and cam give its reason")
    def _(g, here, content=_content, says=_says):
        (here/"bad.png").write_bytes(content)
        refused(here, "predict", g.run, here/"bad.png", "--out", here/"p.csv", says=f"bad.png: {says}|bad.png: .*{says}")
        refused(here, "cam", g.run, here/"bad.png", "--out", here/"maps", says=f"bad.png: .*{says}")
        data = folder_of(here, bad__png=content)
        refused(here, "prepare", data, says=f"bad.png: .*{says}", may=("data/.cache",))


@case("half files", "a DICOM whose decoder is not installed: the package is named")
def _(g, here):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import JPEGLSLossless, SecondaryCaptureImageStorage, generate_uid
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID, data.file_meta.MediaStorageSOPClassUID = JPEGLSLossless, SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SOPClassUID, data.Rows, data.Columns, data.PhotometricInterpretation = SecondaryCaptureImageStorage, 8, 8, "MONOCHROME2"
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 1, 8, 8, 7, 0
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7"+bytes(20)+b"\xff\xd9"])
    data["PixelData"].VR = "OB"
    data.save_as(here/"a.dcm", enforce_file_format=True)
    refused(here, "predict", g.run, here/"a.dcm", "--out", here/"p.csv", says="JPEG-LS.*pip install pylibjpeg")


# 14 Predicting -------------------------------------------------------------------------------------

@case("predicting", "good and bad files: the good ones are written, the bad ones named")
def _(g, here):
    (here/"bad.png").write_bytes(b"x")
    found, out, err = chexnet("predict", g.run, g.image, here/"bad.png", "--out", here/"p.csv")
    said(err, "bad.png: neither PNG")
    assert found == 1 and len(pd.read_csv(here/"p.csv")) == 1


@case("predicting", "files, folders and runs that are not there")
def _(g, here):
    (here/"empty").mkdir()
    refused(here, "predict", g.run, here/"none.png", "--out", here/"p.csv", says="no such file or folder: .*none.png")
    refused(here, "predict", g.run, here/"empty", "--out", here/"p.csv", says="no images in .*empty")
    refused(here, "predict", here/"none", g.image, "--out", here/"p.csv", says="none holds no checkpoint")
    refused(here, "predict", g.run, here/("x"*300), "--out", here/"p.csv", says="x"*300)


@case("predicting", "an output that is there: predictions, maps, reports, runs stay")
def _(g, here):
    g.tables
    for command in ("predict", "cam", "evaluate", "train"):
        (here/command).mkdir()
        (here/command/"probabilities.csv").write_text("mine")
        refused(here, *OUTPUTS[command](g, here/command), says="never overwritten|already holds results|is not a run folder")
    refused(here, "train", g.data, "--task", "chexnet14", "--out", g.run, *SMALL, says="holds a finished run")


# ---------------------------------------------------------------------------------------------------

def marked(c): return pytest.param(c, id=re.sub(r"[^\w .,-]", "", f"{c.area}: {c.what}")[:100], marks=[pytest.mark.slow]*c.slow)


@pytest.fixture(scope="session")
def ground(tmp_path_factory): return Ground(tmp_path_factory.mktemp("ground"))


@pytest.mark.parametrize("tried", list(map(marked, CASES)))
def test_hostile(tried, ground, tmp_path): tried.try_it(ground, tmp_path)


def table(argv):
    "Try every case (or, with --fast, those that are not slow), and print a table by area."
    tried, met, failed = Counter(), Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(folder)
        for i, c in enumerate(c for c in CASES if not (c.slow and "--fast" in argv)):
            tried[c.area] += 1
            here = Path(folder)/f"case{i}"
            here.mkdir()
            try: c.try_it(ground, here)
            except BaseException as e:
                if isinstance(e, KeyboardInterrupt): raise
                failed.append(f"{c.area}: {c.what}\n    {traceback.format_exc(limit=-1)[-1500:]}")
            else: met[c.area] += 1
    rows = [(area, n, met[area], n-met[area]) for area, n in tried.items()]
    rows.append(("all", *(sum(column) for column in list(zip(*rows))[1:])))
    print(pd.DataFrame(rows, columns=["area", "tried", "met", "failed"]).to_string(index=False))
    print("\n".join(["", *failed]))
    return int(bool(failed))


if __name__ == "__main__": sys.exit(table(sys.argv[1:]))
