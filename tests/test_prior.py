"The prior systems are models like any other: what a user does with a network works on them, by command and in the browser."
import json

import pytest
import warm

from chexnet_nb.phantom.release import write_phantom

pytestmark = pytest.mark.xdist_group("prior")


def chexnet(*arguments):
    "What the command prints; it must succeed."
    code, out, err = warm.chexnet(*arguments)
    assert code == 0, err[-3000:]
    return out + err


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")/"phantom"
    return write_phantom(folder, patients=40, size=128, images_each=3, workers=1, progress=False)


@pytest.mark.parametrize("architecture", ["wang_demo,pooling=maximum", "yao_demo,width=8,order=Effusion"])
def test_every_command(architecture, phantom, tmp_path):
    run, films = tmp_path/"run", sorted((phantom/"images").glob("*.png"))[:3]
    chexnet("train", phantom, "--task", "chexnet14", "--split", "official", "--architecture", architecture, "--no-pretrained",
            "--size", 64, "--epochs", 1, "--batch-size", 32, "--out", run)
    assert json.loads((run/"model.json").read_text())["architecture"] == architecture
    chexnet("predict", run, *films, "--out", tmp_path/"p.csv")
    once = (tmp_path/"p.csv").read_text()
    chexnet("predict", run, *films, "--out", tmp_path/"again.csv")
    assert (tmp_path/"again.csv").read_text() == once and len(once.splitlines()) == 4 # the same image, the same numbers
    chexnet("evaluate", run/"predictions_test.csv", "--labels", phantom, "--n-boot", 50, "--out", tmp_path/"scored")
    assert (tmp_path/"scored"/"auroc.csv").exists()
    chexnet("cam", run, films[0], "--out", tmp_path/"maps", "--findings", "Effusion,Mass")
    assert len(list((tmp_path/"maps").glob("*_Effusion.png"))) == 1


def test_browser(phantom, tmp_path):
    from chexnet_nb.cam.browser import CamBrowser
    from chexnet_nb.data.dataset import prepare_data
    from chexnet_nb.models.recipe import new_recipe
    from chexnet_nb.training.fit import train
    study = prepare_data(phantom, 64, split="official", progress=False)
    for architecture in ("wang_demo", "yao_demo,width=8"):
        recipe = new_recipe(architecture=architecture, pretrained=False, size=64, epochs=1, batch_size=32)
        run = train(study, tmp_path/architecture.split(",")[0], recipe, progress=False)
        browser = CamBrowser(run, finding="Effusion", exports=tmp_path/"exports")
        assert browser.film["name"] and "network trained on synthetic images" in browser.about["tags"]
        assert browser.save().exists()
