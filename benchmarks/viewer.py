"""The CAM browser: seconds until the first picture of a folder, and milliseconds until the next film.

    python benchmarks/viewer.py [FOLDER] [--films 621] [--steps 40]

Without a folder of films, a phantom is drawn at 320 px; the network is a DenseNet-121 of random weights at 224 px. Opening is a
process of its own, with its imports and without. A film's time is what Python needs until its picture, map and numbers are with
the page, one step every 0.3 s; while probabilities of the other films are computed, and after. Writes viewer.md beside this file.
"""
import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from latency import processor
from measure import seconds

HERE = Path(__file__).parent
OPEN = """import sys, time
from chexnet_nb import CamBrowser
began = time.perf_counter()
browser = CamBrowser(*sys.argv[1:])
assert browser.film["image"], browser.message
print(time.perf_counter()-began)
browser.halt()"""


def steps(browser, count):
    "Milliseconds of so many steps, at a person's rhythm."
    found = []
    for _ in range(count):
        time.sleep(.3)
        found.append(1000*seconds(lambda: setattr(browser, "position", browser.position % browser.count + 1)))
    return f"{np.median(found):.0f} ms (at most {max(found):.0f})"


def opening(run, films):
    "Seconds of a process that opens a folder, and those after its imports."
    began = time.perf_counter()
    said = subprocess.check_output([sys.executable, "-c", OPEN, run, films])
    return time.perf_counter()-began, float(said)


def measure(run, films, count):
    "The rows of the table."
    from chexnet_nb.cam.browser import CamBrowser
    torch = min(seconds(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True)) for _ in range(3))
    whole, first = map(min, zip(*(opening(run, films) for _ in range(3))))
    browser = CamBrowser(run, films)
    early = steps(browser, count)
    browser.worker.join()
    return [("import torch", f"{torch:.2f} s"),
            ("the first picture, in a process that has imported the package", f"{first:.2f} s"),
            ("the first picture, with imports", f"{whole:.2f} s ({whole/torch:.2f} times that)"),
            ("the next film, others being computed", early), ("the next film", steps(browser, count))], len(browser.gallery.info)


def main():
    from chexnet_nb.models.chexnet import new_model, save_model
    from chexnet_nb.phantom.release import write_phantom
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?")
    for name, default in (("films", 621), ("steps", 40)): parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        save_model(new_model(pretrained=False).eval(), Path(work)/"run")
        drawn = dict(patients=options.films, images_each=1, size=320)
        films = options.folder or write_phantom(Path(work)/"data", **drawn)/"images"
        rows, count = measure(str(Path(work)/"run"), str(films), options.steps)
    kind = "given films" if options.folder else "drawn films (synthetic)"
    (HERE/"viewer.md").write_text(
        f"# The viewer\n\n`python benchmarks/viewer.py`: {count:,} {kind}, {processor()}; {options.steps} steps "
        "each, medians.\n\n"
        "| | |\n|---|---:|\n" + "\n".join(f"| {what} | {value} |" for what, value in rows) + "\n")
    print((HERE/"viewer.md").read_text())


if __name__ == "__main__": main()
