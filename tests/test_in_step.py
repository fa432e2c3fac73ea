"Package, clean notebooks and README are what the notebooks in nbs/ say. `python tests/test_in_step.py` writes the README."
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent


def readme():
    "The README that nbs/index.ipynb makes: its text and outputs, without hidden cells."
    nb = nbformat.read(ROOT/"nbs/index.ipynb", 4)
    nb.cells = [c for c in nb.cells if not c.source.startswith("#| hide")] # the others that compute show their output alone
    text, _ = MarkdownExporter(exclude_input=True).from_notebook_node(nb)
    return re.sub(r"\]\((images|tutorials|guide)/", r"](nbs/\1/", text).strip() + "\n"


def run_in_copy(tmp_path, tool):
    "Files that a tool changes in a copy of the checkout."
    copy = tmp_path/"copy"
    keep_out = shutil.ignore_patterns(".git", ".venv", "reports", "data", "*.egg-info", "_proc", "_docs")
    shutil.copytree(ROOT, copy, ignore=keep_out)
    subprocess.run([TOOLS/tool], cwd=copy, check=True, capture_output=True)
    files = [p.relative_to(copy) for p in sorted(copy.rglob("*")) if p.suffix in (".py", ".ipynb") and "_proc" not in p.parts]
    return [str(f) for f in files if not (ROOT/f).exists() or (ROOT/f).read_text() != (copy/f).read_text()]


def test_export_is_in_step(tmp_path): assert run_in_copy(tmp_path, "nbdev_export") == [], "run nbdev_export and commit"


def test_notebooks_are_clean(tmp_path): assert run_in_copy(tmp_path, "nbdev_clean") == [], "run nbdev_clean and commit"


def test_readme_is_in_step(): assert (ROOT/"README.md").read_text() == readme(), "run make readme and commit"


def test_readme_numbers_are_those_of_the_reports():
    "Executed again, nbs/index.ipynb shows the same text and tables."
    def shown(nb):
        outputs = (o.get("data", {}) for c in nb.cells for o in c.get("outputs", ()))
        return [data["text/markdown"] for data in outputs if "text/markdown" in data]
    nb = nbformat.read(ROOT/"nbs/index.ipynb", 4)
    before = shown(nb)
    NotebookClient(nb, timeout=600, resources={"metadata": {"path": str(ROOT/"nbs")}}).execute()
    assert before and shown(nb) == before, "run nbs/index.ipynb, then make readme, and commit"


def test_links_lead_somewhere():
    "Relative links of the Markdown that GitHub shows; the site's own links are checked as it is built."
    texts = [p for folder in ("", "data", "reports", "nbs/guide", "nbs/reference") for p in (ROOT/folder).glob("*.md")]
    links = [(p, link) for p in texts for link in re.findall(r"\]\(([^)#\s]+)", p.read_text()) if not re.match("[a-z]+:", link)]
    nowhere = [f"{p.relative_to(ROOT)}: {link}" for p, link in links if not (p.parent/link).exists()]
    assert links and not nowhere, "\n".join(nowhere)


def test_index_changes_no_committed_page():
    "`make reports` links every page to the index; those that are committed have the link."
    pages = sorted(ROOT.glob("reports/*-*/index.html"))
    without = [p.parent.name for p in pages if 'href="../index.html"' not in p.read_text(encoding="utf-8")]
    assert pages and not without, f"run `chexnet index` and commit the pages of {', '.join(without)}"


def modules():
    "The modules of the package, such as data.splits."
    files = sorted((ROOT/"chexnet_nb").glob("*/*.py"))
    return [f"{f.parent.name}.{f.stem}" for f in files if f.stem != "__init__"]


NEEDS_TORCH = ("core.distributed", "data.dataset", "models.base", "models.state_dict", "models.chexnet", "models.wang",
               "models.yao", "models.backbone", "models.torchxrayvision", "runs.", "training.", "cam.")


def test_modules_without_torch():
    "Everything behind a predictions table works where torch cannot be imported."
    light = [m for m in modules() if not m.startswith(NEEDS_TORCH)]
    code = ("import sys, importlib\n"
            "class NoTorch:\n"
            "    def find_spec(self, name, *_):\n"
            "        if name.partition('.')[0] == 'torch': raise ImportError('torch')\n"
            "sys.meta_path.insert(0, NoTorch())\n"
            f"for m in {light}: importlib.import_module(f'chexnet_nb.{{m}}')")
    subprocess.run([sys.executable, "-c", code], check=True)


QUICK = ( # What starts quickly, in this order, and what takes longer to import than one image or its maps take
    ("chexnet_nb.runs.inference chexnet_nb.models.chexnet",
     "lightning torchvision torch._dynamo scipy sklearn matplotlib requests chexnet_nb.phantom.release"),
    ("chexnet_nb.cam.draw scipy.ndimage", "lightning torchvision torch._dynamo scipy.stats sklearn matplotlib requests"),
    ("chexnet_nb.cam.maps chexnet_nb.cam.gallery chexnet_nb.cam.browser", "lightning requests chexnet_nb.phantom.release"))


def test_prediction_and_maps_import_little():
    code = ("import sys, importlib\n"
            f"for modules, slow in {QUICK}:\n"
            "    for m in modules.split(): importlib.import_module(m)\n"
            "    assert not (found := {*slow.split()} & {*sys.modules}), f'{modules} import {found}'")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_picture_of_the_house_is_in_step():
    sys.path.insert(0, str(ROOT/"docs"))
    import house
    assert not house.backward(), "an import against the order:\n"+"\n".join(house.backward())
    assert len(house.order()) == 11 and max(map(len, house.order().values())) <= 9
    assert house.PICTURE.read_text(encoding="utf-8") == house.picture(), "run `python docs/house.py` and commit"


def test_lines_are_short():
    code = {p: p.read_text(encoding="utf-8") for folder in ("tests", "benchmarks", "docs") for p in (ROOT/folder).glob("*.py")}
    for notebook in (ROOT/"nbs").rglob("*.ipynb"):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code[notebook] = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    long = [f"{p.relative_to(ROOT)}: {line[:60]}" for p, text in code.items() for line in text.splitlines() if len(line) > 130]
    assert not long, "\n".join(long)


if __name__ == "__main__": (ROOT/"README.md").write_text(readme())
