"""What the documentation says of commands holds: each line of README, guides and `--help` is run on small data, or excused.

A line is run in a folder of its own that holds what the line names: a phantom, a run, tables, films. Options that make it
quick are added behind it; what the line itself says of a recipe is checked as it stands.
"""
import inspect
import re
import shlex
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import warm
from PIL import Image

from chexnet_nb.data.labels import bundled_table, label_matrix, read_labels
from chexnet_nb.data.source import read_source
from chexnet_nb.metrics.predictions import simulate_predictions
from chexnet_nb.models.recipe import RECIPES, new_recipe, recipe_settings
from chexnet_nb.models.zoo import public_weights
from chexnet_nb.readers.panel import simulate_readers
from chexnet_nb.report.cli import COMMANDS
from chexnet_nb.report.command import EXAMPLES, command_parser
from chexnet_nb.report.experiment import check_parameters, find_experiment, preset_values

pytestmark = pytest.mark.xdist_group("documented") # One process makes what the lines share
ROOT = Path(__file__).parents[1]
PAGES = [ROOT/"README.md", *sorted(p for folder in ("data", "nbs/guide", "nbs/reference") for p in (ROOT/folder).glob("*.md"))]
QUICK = dict(train="--architecture wang_demo --size 28 --no-pretrained --epochs 1 --precision 32-true",
             phantom="--patients 12 --size 64", prepare="--size 28",
             run="-p architecture=densenet_28 -p size=28 -p pretrained=false -p epochs=1 -p n_boot=100 -p split=official",
             **dict.fromkeys(("evaluate", "compare", "radiologists"), "--n-boot 100"))
EXCUSED = { # The beginning of a line -> why it is not run; every `chexnet` among them is parsed all the same
    "git|pip|docker|python|jupyter|source": "installs, or is a shell's own",
    "make": "test_a_target_exists",
    "#SBATCH|srun|torchrun|chexnet train .*--devices": "several machines or GPUs; test_training runs two processes",
    "chexnet download|chexnet push|chexnet import hf:": "network",
    "chexnet import (densenet121-res224-nih|timm:)": "network; test_release imports by name from a server of its own",
    "chexnet import .*resnet50": "100 MB of weights; the notebook runs.external imports such files",
    "chexnet import model.onnx": "a foreign ONNX file; the notebook runs.external imports such files",
    "chexnet (pneumoniamnist|medmnist)": "network",
    "chexnet evaluate .*--by study": "names with a study in them; test_hospitals runs it",
    "chexnet run": "test_experiments runs every experiment",
}


def lines(text):
    "The command lines of a page: what stands in blocks of `sh`, and of no language, without comments."
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    joined = "\n".join(block for language, block in blocks if language in ("", "sh")).replace("\\\n", " ")
    known = re.compile(r"(chexnet|make|git|pip|docker|python|jupyter|source|srun|torchrun|#SBATCH)\b")
    words = [shlex.split(line, comments=line[0] != "#") for line in joined.splitlines() if known.match(line.strip())]
    return [shlex.join(part) for line in words for part in split(line)]


def split(words):
    "The commands of a line, without where their output goes."
    if "&&" not in words: return [words[:words.index(">>")] if ">>" in words else words]
    at = words.index("&&")
    return [words[:at], *split(words[at+1:])]


DOCUMENTED = {line: page.relative_to(ROOT).as_posix() for page in PAGES for line in lines(page.read_text(encoding="utf-8"))}
DOCUMENTED |= {line: f"chexnet help {name}" for name, text in EXAMPLES.items() for line in lines(f"```sh\n{text}\n```")
               if line not in DOCUMENTED}


def excuse(line): return next((why for pattern, why in EXCUSED.items() if re.match(rf"({pattern})\b", line)), "")


def kind(line):
    "A command with the names of its options: lines that differ in values alone are one kind."
    command, *words = shlex.split(line)[1:]
    return command, sum(not word.startswith("-") for word in words), *sorted(w for w in words if w.startswith("-"))


PATHS = {name: (ROOT/f"nbs/guide/{name}.md").read_text(encoding="utf-8") for name in ("radiologist", "student", "engineer")}
ON_PATHS = [line for text in PATHS.values() for line in lines(text)]
RUN = {kind(line): line for line in reversed(DOCUMENTED)
       if line.startswith("chexnet ") and not excuse(line) and line not in ON_PATHS}


@pytest.mark.parametrize("pattern", EXCUSED)
def test_no_excuse_is_left_over(pattern): assert any(re.match(rf"({pattern})\b", line) for line in DOCUMENTED)


def parsed(line):
    "The values of a `chexnet` line; an unknown option ends the test."
    words = shlex.split(line)
    return vars(command_parser(COMMANDS[words[1]]).parse_args(words[2:]))


@pytest.mark.parametrize("line", [line for line in DOCUMENTED if line.startswith("chexnet ")])
def test_a_line_is_what_the_command_takes(line):
    values = parsed(line)
    if line.startswith("chexnet run "):
        notebook = find_experiment(values["experiment"])
        check_parameters(notebook, preset_values(notebook, values["preset"]) | dict(p.split("=", 1) for p in values["p"]))
    if line.startswith("chexnet train ") and values["task"]:
        settings = recipe_settings()
        new_recipe(values["recipe"], **{k: v for k, v in values.items() if k in settings})


@pytest.mark.parametrize("line", [line for line in DOCUMENTED if line.startswith("make ")])
def test_a_target_exists(line):
    assert re.search(rf"^[\w -]*\b{line.split()[1]}\b[\w -]*:", (ROOT/"Makefile").read_text(), re.M)


class Ground:
    "What lines name, each made once."
    def __init__(self, folder): self.folder = folder

    @cache
    def data(self):
        "A phantom (synthetic)."
        assert warm.chexnet("phantom", self.folder/"data", "--patients", 14, "--size", 64)[0] == 0
        return self.folder/"data"

    @cache
    def run(self):
        out = self.folder/"run"
        code, _, err = warm.chexnet("train", self.data(), "--task", "chexnet14", "--split", "official", "--out", out,
                                    *QUICK["train"].split())
        assert code == 0, err
        return out

    @cache
    def exported(self):
        "The run keeps its ONNX file, once it has predicted with that."
        code, _, err = warm.chexnet("predict", self.run(), self.film(), "--out", self.folder/"onnx.csv", "--engine", "onnx")
        assert code == 0 and (self.run()/"model.onnx").exists(), err

    def predictions(self): return saved(simulate_predictions(*labelled(400)), self.folder/"predictions.csv")

    def labels(self):
        rows, few = labelled(60)
        return saved(rows[["Image Index", "Patient ID", *few]], self.folder/"labels.csv")

    def export(self): return saved(pd.read_csv(bundled_table("chexpert_train.csv"), nrows=60), self.folder/"export.csv")

    def annotations(self):
        return saved(pd.read_csv(bundled_table("vinbigdata-train.csv"), nrows=200), self.folder/"annotations.csv")

    def readers(self):
        rows, few = labelled(60)
        return saved(simulate_readers(rows["Image Index"], label_matrix(rows, few), few), self.folder/"readers.csv")

    def images(self):
        (self.folder/"images.txt").write_text("\n".join(labelled(300)[0]["Image Index"]))
        return self.folder/"images.txt"

    def film(self): return sorted((self.data()/"images").glob("*.png"))[0]

    def films(self):
        folder = self.folder/"films"
        folder.mkdir(exist_ok=True)
        for film in sorted((self.data()/"images").glob("*.png"))[:2]: shutil.copy(film, folder)
        return folder

    def dicom(self):
        pydicom = pytest.importorskip("pydicom")
        values, file = np.asarray(Image.open(self.film()).convert("L")).astype("<u2")*16, self.folder/"film.dcm"
        d = pydicom.Dataset()
        d.file_meta = pydicom.dataset.FileMetaDataset()
        d.file_meta.TransferSyntaxUID, d.SOPClassUID = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.1"
        d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, "1.2.3"
        d.SOPInstanceUID, (d.Rows, d.Columns), d.SamplesPerPixel = "1.2.3", values.shape, 1
        d.PhotometricInterpretation, d.PixelRepresentation = "MONOCHROME2", 0
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelData = 16, 12, 11, values.tobytes()
        d.save_as(file, enforce_file_format=True)
        return file

    @cache
    def weights(self):
        "A state dict of torchvision's DenseNet-121 with 14 outputs."
        import torch
        from torchvision.models import densenet121
        torch.save({"state_dict": densenet121(num_classes=14).state_dict()}, self.folder/"model.pth.tar")
        return self.folder/"model.pth.tar"


def labelled(n): return read_labels().head(n), ["Effusion", "Mass"]


def saved(table, file):
    table.to_csv(file, index=False)
    return file


NAMED = {"data": r"data/\w+|my_data", "run": r"runs/\w+|RUN", "readers": r"\w*readers\.csv",
         "labels": r"(films/)?labels\.csv", "export": r"export\.csv", "annotations": r"annotations\.csv",
         "predictions": r"[\w/]+\.csv", "images": r"\w+\.txt", "films": r"films/?|folder/of/films",
         "film": r"\w+\.png", "dicom": r"\w+\.dcm", "weights": r"[\w.]+\.pth(\.tar)?"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory): return Ground(tmp_path_factory.mktemp("ground"))


def furnish(ground, here, line):
    "Put what a line names where the line says; its own output is not there."
    values, words = parsed(line), shlex.split(line)[2:]
    made = {str(values.get(option)) for option in ("out", "boxes")}
    for name in dict.fromkeys(word.split("=")[-1] for word in words):
        what = next((what for what, pattern in NAMED.items() if re.fullmatch(pattern, name)), None)
        if what is None or name in made: continue
        (here/name).parent.mkdir(parents=True, exist_ok=True)
        source = getattr(ground, what)()
        (shutil.copytree if source.is_dir() else shutil.copy)(source, here/name)


def run_line(line, here):
    "Run a line quickly; what it writes must be there."
    command, *words = shlex.split(line)[1:]
    quick = shlex.split(QUICK.get(command, "")) if "--from" not in words else []
    if command == "train" and quick:
        quick += ["--split", "official"]*("--split" not in words) + ["--seeds", "2"]*("--seeds" in words)
    code, out, err = warm.chexnet(command, *words, *quick, cwd=here)
    assert code == 0 and "Traceback" not in err, f"{DOCUMENTED[line]}: {line}\n{err[-2000:]}"
    written = parsed(line).get("out")
    assert (here/written).exists() if written else out


@pytest.mark.parametrize("line", RUN.values())
def test_a_line_runs(line, ground, tmp_path):
    command, *words = shlex.split(line)[1:]
    if "onnx" in line and not find_spec("onnxruntime"): pytest.skip("ONNX Runtime is not installed")
    if "--engine onnx" in line: ground.exported()
    if command != "phantom": furnish(ground, tmp_path, line)
    if command == "index": shutil.copytree(ROOT/"reports/evaluate-paper", tmp_path/"reports/evaluate-paper")
    if command == "verify": assert warm.chexnet("prepare", *words, cwd=tmp_path)[0] == 0
    if "--from" in words: shutil.copytree(ground.data(), tmp_path/"data")
    run_line(line, tmp_path)


def shown(name):
    "File -> the lines of the example that a page shows of it."
    return {file: text.splitlines() for file, text in re.findall(r"^`([\w.]+)`\n\n```\n(.*?)^```$", PATHS[name], re.M | re.S)}


def radiologist(ground, here):
    "Tables as a German Excel writes them, with the columns that the page shows: 120 patients with two films each."
    rng, n = np.random.default_rng(0), 240
    files, patients = [f"film {i:03d}.dcm" for i in range(n)], [f"P{i//2:03d}" for i in range(n)]
    truth = (rng.random((n, 2)) < .3).astype(int)
    calls = {reader: np.where(rng.random((n, 2)) < skill, truth, 1-truth) for reader, skill in dict(anna=.9, ben=.8).items()}
    tables = {"readers.csv": [[f, r, p, *np.where(c, "YES", "NO")] for r, said in calls.items()
                              for f, p, c in zip(files, patients, said)],
              "reference.csv": [[f, p, *t] for f, p, t in zip(files, patients, truth)],
              "network.csv": [[f, *s] for f, s in zip(files, (truth*.25+rng.random((n, 2))*.7).round(2))]}
    for name, example in shown("radiologist").items():
        table = pd.DataFrame(tables[name], columns=example[0].split(";"))
        table.to_csv(here/name, sep=";", decimal=",", index=False, encoding="utf-8-sig")


def student(ground, here):
    "A phantom where the release would be, and somebody's predictions of its images."
    shutil.copytree(ground.data(), here/"data/nih")
    rows = read_labels()
    rows = rows[rows["Image Index"].isin([p.name for p in (here/"data/nih/images").iterdir()])]
    saved(simulate_predictions(rows.reset_index(drop=True)), here/"preds.csv")


def engineer(ground, here):
    "Drawn films under names of a hospital, their labels, and a checkpoint of two outputs with a wrapper."
    import torch
    from torchvision.models import densenet121
    (here/"films").mkdir()
    names = [f"{letter}.png" for letter in "abcdefgh"]
    for name, film in zip(names, sorted((ground.data()/"images").glob("*.png"))): shutil.copy(film, here/"films"/name)
    pd.DataFrame([[name, f"p{i}", i % 2, i//4] for i, name in enumerate(names)],
                 columns=shown("engineer")["labels.csv"][0].split(",")).to_csv(here/"labels.csv", index=False)
    source = re.search(r"^```json\n(.*?)^```$", PATHS["engineer"], re.M | re.S)[1]
    (here/"films/SOURCE.json").write_text(source)
    assert read_source(here/"films").title == "Our hospital, 2024"
    state = densenet121(num_classes=2).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, here/"model.pth.tar")


@pytest.mark.parametrize("name", PATHS)
def test_a_path_leads_to_its_end(name, ground, tmp_path):
    globals()[name](ground, tmp_path)
    for line in [line for line in lines(PATHS[name]) if line.startswith("chexnet ")]:
        if excuse(line) and "chexnet14 --preset paper" not in line: continue
        if "reports/chexnet14-strong" in line:
            shutil.copytree(tmp_path/"reports/chexnet14-paper", tmp_path/"reports/chexnet14-strong")
        run_line(line, tmp_path)
    if name == "radiologist":
        accuracy = pd.read_csv(tmp_path/"agreement/accuracy.csv")
        assert (accuracy.sensitivity_low < accuracy.sensitivity).all() and set(accuracy.rater) == {"anna", "ben"}


def default(command, name): return inspect.signature(COMMANDS[command]).parameters[name].default


def strong(name): return RECIPES["strong"][name][0]


def table(path, **where):
    "The only row of a committed table."
    rows = pd.read_csv(ROOT/path)
    for column, value in where.items(): rows = rows[rows[column] == value]
    assert len(rows) == 1, (path, where)
    return rows.iloc[0]


def cache_gb(size): return f"{112_120*size**2/1e9:.1f} GB at {size} px"


def stated():
    "(page, sentence) with the values of the code and of committed tables."
    paper = pd.read_csv(ROOT/"data/published/auroc.csv").chexnet2017.mean()
    scores = {name: table("reports/scoreboard-paper/scores.csv", entrant=name, finding="mean").auroc
              for name in ("reproduce-chexnet", "ResNet-50")}
    gap = table("reports/scoreboard-paper/pairs.csv", first="reproduce-chexnet", second="ResNet-50", finding="mean")
    official = table("reports/scoreboard-paper/official.csv", part="official test images", entrant="reproduce-chexnet")
    settings = {name: value for name, (value, _) in recipe_settings().items()}
    return {
        "predictions": [f"`--n-boot`, {default('evaluate', 'n_boot'):,} by default"],
        "training": [f"larger images ({strong('size')} px)", f"a learning rate of {strong('lr'):.0e} ".replace("e-0", "e-"),
                     f"`--schedule {strong('schedule')}`", f"`--min-crop {strong('min_crop')}`",
                     f"`--ema-decay {strong('ema_decay')}`"],
        "devices": [f"not the paper's {settings['batch_size']}", f"at {settings['size']} px"],
        "student": [f"| {paper:.3f} | CheXNet, the paper's", f"| {scores['reproduce-chexnet']:.3f} | reproduce-chexnet",
                    f"| {scores['ResNet-50']:.3f} | a ResNet-50",
                    f"lower by {gap.difference:.3f} ({gap.low:.3f}, {gap.high:.3f})",
                    f"on the {official.images:,} of these images", f"reproduce-chexnet scores {official.auroc_all:.3f}",
                    cache_gb(settings["size"]) + f" and {cache_gb(strong('size'))}"],
        "engineer": [f"--size {settings['size']}"]}


@pytest.mark.parametrize("page, sentence", [(page, s) for page, sentences in stated().items() for s in sentences])
def test_what_is_stated_holds(page, sentence):
    assert sentence in (ROOT/f"nbs/guide/{page}.md").read_text(encoding="utf-8")


def test_options_that_pages_name_exist():
    "Every `--option` in backticks, but those of other programs."
    known = {"--help", *(o for c in COMMANDS.values() for a in command_parser(c)._actions for o in a.option_strings)}
    known |= {"--node-rank", "--config"} # torchrun's, JupyterLab's
    spans = [(p.name, span) for p in PAGES for span in re.findall(r"`([^`\n]+)`", p.read_text(encoding="utf-8"))]
    assert [(page, o) for page, span in spans for o in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span) if o not in known] == []


def test_columns_are_as_described():
    "The columns that the formats name, in every committed report."
    rows = re.findall(r"^\| `([a-z0-9_]+\.csv)`[^|]*\| `([\w,]+)`", (ROOT/"nbs/reference/formats.md").read_text(), re.M)
    assert {"auroc.csv", "f1.csv", "differences.csv", "kappa.csv", "pairs.csv", "raters.csv"} <= {name for name, *_ in rows}
    wrong = []
    for name, columns in rows:
        for file in ROOT.glob(f"reports/*/{name}"):
            header = file.read_text(encoding="utf-8").split("\n", 1)[0].split(",")
            missing = {*columns.split(",")} - {"note", *header}
            if missing and "entrant" not in header: wrong.append(f"{file.parent.name}/{name}: {missing}")
    assert wrong == []


def test_public_weights_are_as_listed():
    listed = re.findall(r"^\| `([\w-]+)` \| (\d+) \| (\d+) \|", (ROOT/"nbs/guide/weights.md").read_text(encoding="utf-8"), re.M)
    assert {row[0]: (int(row[1]), int(row[2])) for row in listed} == {
        name: (sum(map(bool, w.findings)), w.size) for name, w in public_weights().items()}
