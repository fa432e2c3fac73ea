"""What needs processes of their own: a training that is killed again and again, or while features are computed, and one on two
devices or two machines.

Tiny networks on a phantom (synthetic); nothing is learnt here.
"""
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import warm

from chexnet_nb.data.dataset import prepare_data

pytestmark = pytest.mark.xdist_group("training") # On one data folder
ROOT = Path(__file__).parents[1]
ENV = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
CHEXNET = [sys.executable, "-m", "chexnet_nb"]
TINY = "--task chexnet14 --architecture densenet_28 --no-pretrained --size 28 --split random --seed 6".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    "A phantom release; its random split has an even number of training images, odd ones to validate and to test on."
    folder = tmp_path_factory.mktemp("phantom")/"data"
    for argv in (["phantom", folder, "--patients", 14, "--size", 64], ["prepare", folder, "--size", 28]):
        assert warm.chexnet(*argv)[0] == 0
    counts = prepare_data(folder, 28, split="random", seed=6, progress=False).split["split"].value_counts()
    assert [int(counts[fold] % 2) for fold in ("train", "val", "test")] == [0, 1, 1], f"choose another seed: {dict(counts)}"
    return folder


def train(data, out, *argv, start=CHEXNET):
    "A process that trains, started as from a terminal."
    return subprocess.Popen([*start, "train", str(data), "--out", str(out), *TINY, *map(str, argv)], env=ENV, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def forked(data, out, *argv):
    "A process that trains, forked where everything is imported: it trains at once."
    return warm.Started(["train", data, "--out", out, *TINY, *argv])


def finished(*processes):
    "Wait for processes that must succeed."
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-3000:]


def same(a, b):
    "Two runs have the same weights, predictions and losses, to the last digit."
    for name in ("model.safetensors", "predictions_val.csv", "predictions_test.csv", "thresholds.json"):
        assert (a/name).read_bytes() == (b/name).read_bytes(), name
    curves = [pd.read_csv(run/"curves.csv").drop(columns=["seconds", "images_per_second"]) for run in (a, b)]
    assert curves[0].equals(curves[1]), curves


def killed(data, out, kills, wait, *argv):
    "Train, with SIGKILL at random moments of work; what it takes to finish."
    draw = random.Random(0)
    epochs = argv[len(argv)-1-argv[::-1].index("--epochs")+1]
    for n in range(kills):
        process, seen, end = forked(data, out, *argv), checkpoints(out), time.time()+120
        gone_on = lambda: checkpoints(out) != seen and rows(out) >= n*epochs//(kills+1)
        while process.poll() is None and not gone_on() and time.time() < end: time.sleep(.01)
        time.sleep(draw.random()*wait)
        assert process.poll() is None, process.communicate()[1][-3000:]
        process.kill()
        process.communicate()
    finished(forked(data, out, *argv))


def rows(run):
    "Epochs done."
    return len(pd.read_csv(run/"curves.csv")) if (run/"curves.csv").exists() else 0


def checkpoints(run):
    "When the last checkpoint was written."
    file = run/"checkpoints/last.ckpt"
    try: return file.stat().st_mtime_ns
    except FileNotFoundError: return None


EVERY = ("--batch-size", 4, "--epochs", 3, "--max-shift", 2, "--checkpoint-every", 3)
SINCE = ("--schedule", "cosine", "--ema-decay", .9, "--min-crop", .8, "--weight-decay", .01)


def test_killed_within_epochs(data, tmp_path):
    finished(train(data, tmp_path/"whole", *EVERY[:-2], *SINCE))
    killed(data, tmp_path/"killed", 2, .2, *EVERY, *SINCE)
    same(tmp_path/"whole", tmp_path/"killed")


@pytest.mark.slow
def test_killed_ten_times(data, tmp_path):
    batches = "--batch-size", 8, "--accumulate-batches", 2
    more = (*EVERY, *batches, "--epochs", 11, "--early-stop-patience", 11, "--lr-patience", -1)
    finished(forked(data, tmp_path/"whole", *more))
    killed(data, tmp_path/"killed", 10, .5, *more)
    same(tmp_path/"whole", tmp_path/"killed")


FROZEN = ("--recipe", "frozen", "--architecture", "densenet121", "--size", 64)


def test_killed_while_features_are_computed(data, tmp_path):
    "What was computed is kept, and the network is the same to the last digit."
    finished(forked(data, tmp_path/"whole", *FROZEN, "--cache", tmp_path/"first"))
    cache, argv = tmp_path/"second", (*FROZEN, "--cache", tmp_path/"second")
    def computed(): return sum(np.count_nonzero(np.fromfile(sums, np.int64)) for sums in cache.glob("features/*/sums.i64"))
    process, end = forked(data, tmp_path/"killed", *argv), time.time()+120
    while process.poll() is None and not computed() and time.time() < end: time.sleep(.005)
    process.kill()
    process.communicate()
    kept, images = computed(), len(pd.read_csv(tmp_path/"killed/split.csv"))
    assert 0 < kept < images
    process = forked(data, tmp_path/"killed", *argv)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0 and f"features of {kept} of {images} images are there" in err, err[-3000:]
    same(tmp_path/"whole", tmp_path/"killed")


# Batch-norm is frozen here: each device's statistics of its own half are what two devices differ by on purpose.
HALVES = ("--epochs", 2, "--batch-norm", "frozen", "--lr", 1e-4, "--no-flip", "--precision", "32-true")


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    "A run on one device."
    out = tmp_path_factory.mktemp("one")/"run"
    finished(forked(data, out, *HALVES, "--batch-size", 8))
    return out


def alike(one, two):
    "Two devices at half the batch come to what one comes to, and predict every image once."
    a, b = (pd.read_csv(run/"curves.csv") for run in (one, two))
    assert (a["val_loss"]-b["val_loss"]).abs().max() < 1e-4 and (a["train_loss"]-b["train_loss"]).abs().max() < 1e-4, (a, b)
    for fold in ("val", "test"):
        a, b = (pd.read_csv(run/f"predictions_{fold}.csv").drop(columns="Trained On") for run in (one, two))
        assert a["Image Index"].equals(b["Image Index"])
        assert (a.drop(columns="Image Index")-b.drop(columns="Image Index")).abs().max().max() < 1e-3


def test_two_processes(data, one, tmp_path):
    finished(train(data, tmp_path/"two", *HALVES, "--batch-size", 4, "--devices", 2))
    alike(one, tmp_path/"two")


def test_two_machines(data, one, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--master-addr",
                "localhost", "--master-port", str(port)]
    start = lambda node: [*torchrun, "--node-rank", str(node), "-m", "chexnet_nb"]
    finished(*(train(data, tmp_path/"two", *HALVES, "--batch-size", 4, start=start(node)) for node in range(2)))
    alike(one, tmp_path/"two")
    refused = forked(data, tmp_path/"none", *HALVES, "--devices", 40)
    assert "40 devices, but a subset of" in refused.communicate()[1] and refused.returncode == 2
