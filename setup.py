"""Packaging: everything is read from settings.ini."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
config = ConfigParser(delimiters=["="], interpolation=None)
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]


def lines(key):
    "The non-empty lines of a settings.ini value."
    return [line.strip() for line in cfg.get(key, "").splitlines() if line.strip()]


class BuildWithParts(build_py):
    "Copies what lies elsewhere in the checkout into the built package; an editable install reads the checkout itself."

    parts = {"experiments": ("nbs/experiments", ("*.ipynb", "presets/*.yaml")), "published": ("data/published", ("*.csv",))}

    def run(self):
        "Build, then copy."
        super().run()
        if getattr(self, "editable_mode", False): return
        for part, (source, patterns) in self.parts.items():
            for file in sorted(f for pattern in patterns for f in (here / source).glob(pattern)):
                target = Path(self.build_lib) / "chexnet_nb" / part / file.relative_to(here / source)
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))


names = ("dicom", "backbones", "imagenet", "onnx", "hub", "maps", "medmnist", "lab", "dev")
extras = {name: lines(f"{name}_requirements") for name in names}
extras["all"] = sorted({r for name in extras if name != "medmnist" for r in extras[name]})

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8") if (here / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=f"https://github.com/{cfg['user']}/{cfg['repo']}",
    license="Apache-2.0",
    keywords=cfg["keywords"].split(),
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
    ],
    packages=find_namespace_packages(include=["chexnet_nb", "chexnet_nb.*"], exclude=["*.__pycache__*"]), # The assets too
    package_data={"chexnet_nb": ["*.json", "assets/*", "assets/*/*", "assets/voila/templates/*/*"]},
    cmdclass={"build_py": BuildWithParts},
    python_requires=f">={cfg['min_python']}",
    install_requires=lines("requirements"),
    extras_require=extras,
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": ["chexnet_nb=chexnet_nb._modidx:d"]},
    zip_safe=False,
)
