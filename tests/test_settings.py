"`[tool.nbdev]` in pyproject.toml says what settings.ini says."
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

    from chexnet_nb.recipe import RECIPES
    preset = yaml.safe_load((ROOT/"nbs/experiments/presets/chexnet14.strong.yaml").read_text(encoding="utf-8"))
    said = {**preset, **preset["settings"]}
    assert {name: said[name] for name in RECIPES["strong"]} == {name: value for name, (value, _) in RECIPES["strong"].items()}
