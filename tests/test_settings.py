"`[tool.nbdev]` in pyproject.toml says what settings.ini says; Jupyter's settings clean this checkout's notebooks alone."
import asyncio
import json
import os
import shutil
from configparser import ConfigParser
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
ROOT = Path(__file__).parents[1]


def test_both_settings_say_the_same():
    ini = ConfigParser(delimiters=["="], interpolation=None)
    ini.read(ROOT/"settings.ini", encoding="utf-8")
    text = lambda v: " ".join(v) if isinstance(v, list) else str(v)
    toml = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["tool"]["nbdev"]
    assert {k: text(v) for k, v in toml.items()} == {k: ini["DEFAULT"][k] for k in toml}


def test_the_strong_preset_is_the_strong_recipe():
    import yaml

    from chexnet_nb.models.recipe import RECIPES
    preset = yaml.safe_load((ROOT/"nbs/experiments/presets/chexnet14.strong.yaml").read_text(encoding="utf-8"))
    said = {**preset, **preset["settings"]}
    assert {name: said[name] for name in RECIPES["strong"]} == {name: value for name, (value, _) in RECIPES["strong"].items()}


def test_notebooks_of_the_checkout_are_cleaned_as_they_are_saved(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    manager_of = pytest.importorskip("jupyter_server.services.contents.largefilemanager").LargeFileManager
    loader = pytest.importorskip("traitlets.config.loader").PyFileConfigLoader
    (tmp_path/"checkout/.ci").mkdir(parents=True)
    (tmp_path/"elsewhere").mkdir()
    shutil.copy(ROOT/".ci/lab.py", tmp_path/"checkout/.ci")
    link = tmp_path/"jupyter_server_config.py"
    link.symlink_to(tmp_path/"checkout/.ci/lab.py") # As `make hooks` does it
    manager = manager_of(config=loader(link.name, tmp_path).load_config(), root_dir=str(tmp_path))
    for place in ("checkout", "elsewhere"):
        outputs = [nbformat.v4.new_output("stream", name=n, text=n) for n in ("stdout", "stderr")]
        cell = nbformat.v4.new_code_cell("1", execution_count=3, outputs=outputs)
        nb = nbformat.v4.new_notebook(cells=[cell], metadata=dict(widgets={"state": {}}))
        manager.save(dict(type="notebook", format="json", content=nb), f"/{place}/x.ipynb")
        saved = nbformat.read(tmp_path/place/"x.ipynb", 4)
        cleaned = place == "checkout"
        assert [o.name for o in saved.cells[0].outputs] == (["stdout"] if cleaned else ["stdout", "stderr"])
        assert (saved.cells[0].execution_count is None) == cleaned == ("widgets" not in saved.metadata)


def test_opening_a_notebook_of_the_checkout_does_not_change_it(tmp_path):
    "It is read with what its kernel says of itself; and no question about news is asked."
    nbformat = pytest.importorskip("nbformat")
    loader = pytest.importorskip("traitlets.config.loader").PyFileConfigLoader
    for place in ("checkout/.ci", "elsewhere"): (tmp_path/place).mkdir(parents=True)
    shutil.copy(ROOT/".ci/lab.py", tmp_path/"checkout/.ci")
    config = loader("lab.py", tmp_path/"checkout/.ci").load_config()
    manager = config.ServerApp.contents_manager_class(root_dir=str(tmp_path))
    for place, filled in dict(checkout=True, elsewhere=False).items():
        nbformat.write(nbformat.v4.new_notebook(), tmp_path/place/"x.ipynb")
        model = asyncio.run(manager.get(f"/{place}/x.ipynb"))
        assert ({"kernelspec", "language_info"} <= set(model["content"]["metadata"])) == filled
    news = json.loads((ROOT/".ci/overrides.json").read_text(encoding="utf-8"))["@jupyterlab/apputils-extension:notification"]
    assert news == dict(fetchNews="false", checkForUpdates=False)


@pytest.mark.parametrize("folder, transport", [("/tmp/r", "ipc"), ("/tmp/" + "r"*80, None)])
def test_kernels_have_sockets_in_files_where_their_path_is_short_enough(folder, transport, monkeypatch):
    loader = pytest.importorskip("traitlets.config.loader").PyFileConfigLoader
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", folder)
    assert loader("lab.py", ROOT/".ci").load_config().ConnectionFileMixin.get("transport") == transport


def test_make_reports_says_how_long_the_rest_takes(tmp_path):
    import importlib.util
    spec = importlib.util.spec_from_file_location("progress", ROOT/".ci/progress.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said = lambda now: module.progress(1000, dict(old=50, first=30, second=270), now, tmp_path, tmp_path/".ready")
    for name, made in (("old", 500), ("first", 1060)):
        (tmp_path/name).mkdir()
        (tmp_path/name/"report.json").touch()
        os.utime(tmp_path/name/"report.json", (made, made))
    assert said(1090) == "2 of 3 reports stand; the others take about 9 minutes at this pace" # 120 s for what took 60
    (tmp_path/".ready").touch()
    os.utime(tmp_path/".ready", (1030, 1030)) # What came before was installing
    assert said(1060) == "2 of 3 reports stand; the others take about 4 minutes at this pace"
    (tmp_path/"second").mkdir()
    (tmp_path/"second/report.json").touch()
    assert said(1100) is None


@pytest.mark.xdist_group("group")
def test_groups_stay_together(request):
    "pytest 9.2 with pytest-xdist 3.8 ignores groups in silence: every process then makes what the tests of a group share."
    if "PYTEST_XDIST_WORKER" in os.environ: assert request.node.nodeid.endswith("@group")
