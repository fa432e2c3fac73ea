"The notebooks are the tests: each is executed as nbdev_test does it, the cells marked `notest`, `slow` or `gpu` left out."
import gc
import io
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import pytest
import warm

ROOT = Path(__file__).parents[1]
NBS = ROOT/"nbs"
sys.path.insert(0, str(ROOT/"docs"))
import house


def notebooks():
    "Those that nbdev_test would execute."
    from nbdev.config import get_config
    from nbdev.doclinks import nbglob
    return [Path(f).resolve() for f in sorted(nbglob(get_config(path=ROOT).nbs_path, as_path=True))
            if not (Path(f).parent/".notest").exists()]


def module(notebook):
    "(package, module) that a notebook exports; None for any other."
    package, stem = (re.sub(r"^\d+_", "", part) for part in (notebook.parent.name, notebook.stem))
    if notebook.parent.parent != NBS or package not in house.order(): return None
    return package, "__init__" if stem == package else stem


def used(notebook):
    "The modules that a notebook's cells import; a package's face stands for all that it offers."
    text = notebook.read_text(encoding="utf-8")
    named = set(re.findall(r"chexnet_nb\.(\w+)\.(\w+)", text))
    faces = set(re.findall(r"from chexnet_nb\.(\w+) import", text))
    return named | {(p, m) for p, modules in house.order().items() if p in faces for m in modules}


def dependents(changed):
    "The notebooks that changed, and those whose code imports a module of theirs, however far away; the nearest first."
    arrows, ordered = house.arrows(), [n for n in notebooks() if n in changed]
    reached = ahead = {module(n) for n in ordered}-{None}
    while ahead:
        ahead = {source for source, targets in arrows.items() if targets & ahead}-reached
        reached = reached | ahead
        ordered += [n for n in notebooks() if n not in ordered and module(n) in ahead]
    return ordered + [n for n in notebooks() if n not in ordered and used(n) & reached]


def differing():
    "Files that differ from HEAD, new ones included."
    git = lambda *argv: subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {ROOT/f for f in git("diff", "--name-only", "HEAD") + git("ls-files", "--others", "--exclude-standard")}


def try_notebook(notebook):
    "Whether a notebook runs, and what it says if not."
    from nbdev.config import get_config
    from nbdev.test import test_nb, working_directory
    said = io.StringIO()
    config = get_config(path=ROOT)
    with redirect_stderr(said), redirect_stdout(said), working_directory(NBS):
        passed, _ = test_nb(notebook, skip_flags=config.tst_flags.split(), basepath=config.config_path)
    return passed, said.getvalue()


@pytest.fixture(scope="session")
def worker():
    "A process that executes notebooks, one after another: what they import is imported once."
    with ProcessPoolExecutor(1, warm.CONTEXT, partial(warm.fork_kernels, server=os.environ.get("WARM_SERVER"))) as pool:
        yield pool
        pool.submit(gc.freeze).result() # Every notebook's shell would collect garbage once more as the process ends


def pytest_generate_tests(metafunc):
    if "notebook" not in metafunc.fixturenames: return
    chosen = dependents(differing()) if metafunc.config.getoption("--changed") else notebooks()
    metafunc.parametrize("notebook", chosen, ids=[str(n.relative_to(NBS)) for n in chosen])


def test_notebook(notebook, worker):
    passed, said = worker.submit(try_notebook, notebook).result()
    assert passed, said[-5000:]


def test_what_depends_on_a_notebook_is_found():
    found = lambda changed: [str(n.relative_to(NBS)) for n in dependents({NBS/changed})]
    names = found("04_readers/03_kappa.ipynb")
    assert names[0] == "04_readers/03_kappa.ipynb" and "04_readers/04_compare.ipynb" in names
    assert "06_models/04_chexnet.ipynb" not in names and "tutorials/readers.ipynb" in found("04_readers/01_panel.ipynb")
    assert len(found("00_core/01_errors.ipynb")) > 60
