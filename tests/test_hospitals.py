"Label tables of other hospitals at the command line: what is read is counted, and bad input is one message and exit 2."
import contextlib
import io
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from chexnet_nb.core.hospitals import FORMS
from chexnet_nb.data.labels import read_labels
from chexnet_nb.phantom.release import write_phantom
from chexnet_nb.report.cli import main

BUNDLED = Path(find_spec("torchxrayvision").submodule_search_locations[0])/"data"
MAPPING = ("table: export.csv\nimage: file\npatient: case\nfindings: {Stauung: Edema}\n"
           "yes: [ja]\nno: [nein]\nuncertain: [offen]\n")


def chexnet(*arguments):
    "Exit code, stdout and stderr of a command."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): code = main([str(a) for a in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def tables(tmp_path):
    "A small table as CheXpert has it, an export with its mapping, and predictions of the same images."
    paths = [f"CheXpert-v1.0/train/patient{i:05}/study1/view1_frontal.jpg" for i in range(40)]
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"Path": paths, "Frontal/Lateral": ["Frontal"]*36+["Lateral"]*4, "Edema": rng.choice([1, 0, -1], 40)})
    rows.reindex(columns=["Path", "Frontal/Lateral", *FORMS["CheXpert"].findings]).to_csv(tmp_path/"train.csv", index=False)
    (tmp_path/"export.csv").write_text("file,case,Stauung\na.dcm,1,ja\nb.dcm,2,nein\nc.dcm,3,offen\n")
    (tmp_path/"map.yaml").write_text(MAPPING)
    names = [p.split("/", 1)[1] for p in paths]
    pd.DataFrame({"Image Index": names, "Edema": rng.random(40)}).to_csv(tmp_path/"p.csv", index=False)
    return tmp_path


def test_counts_and_a_table_that_is_read_again(tables):
    code, said, _ = chexnet("labels", tables/"train.csv", "--uncertain", "ignore", "--out", tables/"labels.csv")
    assert code == 0 and "4 images of lateral or other views (Lateral 4) are left out." in said and "Edema" in said
    written = pd.read_csv(tables/"labels.csv")
    assert len(written) == 40 and written["Edema"].notna().sum() < 36 and written["Patient ID"].isna().sum() == 4
    for labels, more in ((tables/"labels.csv", []), (tables/"train.csv", ["--uncertain", "ignore"])):
        out = tables/f"scores-{labels.stem}"
        code, _, err = chexnet("evaluate", tables/"p.csv", "--labels", labels, *more, "--n-boot", 20, "--out", out)
        assert code == 0, err
        row = pd.read_csv(out/"auroc.csv").set_index("finding").loc["Edema"]
        assert row["images"] == written["Edema"].notna().sum() and row["positives"] == written["Edema"].sum()


def bad(tables, what):
    "Arguments and what the message must say."
    one = dict(
        unknown_word=(MAPPING.replace("[offen]", "[?]"), "row 4 (c.dcm), column Stauung: 'offen' is not a judgement"),
        no_such_column=(MAPPING.replace("Stauung", "Stauungen"), "no column Stauungen; found file, case, Stauung"),
        no_column=(MAPPING.replace("findings: {Stauung: Edema}\n", ""), "names no column of findings"),
        bad_pattern=(MAPPING.replace("case", "'case(['"), "patient is neither a column nor a pattern"),
        one_finding_twice=(MAPPING.replace("Edema}", "Edema, file: Edema}"), "two columns mean Edema; keep one"),
        unknown_key=(MAPPING.replace("image:", "imgae:"), "unknown key 'imgae'; did you mean image?"),
        undecided=(MAPPING, "has uncertain labels (-1): Edema 1; choose what they count as: positive, negative or ignore"))
    if what in one:
        (tables/"map.yaml").write_text(one[what][0])
        return ["labels", tables/"map.yaml", "--out", tables/"out.csv"], one[what][1]
    if what == "two_forms":
        two = pd.read_csv(tables/"train.csv").assign(**{"Image Index": "a", "Finding Labels": "Edema"})
        two.to_csv(tables/"two.csv", index=False)
        return ["labels", tables/"two.csv"], "has the columns of two forms, NIH and CheXpert"
    if what == "no_choice":
        return ["evaluate", tables/"p.csv", "--labels", tables/"train.csv"], "train.csv has uncertain labels (-1): Edema"
    if what == "no_such_choice":
        return ["evaluate", tables/"p.csv", "--labels", tables/"train.csv", "--uncertain", "maybe"], "unknown uncertain 'maybe'"
    if what == "an_image_twice":
        twice = pd.read_csv(tables/"train.csv")
        pd.concat([twice, twice.head(1)]).to_csv(tables/"twice.csv", index=False)
        return ["labels", tables/"twice.csv"], "twice"
    if what == "no_boxes":
        return ["labels", tables/"train.csv", "--boxes", tables/"out.csv"], "train.csv has no boxes; leave out --boxes, or name"
    other = pd.read_csv(tables/"p.csv").assign(**{"Image Index": [f"{i}.png" for i in range(40)]})
    other.to_csv(tables/"other.csv", index=False)
    return (["evaluate", tables/"other.csv", "--labels", tables/"train.csv", "--uncertain", "ignore"],
            "40 of 40 images have no labels: 0.png")


@pytest.mark.parametrize("what", ["unknown_word", "no_such_column", "no_column", "unknown_key", "bad_pattern",
                                  "one_finding_twice", "an_image_twice", "undecided", "two_forms",
                                  "no_choice", "no_such_choice", "paths_that_match_nothing", "no_boxes"])
def test_bad_input_is_one_message(tables, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path) # Where a report would be written
    arguments, why = bad(tables, what)
    code, _, err = chexnet(*arguments)
    assert code == 2 and why in err and "Traceback" not in err, err
    assert not (tables/"out.csv").exists()


def test_a_real_table_is_read_in_seconds():
    code, said, _ = chexnet("labels", BUNDLED/"kaggle_stage_2_train_labels.csv.zip")
    assert code == 0 and "6012     20672" in said and "Lung opacity for Pneumonia" in said


def test_boxes_of_readers(tmp_path):
    vinbigdata = BUNDLED/"vinbigdata-train.csv.gz"
    code, said, err = chexnet("labels", vinbigdata, "--out", tmp_path/"labels.csv", "--boxes", tmp_path/"boxes.csv")
    assert code == 0 and "36,096 boxes on 4,394 images" in said, err
    boxes = pd.read_csv(tmp_path/"boxes.csv")
    assert list(boxes) == ["Image Index", "finding", "x", "y", "w", "h", "reader"] and (boxes[["w", "h"]] > 0).all(axis=None)
    assert set(boxes["Image Index"]) < set(pd.read_csv(tmp_path/"labels.csv")["Image Index"])
    code, _, err = chexnet("labels", vinbigdata, "--out", tmp_path/"one.csv", "--boxes", tmp_path/"one.csv")
    assert code == 2 and "one.csv cannot hold both labels and boxes; name two files" in err and not (tmp_path/"one.csv").exists()
    (tmp_path/"own.csv").write_text("file,Erguss,l,t,b,h,cols,rows\na.dcm,1,5,6,7,8,100,200\nb.dcm,0,,,,,100,200\n")
    (tmp_path/"own.yaml").write_text("table: own.csv\nimage: file\nfindings: {Erguss: Effusion}\nbox: [l, t, b, h]\n"
                                     "size: [cols, rows]\n")
    assert chexnet("labels", tmp_path/"own.yaml", "--boxes", tmp_path/"own_boxes.csv")[0] == 0
    assert pd.read_csv(tmp_path/"own_boxes.csv").values.tolist() == [["a.dcm", "Effusion", 5, 6, 7, 8, 100, 200]]


NAMES = {"Pleural Effusion": "Effusion", "Edema": "Edema", "Cardiomegaly": "Cardiomegaly"}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    "A phantom laid out as CheXpert: of each film two frontal views, unlike each other, and a lateral one; what lies where."
    folder, rng, films, rows = tmp_path_factory.mktemp("hospital"), np.random.default_rng(0), {}, []
    phantom = write_phantom(folder/"phantom", patients=40, size=64, images_each=2, noise=0, progress=False)
    for row in read_labels(phantom).to_dict("records"):
        film = np.asarray(Image.open(phantom/"images"/row["Image Index"]))
        study = f"train/patient{row['Patient ID']:05}/study{row['Follow-up #']+1}"
        said = {name: 1 if row[f] else rng.choice([0, np.nan]) for name, f in NAMES.items()}
        said = {name: -1 if rng.random() < .1 else value for name, value in said.items()}
        (folder/"films"/study).mkdir(parents=True)
        for view, pixels in (("view1_frontal", film), ("view2_frontal", film//2+60), ("view3_lateral", film[:, ::-1])):
            films[f"{study}/{view}.png"] = pixels
            Image.fromarray(pixels).save(folder/"films"/study/f"{view}.png")
            rows.append({"Path": f"CheXpert-v1.0/{study}/{view}.png", "Frontal/Lateral": view.split("_")[1].capitalize(),
                         "Sex": "Female", "Age": 50, **said})
    table = pd.DataFrame(rows).reindex(columns=["Path", "Sex", "Age", "Frontal/Lateral", *FORMS["CheXpert"].findings])
    table.to_csv(folder/"films/train.csv", index=False)
    shutil.copy(phantom/"SOURCE.json", folder/"films")
    return folder, films, table.assign(name=table.Path.str.removeprefix("CheXpert-v1.0/")).set_index("name")


@pytest.fixture(scope="module")
def trained(hospital):
    "A network trained on it, its run folder, and its predictions for all views."
    folder = hospital[0]
    assert chexnet("prepare", folder/"films", "--size", 64)[0] == 0
    code, _, err = chexnet("train", folder/"films", "--task", "chexnet14", "--findings", ",".join(NAMES.values()), "--split",
                           "random", "--uncertain", "ignore", "--architecture", "densenet_28", "--no-pretrained", "--size", 64,
                           "--epochs", 1, "--out", folder/"run")
    assert code == 0, err
    code, _, err = chexnet("predict", folder/"run", folder/"films", "--out", folder/"p.csv")
    assert code == 0, err
    return folder/"run", pd.read_csv(folder/"p.csv").set_index("Image Index")


@pytest.mark.xdist_group("hospital")
def test_each_name_has_its_own_pixels_labels_and_probabilities(hospital, trained):
    from chexnet_nb.cam.maps import image_maps
    from chexnet_nb.runs.run import Run
    (_, films, table), (run, p) = hospital, trained
    run = Run(run)
    assert set(run.cache.names) == set(films) == set(p.index) and run.source.synthetic
    np.testing.assert_array_equal(run.cache.read(run.cache.rows(list(films))), list(films.values()))
    assert set(run.split["Image Index"]) == set(table.index[table["Frontal/Lateral"] == "Frontal"])
    assert (run.split["Patient ID"] == run.split["Image Index"].str.extract(r"(patient\d+)")[0]).all()
    directly = image_maps(run.model(), list(films.values()))[0]
    np.testing.assert_allclose(p.loc[list(films), list(run.model().findings)], directly, atol=1e-4)
    for subset in ("val", "test"):
        own = run.predictions(subset).set_index("Image Index")
        np.testing.assert_allclose(own, p.loc[own.index, own.columns], atol=1e-4)


@pytest.mark.xdist_group("hospital")
def test_studies_are_scored_without_laterals(hospital, trained):
    (folder, _, table), (_, p) = hospital, trained
    code, _, err = chexnet("evaluate", folder/"p.csv", "--labels", folder/"films/train.csv", "--uncertain", "ignore", "--by",
                           "study", "--n-boot", 20, "--out", folder/"scores")
    assert code == 0, err
    scores, frontal = pd.read_csv(folder/"scores/auroc.csv").set_index("finding"), table[table["Frontal/Lateral"] == "Frontal"]
    study = frontal.index.str.rpartition("/").get_level_values(0)
    for column, finding in NAMES.items():
        means, truth = p.loc[frontal.index, finding].groupby(study).mean(), frontal[column].groupby(study).first()
        judged = truth != -1
        assert scores.loc[finding, "images"] == judged.sum() and scores.loc[finding, "positives"] == (truth == 1).sum()
        assert abs(scores.loc[finding, "auroc"]-roc_auc_score(truth[judged] == 1, means[judged])) < 1e-6
    page = (folder/"scores/index.html").read_text()
    assert "images that the labels leave out, such as lateral views, are not scored" in page and "averaged in" in page


@pytest.mark.xdist_group("hospital")
def test_maps_are_of_the_films_that_they_name(hospital, trained):
    (folder, films, _), (run, p) = hospital, trained
    study = next(iter(films)).rpartition("/")[0]
    others = [name.rpartition("/")[0] for name in films if study not in name][:1]
    shown = [folder/"films"/s for s in (study, *others)]
    code, _, err = chexnet("cam", run, *shown, "--findings", "Edema", "--out", folder/"maps")
    assert code == 0, err
    found = pd.read_csv(folder/"maps/probabilities.csv").set_index("Image Index")
    top = Path(os.path.commonpath(shown)).relative_to(folder/"films").as_posix() # The folder that all lie in
    pictures = sorted((folder/"maps").glob("*_Edema.png"))
    assert len(found) == len(pictures) == 6
    for name, row in found.iterrows():
        below = f"{top}/{name}"
        assert abs(row["Edema"]-p.loc[below, "Edema"]) < 1e-4
        picture, = [f for f in pictures if f.name == f"{name.replace('/', '_').removesuffix('.png')}_Edema.png"]
        shown = np.asarray(Image.open(picture).convert("L").crop((0, 0, 768, 768)).resize((64, 64)), float)
        alike = {n: np.corrcoef(shown.ravel(), film.ravel())[0, 1] for n, film in films.items()}
        assert below in sorted(alike, key=alike.get)[-3:] # Its other frontal view is alike but for the brightness


@pytest.mark.xdist_group("hospital")
def test_the_browser_shows_each_film_with_its_labels(hospital, trained, monkeypatch):
    from chexnet_nb.cam.browser import CamBrowser
    (folder, films, table), (run, p) = hospital, trained
    monkeypatch.chdir(folder)
    for data in (None, folder/"films"):
        browser = CamBrowser(run, data)
        gallery = browser.gallery
        assert not browser.message.get("error") and gallery.synthetic
        for name in list(gallery.info.index)[:9]:
            np.testing.assert_array_equal(gallery.pixels(name), films[name])
            shown = np.asarray(Image.open(io.BytesIO(gallery.view(name).picture)).convert("L").resize((64, 64)), float)
            assert np.abs(shown-films[name]).mean() < np.abs(shown[:, ::-1]-films[name]).mean()
            frontal = table.at[name, "Frontal/Lateral"] == "Frontal"
            assert gallery.info.at[name, "Patient ID"] in name if frontal else pd.isna(gallery.info.at[name, "Patient ID"])
            for column, finding in NAMES.items():
                said, label = table.at[name, column], gallery.labels.at[name, finding]
                assert np.isnan(label) if said == -1 or not frontal else label == (said == 1)
                assert abs(gallery.probabilities.at[name, finding]-p.at[name, finding]) < 1e-4 or data
        browser.stop.set()
