"Installed means working: the wheel, built from the sdist and put where pip puts it, runs from an empty folder."
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.xdist_group("wheel") # Built and installed once
ROOT = Path(__file__).parents[1]
START = "import sys; from chexnet_nb.report.cli import main; sys.exit(main())"


def python(*arguments, cwd, path=""):
    "Run this environment's Python with nothing but `path` before its own packages; returns what it said."
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env |= {"PYTHONPATH": str(path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-3000:])
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "The wheel of the sdist of this checkout: what is not in the sdist is not in the wheel either."
    work = tmp_path_factory.mktemp("build")
    copy = work/"checkout"
    keep_out = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "reports", "_docs",
                                      "_proc", "runs")
    shutil.copytree(ROOT, copy, ignore=keep_out)
    build = "import sys; from setuptools.build_meta import build_{0} as b; print(b(sys.argv[1]))"
    python("-c", build.format("sdist"), work, cwd=copy)
    shutil.unpack_archive(next(work.glob("*.tar.gz")), work/"sdist")
    python("-c", build.format("wheel"), work, cwd=next((work/"sdist").iterdir()))
    return next(work.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    "The wheel installed into a folder of its own."
    site = tmp_path_factory.mktemp("site")
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel, cwd=site)
    return site


@pytest.fixture
def chexnet(installed, tmp_path):
    "The installed command, run from an empty folder; it must not find the checkout."
    where = python("-c", "import chexnet_nb; print(chexnet_nb.__file__)", cwd=tmp_path, path=installed)
    assert Path(where.strip()).is_relative_to(installed), where
    return lambda *arguments: python("-c", START, *arguments, cwd=tmp_path, path=installed)


def test_everything_travels(wheel):
    inside = {n.removeprefix("chexnet_nb/") for n in zipfile.ZipFile(wheel).namelist()}
    for part, folder in {"experiments": "nbs/experiments", "published": "data/published", "assets": "chexnet_nb/assets"}.items():
        kinds = (".ipynb", ".yaml", ".csv", ".css", ".html", ".js", ".j2", ".json")
        files = [p for p in (ROOT/folder).rglob("*") if p.is_file() and p.suffix in kinds]
        here = [f"{part}/{p.relative_to(ROOT/folder).as_posix()}" for p in files if ".ipynb_checkpoints" not in p.parts]
        assert here and set(here) <= inside, set(here)-inside


def test_training_and_index(chexnet, tmp_path):
    small = dict(patients=60, size=64, epochs=1, control_epochs=0, n_boot=20)
    chexnet("run", "chexnet14", *(a for k, v in small.items() for a in ("-p", f"{k}={v}")))
    chexnet("index")
    assert "chexnet14/index.html" in Path(tmp_path/"reports/index.html").read_text()


def test_statistics(chexnet, installed, tmp_path):
    simulate = ("from chexnet_nb.data.labels import read_labels, label_matrix\n"
                "from chexnet_nb.metrics.predictions import simulate_predictions\n"
                "from chexnet_nb.readers.panel import simulate_readers\n"
                "rows, few = read_labels().head(1500), ['Effusion', 'Mass']\n"
                "simulate_predictions(rows, few).to_csv('p.csv', index=False)\n"
                "simulate_readers(rows['Image Index'][:200], label_matrix(rows[:200], few), few)"
                ".to_csv('readers.csv', index=False)")
    python("-c", simulate, cwd=tmp_path, path=installed)
    chexnet("evaluate", "p.csv", "--n-boot", 50, "--synthetic")
    assert list(pd.read_csv(tmp_path/"reports/evaluate-p/auroc.csv").finding) == ["Effusion", "Mass", "mean"]
    chexnet("run", "radiologists", "-p", "readers=readers.csv", "-p", "predictions=p.csv", "-p", "n_boot=50",
            "-p", "synthetic=true")
    assert "Synthetic data" in (tmp_path/"reports/radiologists/index.html").read_text()
    assert "radiologists" in chexnet("experiments")
