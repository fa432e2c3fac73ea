"""How many copies of a radiograph the leak check finds, by what was done to them, and how near two different ones come.

    python benchmarks/near_duplicates.py FOLDER [--images 200]

FOLDER holds NIH's radiographs as PNG. Writes near_duplicates.csv beside this file: the share of copies found by one hash
of the whole image and one of its middle, and with all variants, at the bits that the check uses; in the last row the share of
pairs of different patients that come as near, and the bits of the nearest pair.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from chexnet_nb.audit.leaks import NEAR_BITS, VARIANTS, all_hashes, moved, near_pairs

PIXEL = 1 / 224
CHANGES = {"shifted by 1 pixel of 224": (1, 0, PIXEL, 0), "shifted by 2 pixels": (1, 0, 2 * PIXEL, 0),
           "shifted by 3 pixels right and down": (1, 0, 3 * PIXEL, 3 * PIXEL), "cropped by 1%": (1.01, 0, 0, 0),
           "cropped by 3%": (1.03, 0, 0, 0), "cropped by 5%": (1.05, 0, 0, 0), "turned by 1 degree": (1, 1, 0, 0),
           "turned by 2.2 degrees": (1, 2.2, 0, 0), "turned by 4 degrees": (1, 4, 0, 0),
           "turned by 1 degree, cropped by 2%, shifted by 1 pixel": (1.02, 1, PIXEL, PIXEL)}


def with_letters(image):
    "The image with letters in a corner."
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text((8, 8), "L PORT", fill=255, font=ImageFont.load_default(20))
    return np.asarray(picture)


def found(plain, copies, variants):
    "Share of the copies that are found as those of their own image."
    pairs = near_pairs(plain, all_hashes(copies, variants))
    return len(np.unique(pairs[pairs[:, 0] == pairs[:, 1], 0])) / len(copies)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200)
    asked = parser.parse_args()
    files = sorted(asked.folder.glob("*.png"))
    read = [np.asarray(Image.open(f).convert("L").resize((224, 224), Image.BILINEAR)) for f in files]
    images, who = np.stack(read), pd.factorize(np.array([f.name[:8] for f in files]))[0]
    some = images[np.linspace(0, len(images) - 1, min(asked.images, len(images))).astype(int)]
    copies = {name: moved(some, *change) for name, change in CHANGES.items()}
    copies |= {"inverted": 255 - some, "letters in a corner": np.stack([with_letters(i) for i in some])}
    plain, hashes = all_hashes(some), all_hashes(images)
    rows = [(name, found(plain, c, VARIANTS[:1]), found(plain, c, VARIANTS)) for name, c in copies.items()]
    pairs = near_pairs(hashes, all_hashes(images, VARIANTS), bits=80)
    pairs = pairs[who[pairs[:, 0]] != who[pairs[:, 1]]]
    apart = int((who[:, None] < who).sum())
    table = pd.DataFrame(rows, columns=["copy", "as it is", "in all variants"])
    name = f"{apart:,} pairs of different patients; the nearest differs in {pairs[0, 2]} bits"
    table.loc[len(table)] = name, np.nan, (pairs[:, 2] <= NEAR_BITS).sum() / apart
    table.to_csv(Path(__file__).with_name("near_duplicates.csv"), index=False, float_format="%.3f")
    print(table.to_string())


if __name__ == "__main__":
    main()
