"Each experiment runs from its notebook to its report, on a phantom so small that nothing is learned; the results say that they are synthetic."
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHEXNET = Path(sys.executable).parent/"chexnet"


def chexnet(*arguments):
    "Run the installed command from the checkout."
    return subprocess.run([CHEXNET, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=600)


def run(out, name, *settings):
    "An experiment's headline; its page must exist and hold no traceback."
    parameters = [a for s in settings for a in ("-p", s)]
    done = chexnet("run", name, "--out", out, *parameters)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (out/"index.html").read_text()
    assert "Traceback" not in page and "ynthetic" in page
    return json.loads((out/"headline.json").read_text())


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")/"phantom"
    assert chexnet("phantom", folder, "--patients", 120, "--size", 128).returncode == 0
    return folder


@pytest.fixture(scope="session")
def chexnet14(phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("reports")/"chexnet14"
    headline = run(out, "chexnet14", f"data={phantom}", "epochs=1", "control_epochs=1", "size=64", "n_boot=100")
    assert headline["synthetic"] and len(headline["rows"]) == 3
    return out


def test_chexnet14(chexnet14):
    assert (chexnet14/"auroc.csv").read_text().splitlines()[-1].startswith("mean,")
    again = chexnet("run", "chexnet14", "--out", chexnet14)
    assert again.returncode == 2 and "never overwritten" in again.stderr


def test_pneumonia(phantom, tmp_path):
    assert run(tmp_path/"pneumonia", "pneumonia", f"data={phantom}", "epochs=1", "size=64", "n_boot=100")["synthetic"]


def test_localization(chexnet14, phantom, tmp_path):
    assert run(tmp_path/"localization", "localization", f"run={chexnet14/'run'}", f"data={phantom}", "n_boot=100")["synthetic"]


@pytest.mark.parametrize("name", ["evaluate", "compare", "radiologists"])
def test_statistics(name, tmp_path): assert run(tmp_path/name, name, "n_boot=100")["synthetic"]


def test_one_message_no_traceback(tmp_path):
    done = chexnet("run", "chexnet14", "-p", "epoch=3", "--out", tmp_path/"x")
    assert done.returncode == 2 and "unknown parameter epoch" in done.stderr and "Traceback" not in done.stderr
