"Each experiment runs from its notebook to its report, on a tiny phantom; nothing is learned, and the results say what they are."
import json
from pathlib import Path

import pandas as pd
import pytest
import warm
import yaml

from chexnet_nb.cam.localization import RIVALS
from chexnet_nb.data.labels import read_labels
from chexnet_nb.data.splits import known_subsets
from chexnet_nb.models.recipe import RECIPES, new_recipe
from chexnet_nb.phantom.release import write_phantom

ROOT = Path(__file__).parents[1]
on_phantom = pytest.mark.xdist_group("phantom") # The same data folder, prepared once


def chexnet(*arguments):
    "Run a command from the checkout: exit code and stderr."
    code, _, err = warm.chexnet(*arguments, cwd=ROOT)
    return code, err


def run(out, name, *settings, preset="demo"):
    "An experiment's headline; its page must exist and hold no traceback."
    parameters = [a for s in settings for a in ("-p", s)]
    code, err = chexnet("run", name, "--preset", preset, "--out", out, *parameters)
    assert code == 0, err[-3000:]
    page = (out/"index.html").read_text()
    assert "Traceback" not in page and "ynthetic" in page
    return json.loads((out/"headline.json").read_text())


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")/"phantom"
    return write_phantom(folder, patients=50, size=128, images_each=3, workers=1, progress=False)


@pytest.fixture(scope="session")
def chexnet14(phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("reports")/"chexnet14"
    headline = run(out, "chexnet14", f"data={phantom}", "epochs=1", "control_epochs=1", "size=64", "n_boot=100")
    assert headline["synthetic"] and len(headline["rows"]) == 3
    return out


@on_phantom
def test_chexnet14(chexnet14):
    assert (chexnet14/"auroc.csv").read_text().splitlines()[-1].startswith("mean,")
    code, err = chexnet("run", "chexnet14", "--out", chexnet14)
    assert code == 2 and "never overwritten" in err


@on_phantom
def test_chexnet14_seeds(phantom, tmp_path):
    out = tmp_path/"seeds"
    settings = f"data={phantom}", "architecture=densenet_28", "size=28", "epochs=1", "control_epochs=0", "n_boot=100", "seeds=2"
    rows = [row[0] for row in run(out, "chexnet14", *settings)["rows"]]
    scored = sum(line.split(",")[-1] != "" for line in (out/"auroc.csv").read_text().splitlines()[1:-1]) # Those with an interval
    first = "mean AUROC, 14 findings" if scored == 14 else f"mean AUROC, {scored} of 14 findings"
    assert rows == [first, "average of 2 seeds", "trivial features alone"]
    spread = (out/"seeds"/"spread.csv").read_text().splitlines()
    assert spread[0] == "finding,mean,sd_training,sd_patients,low,high" and (out/"seeds"/"seed-1"/"model.safetensors").exists()
    page = (out/"index.html").read_text()
    assert "one more run lies within" in page or "no AUROC has an interval" in page


@on_phantom
def test_pneumonia(phantom, tmp_path):
    assert run(tmp_path/"pneumonia", "pneumonia", f"data={phantom}", "epochs=1", "size=64", "n_boot=100")["synthetic"]


@on_phantom
def test_localization(chexnet14, phantom, tmp_path):
    assert run(tmp_path/"localization", "localization", f"run={chexnet14/'run'}", f"data={phantom}", "n_boot=100")["synthetic"]


@on_phantom
def test_maps(chexnet14, phantom, tmp_path):
    out = tmp_path/"maps"
    headline = run(out, "maps", f"run={chexnet14/'run'}", f"data={phantom}", "films=all", "n_boot=100", "checked=12",
                   "method_pairs=4")
    assert headline["synthetic"] and "usually lie" in headline["title"]
    lines = (out/"beats.csv").read_text().splitlines()
    assert lines[0] == "finding,against,measure,images,patients,network,other,difference,low,high,p,p_adjusted"
    assert {line.split(",")[1] for line in lines[1:]} == {*RIVALS} and "usually lies" in (out/"index.html").read_text()
    assert {f"{name}.csv" for name in ("sanity", "faithfulness", "methods")} <= {f.name for f in out.iterdir()}


@on_phantom
def test_prior_systems(phantom, tmp_path):
    rows = run(tmp_path/"prior", "prior_systems", f"data={phantom}", preset="tiny")["rows"]
    assert [row[1] for row in rows] == ["densenet_28", "wang_demo,sharpness=5", "yao_demo,width=8"]
    page = (tmp_path/"prior"/"index.html").read_text()
    assert "log-sum-exp, r = 5" in page and "weighted features" in page and "(published)" not in page
    pairs = (tmp_path/"prior"/"pairs.csv").read_text()
    assert pairs.startswith("first,second,finding,difference,low,high,p,p_adjusted") and "Wang,Yao,mean" in pairs
    assert (tmp_path/"prior"/"runs"/"Yao"/"seed-1"/"model.safetensors").exists()


@on_phantom
def test_ablations(phantom, tmp_path):
    rows = run(tmp_path/"ablations", "ablations", f"data={phantom}", preset="tiny")["rows"]
    assert [row[:2] for row in rows] == [["smaller", "the recipe"], ["pneumonia alone", "the recipe"],
                                         ["pneumonia alone, unweighted", "pneumonia alone"]]
    assert "There are no ImageNet weights for densenet_28" in (tmp_path/"ablations"/"index.html").read_text()


def test_every_part_of_strong_is_ablated():
    variants = yaml.safe_load((ROOT/"nbs/experiments/presets/ablations.strong.yaml").read_text())["variants"].values()
    assert set().union(*variants) == set(RECIPES["strong"])-{"batch_size", "epochs"} # those are the budget, the same for all
    for settings in variants: new_recipe(architecture="densenet_demo", pretrained=False, **settings)


@pytest.mark.parametrize("name", ["evaluate", "compare", "radiologists"])
def test_statistics(name, tmp_path): assert run(tmp_path/name, name, "n_boot=100")["synthetic"]


def test_scoreboard_outlines(tmp_path):
    "Networks that learnt NIH's Emphysema miss the one that is outlined, where it is outlined on other images."
    seen = read_labels()
    seen = seen[(known_subsets(seen["Image Index"]) == "test").to_numpy()].sample(4000, random_state=0) # As the demo draws them
    named = seen.Emphysema == 1
    outlined = pd.concat([seen[named].head(40).assign(finding="Nodule"), seen[~named].head(40).assign(finding="Emphysema")])
    boxes = outlined[["Image Index", "finding"]].assign(x=100, y=100, w=200, h=200, width=1024, height=1024)
    boxes.to_csv(tmp_path/"boxes.csv", index=False)
    headline = run(tmp_path/"board", "scoreboard", "n_boot=100", "draws=10", "experts=", f"outlines={tmp_path/'boxes.csv'}")
    assert "NIH's Emphysema is not what radiologists outline: on 80 of the images" in headline["note"]
    assert headline["columns"][-1] == "its Emphysema against outlines"
    rows = pd.read_csv(tmp_path/"board"/"emphysema_networks.csv")
    assert set(rows.view) == {"all", "PA", "AP"} and (rows[rows.view == "all"].difference_high < 0).all()
    assert (pd.read_csv(tmp_path/"board"/"emphysema_labels.csv").both == 0).all()


def test_external(tmp_path):
    rows = run(tmp_path/"external", "external", "draws=2", "phantom_patients=0")["rows"]
    assert [row[0] for row in rows] == ["home", "away"] and rows[0][2] == "" and not rows[1][2].startswith("-")
    code, err = chexnet("run", "external", "-p", "predictions=a=x.csv", "-p", "labels=b=y.csv", "--out", tmp_path/"x")
    assert code == 2 and "labels of b, of which there are no predictions" in err


def test_panel(tmp_path):
    assert chexnet("run", "panel", "-p", "n_boot=50", "--out", tmp_path/"panel")[0] == 0
    headline = json.loads((tmp_path/"panel/headline.json").read_text())
    assert not headline["synthetic"] and headline["title"] == "17 radiologists among themselves on 15,000 images"
    assert run(tmp_path/"simulated", "panel", "n_boot=50", preset="simulated")["synthetic"]
    code, err = chexnet("run", "agreement", "--out", tmp_path/"x")
    assert code == 2 and "agreement has been renamed; use panel" in err


def test_compare_several(tmp_path):
    headline = run(tmp_path/"several", "compare", "average=True")
    assert [row[0] for row in headline["rows"]] == ["average", "simulated, 0.85", "simulated, 0.80"]
    text = (tmp_path/"several"/"index.html").read_text()
    assert "They do not cover another training run" in text and "corrects for 3 pairs" in text


def test_one_message_no_traceback(tmp_path):
    code, err = chexnet("run", "chexnet14", "-p", "epoch=3", "--out", tmp_path/"x")
    assert code == 2 and "unknown parameter epoch" in err and "Traceback" not in err
