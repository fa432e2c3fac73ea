"""What decoding one radiograph costs by decoder, and what each says to a damaged file.

    python benchmarks/decoders.py DATA1024 [REPEATS]

DATA1024: a folder of 1024 px PNG radiographs; those in grayscale count. Decoders that are not installed
(`pip install imagecodecs simplejpeg`) are left out.
Writes decoders.csv beside this script. Every figure is the median of REPEATS rounds, one thread; a round measures all.
"""
import importlib.util
import os
import sys
import time
from io import BytesIO
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from chexnet_nb.data.images import find_images, read_radiograph

torch.set_num_threads(1)


def by_pillow(data): return np.asarray(Image.open(BytesIO(data)).convert("L"))


def by_torchvision(data):
    return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.GRAY)[0].numpy()


def decoders():
    "Name -> {format: function of a file's bytes}."
    found = {"chexnet_nb (Pillow, checked)": dict.fromkeys(("PNG", "JPEG"), read_radiograph),
             "Pillow": dict.fromkeys(("PNG", "JPEG"), by_pillow), "torchvision": dict.fromkeys(("PNG", "JPEG"), by_torchvision)}
    if importlib.util.find_spec("imagecodecs"):
        import imagecodecs
        found["imagecodecs"] = {"PNG": imagecodecs.png_decode, "JPEG": imagecodecs.jpeg8_decode}
        found["imagecodecs, spng"] = {"PNG": imagecodecs.spng_decode}
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg
        found["simplejpeg"] = {"JPEG": lambda data: simplejpeg.decode_jpeg(data, colorspace="GRAY")[..., 0]}
    return found


def as_jpeg(data):
    "The same picture as a JPEG of quality 95."
    file = BytesIO()
    Image.open(BytesIO(data)).convert("L").save(file, "JPEG", quality=95)
    return file.getvalue()


def damaged(data, kind):
    "A file cut at 60%, one with a changed byte in the middle, and the first with an end marker, as if it were whole."
    cut, half = len(data)*6//10, len(data)//2
    end = {"PNG": b"\0\0\0\0IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}[kind]
    return {"cut off": data[:cut], "a changed byte": data[:half] + bytes([data[half] ^ 85]) + data[half+1:],
            "cut off, with an end": data[:cut] + end}


def answer(work, data):
    "What a decoder does with a damaged file, tried in a process of its own: it may crash."
    child = os.fork()
    if not child:
        try: work(data)
        except Exception: os._exit(1)
        os._exit(0)
    return {0: "read", 1: "refused"}.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "crashed")


def main(folder, repeats=7):
    pngs = [data for data in map(Path.read_bytes, find_images(folder).values()) if Image.open(BytesIO(data)).mode == "L"]
    files, times, found = {"PNG": pngs, "JPEG": [as_jpeg(data) for data in pngs]}, {}, decoders()
    for _ in range(int(repeats)):
        for name, formats in found.items():
            for kind, work in formats.items():
                start = time.process_time()
                for data in files[kind]: work(data)
                times.setdefault((kind, name), []).append(1e3*(time.process_time()-start)/len(pngs))
    rows = []
    for (kind, name), each in times.items():
        work = found[name][kind]
        ours = [read_radiograph(data) for data in files[kind]]
        apart = max(int(np.abs(np.squeeze(work(data)).astype(int)-own).max()) for data, own in zip(files[kind], ours))
        rows.append((kind, name, np.median(each), np.median(np.array(each)/times[kind, "Pillow"]), apart,
                     *(answer(work, bad) for bad in damaged(files[kind][0], kind).values())))
    table = pd.DataFrame(rows, columns=["format", "decoder", "CPU ms an image", "of Pillow's time", "largest difference",
                                        *damaged(pngs[0], "PNG")]).round(3)
    table.to_csv(Path(__file__).parent/"decoders.csv", index=False)
    print(table.to_string(index=False), f"\n{len(pngs)} images, {repeats} rounds, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__": main(*sys.argv[1:])
