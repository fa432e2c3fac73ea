"Label tables of other hospitals at the command line: what is read is counted, and bad input is one message and exit 2."
import contextlib
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chexnet_nb.core.hospitals import FORMS
from chexnet_nb.report.cli import main

BUNDLED = Path(find_spec("torchxrayvision").submodule_search_locations[0])/"data"
MAPPING = "table: export.csv\nimage: file\npatient: case\nfindings: {Stauung: Edema}\nyes: [ja]\nno: [nein]\nuncertain: [offen]\n"


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
    other = pd.read_csv(tables/"p.csv").assign(**{"Image Index": [f"{i}.png" for i in range(40)]})
    other.to_csv(tables/"other.csv", index=False)
    return (["evaluate", tables/"other.csv", "--labels", tables/"train.csv", "--uncertain", "ignore"],
            "40 of 40 images have no labels: 0.png")


@pytest.mark.parametrize("what", ["unknown_word", "no_such_column", "no_column", "unknown_key", "undecided", "two_forms",
                                  "no_choice", "no_such_choice", "paths_that_match_nothing"])
def test_bad_input_is_one_message(tables, what):
    arguments, why = bad(tables, what)
    code, _, err = chexnet(*arguments)
    assert code == 2 and why in err and "Traceback" not in err, err
    assert not (tables/"out.csv").exists()


def test_a_real_table_is_read_in_seconds():
    code, said, _ = chexnet("labels", BUNDLED/"kaggle_stage_2_train_labels.csv.zip")
    assert code == 0 and "6012     20672" in said and "Lung opacity for Pneumonia" in said
