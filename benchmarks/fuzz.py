"""Files made at random from good ones: each must be read, or refused by a message, within 2 GB and 20 s of computing.

    python benchmarks/fuzz.py [--inputs 20000] [--kinds weights,graphs,images,records] [--seed 0] [--keep FOLDER]

Every input is made from its seed, kind and number alone. A process forked from this one reads a batch of them under limits of
memory and time; whatever ends otherwise is printed, and its file kept in FOLDER. Prints the table of fuzz.md.
"""
import argparse
import copy
import io
import json
import os
import pickletools
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import onnx
import pandas as pd
import pydicom
import torch
import yaml
from PIL import Image

import chexnet_nb
from chexnet_nb.core import torchfile
from chexnet_nb.core.errors import BadInput
from chexnet_nb.core.files import resource_path
from chexnet_nb.core.text import escape_text
from chexnet_nb.data.images import decode, file_bytes, resize
from chexnet_nb.data.labels import read_labels
from chexnet_nb.data.source import NIH, labels_used, read_source
from chexnet_nb.models.chexnet import new_model, save_model
from chexnet_nb.models.recipe import new_recipe
from chexnet_nb.models.state_dict import read_checkpoint
from chexnet_nb.report.experiment import check_parameters, find_experiment, preset_values
from chexnet_nb.report.page import headline_text, report_order
from chexnet_nb.runs import onnxfile
from chexnet_nb.runs.external import _from_onnx, network_from_checkpoint
from chexnet_nb.runs.graph import probe_images
from chexnet_nb.runs.hub import write_shared
from chexnet_nb.runs.inference import predict_files
from chexnet_nb.runs.run import Run

GROWTH, SECONDS = 2 << 30, 20 # Limits of one input: bytes of address space beyond the start, seconds of computing
BATCH = 200 # Inputs that one process reads
NUMBERS = (0, 1, 2, 7, 255, 256, 32_767, 65_535, 65_536, 2**28, 2**31-1, 2**31, 2**32-1, 2**63-1)


# Any file ------------------------------------------------------------------------------------------

def place(rng, length):
    "A position, half of the time near the beginning, a tenth of the time near the end."
    near = rng.random()
    if near < .5: return rng.randrange(min(length, 300))
    return length-1-rng.randrange(min(length, 100)) if near < .6 else rng.randrange(length)


def change_bytes(rng, data):
    "Some bytes set, removed, repeated, put in or cut off."
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 30))):
        if not data: break
        at, n = place(rng, len(data)), rng.choice((1, 2, 4, 8, 64))
        how = rng.randrange(7)
        if how == 0: data[at] ^= 1 << rng.randrange(8)
        elif how == 1: data[at] = rng.choice((0, 1, 0x7f, 0x80, 0xfe, 0xff))
        elif how == 2: data[at:at+4] = struct.pack(rng.choice("<>")+"Q", rng.choice(NUMBERS))[:rng.choice((2, 4, 8))]
        elif how == 3: del data[at:at+n]
        elif how == 4: data[at:at] = data[at:at+n]*rng.choice((1, 2, 100))
        elif how == 5: data[at:at] = rng.randbytes(n)
        elif rng.random() < .3: del data[at:]
    return bytes(data)


# Weights -------------------------------------------------------------------------------------------

CODES = [
    b"}", b"]", b")", b"N", b"(", b"R", b"b", b"s", b"u", b"0", b"2", b"1", b"t", b"a", b"e", b"\x85", b"\x86", b"\x8f", b"\x90",
    b"\x81", b"\x92", b"\x93", b"\x94", b"\x97", b"\x98", b"Q", b".", b"\x80\x05", b"\x80\xff", b"cos\nsystem\n",
    b"ctorch\nSize\n", b"ccollections\nOrderedDict\n", b"cbuiltins\nset\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"X\xff\xff\xff\xff", b"B\xff\xff\xff\x7f",
    b"\x8e"+b"\xff"*8, b"\x8d"+b"\x7f"*8, b"\x95"+b"\xff"*8, b"\x96"+b"\xff"*8, b"\x8c\x03abc", b"\x8a\xff"+b"\x7f"*255,
    b"\x8b\xff\xff\xff\x7f", b"\x82\x01", b"G\x7f\xf8"+bytes(6), b"I"+b"9"*5000+b"\n", b"Lx\n", b"F1e999\n", b"S'\\xff'\n",
    b"V\\ud800\n", b"g-1\n", b"p99999999\n"]


def codes_of(data):
    "The parts of a pickle, one per operation."
    starts = [at for *_, at in pickletools.genops(data)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)])]


def change_codes(rng, codes):
    "A pickle with some of its operations removed, repeated, moved or replaced."
    codes = list(codes)
    for _ in range(rng.choice((1, 1, 2, 3, 10))):
        at = rng.randrange(len(codes))
        how = rng.randrange(6)
        if how == 0: del codes[at:at+rng.choice((1, 1, 2, 20))]
        elif how == 1: codes[at:at] = codes[at:at+1]*rng.choice((1, 2, 1000, 100_000))
        elif how == 2: codes.insert(rng.randrange(len(codes)), codes[at])
        elif how == 3: codes[at] = rng.choice(CODES)
        elif how == 4: codes[at:at] = rng.choices(CODES, k=rng.choice((1, 2, 5)))
        elif codes[at][:1] in b"KMJ": codes[at] = b"\x8a\x09" + rng.choice((-1, *NUMBERS)).to_bytes(9, "little", signed=True)
        if not codes: return b"."
    return b"".join(codes)


def tensors_of(rng, network):
    "Tensors of a small network, what stands beside them, and how they are wrapped."
    layer = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 3))
    about = dict(epoch=3, classes=["Mass", "Hernia", "Edema"], mean=[.5], std=[.2], img_size=64, rate=np.float32(.1))
    for _ in range(rng.randrange(3)): about[rng.choice(list(about))] = rng.choice(ODD)
    if rng.random() < .15: return dict(state_dict=network, **about)
    state = layer.state_dict()
    return rng.choice((state, layer, dict(state_dict=state, **about), dict(model=layer, **about),
                       dict(a=state, ema=state, **about)))


def make_weights(rng, goods={}):
    "A file of weights."
    if not goods: goods.update(network=new_model(architecture="densenet_28", size=28, pretrained=False).state_dict())
    kind = rng.choice(("zip", "zip", "zip", "legacy", "safetensors"))
    if kind == "safetensors": return "w.safetensors", make_safetensors(rng)
    file = io.BytesIO()
    torch.save(tensors_of(rng, goods["network"]), file, _use_new_zipfile_serialization=kind == "zip")
    data = file.getvalue()
    if rng.random() < .2: return "w.pth", data
    if rng.random() < .3: return "w.pth", change_bytes(rng, data)
    return "w.pth", change_zip(rng, data) if kind == "zip" else change_legacy(rng, data)


def change_zip(rng, data):
    "A torch archive with another pickle, other entries, or an untrue directory."
    with zipfile.ZipFile(io.BytesIO(data)) as archive: parts = {name: archive.read(name) for name in archive.namelist()}
    pickled, out = next(name for name in parts if name.endswith("data.pkl")), io.BytesIO()
    if rng.random() < .8: parts[pickled] = change_codes(rng, codes_of(parts[pickled]))
    if rng.random() < .2: parts.pop(rng.choice(list(parts)))
    if rng.random() < .2: parts[rng.choice(list(parts))] = rng.randbytes(rng.choice((0, 3, 8, 4096)))
    if rng.random() < .1: parts[rng.choice(("x/data/99", "../y", "x/constants.pkl", "x/byteorder", "z"))] = b"big"
    with zipfile.ZipFile(out, "w", rng.choice((0, 0, 0, 0, 8, 12, 14))) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in parts.items(): archive.writestr(name, content)
        if rng.random() < .1: archive.writestr(pickled, parts.get(pickled, b""))
        if rng.random() < .1 and archive.infolist(): rng.choice(archive.infolist()).file_size = rng.choice(NUMBERS[:-1])
    return change_bytes(rng, out.getvalue()) if rng.random() < .2 else out.getvalue()


def change_legacy(rng, data):
    "A torch file from before 1.6 with one of its pickles changed."
    stream, pickles = io.BytesIO(data), []
    for _ in range(5):
        start = stream.tell()
        for _ in pickletools.genops(stream): pass
        pickles.append(data[start:stream.tell()])
    at = rng.choice((0, 1, 2, 3, 3, 3, 3, 4))
    pickles[at] = change_codes(rng, codes_of(pickles[at]))
    return b"".join(pickles) + data[stream.tell():]


def make_safetensors(rng):
    "A .safetensors file."
    from safetensors.torch import save
    data = save({"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3)}, dict(classes='["Mass"]', size="64"))
    n, = struct.unpack_from("<Q", data)
    head, rest = json.loads(data[8:8+n]), data[8+n:]
    if rng.random() < .3: return change_bytes(rng, data)
    text = change_json(rng, head).encode("utf-8", "surrogatepass")
    length = rng.choice((len(text),)*9 + NUMBERS)
    return struct.pack("<Q", length) + text + rest*rng.choice((0, 1, 1, 1, 2))


SERVER = """import json, os, sys
sys.path.insert(0, {!r})
import onnx
from chexnet_nb.core import torchfile
for line in sys.stdin:
    child = os.fork()
    if not child:
        torchfile._main(*json.loads(line))
        print(flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Reader:
    "`read_limited` by a process that forks for each file in place of one that starts anew: the same work and limits, sooner."
    process, owner = None, 0

    def __call__(self, module, function, file, *args, memory=torchfile.MEMORY, seconds=torchfile.SECONDS):
        if self.owner != os.getpid():
            command = [sys.executable, "-c", SERVER.format(str(Path(chexnet_nb.__file__).parents[1]))]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            free = lambda: resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,)*2)
            self.process = subprocess.Popen(command, **pipes, preexec_fn=free)
            self.owner = os.getpid()
        print(json.dumps([module, function, memory, seconds, str(file), *args]), file=self.process.stdin, flush=True)
        found = self.process.stdout.readline()
        try: found = json.loads(found)
        except ValueError: pass
        if not isinstance(found, dict): return dict(error=f"reading it ended its process ({found})", kind="Ended")
        self.process.stdout.readline()
        return found


torchfile.read_limited = onnxfile.read_limited = Reader()


def read_weights(file):
    "As `chexnet import --pickled` does."
    network_from_checkpoint(read_checkpoint(file, pickled=True), file, architecture="densenet_28")


# Graphs --------------------------------------------------------------------------------------------

OPERATIONS = ("Identity", "Sigmoid", "Softmax", "Flatten", "Reshape", "Cast", "Shape", "ConstantOfShape", "Tile", "Expand",
              "Loop", "If", "GlobalAveragePool", "Conv", "Gemm", "Resize", "Range", "x", "")


def good_graph(rng):
    "A network of one convolution, with its feature maps or without."
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    nodes = [node("Conv", ["x", "k"], ["f"]), node("GlobalAveragePool", ["f"], ["m"]), node("Flatten", ["m"], ["v"]),
             node("Gemm", ["v", "w", "b"], ["z"]), node("Sigmoid", ["z"], ["y"])]
    weights = dict(k=np.ones((4, 3, 3, 3), np.float32), w=np.eye(4, 2, dtype=np.float32), b=np.zeros(2, np.float32))
    outputs = [value("y", 1, ["n", 2]), value("f", 1, ["n", 4, 26, 26])][:rng.choice((1, 2, 2))]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, ["n", 3, 28, 28])], outputs,
                                   [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.helper.set_model_props(model, dict(classes='["Mass", "Edema"]', size="28"))
    return model


def change_graph(rng, model):
    "A graph with other operations, names, sizes or words."
    graph, names = model.graph, ("x", "k", "f", "m", "v", "w", "b", "z", "y", "", "q")
    for _ in range(rng.choice((1, 1, 2, 4))):
        how, node = rng.randrange(8), rng.choice(graph.node)
        if how == 0: node.op_type = rng.choice(OPERATIONS)
        elif how == 1 and node.input: node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif how == 2: node.output[0] = rng.choice(names)
        elif how == 3: graph.node.append(rng.choice(graph.node))
        elif how == 4:
            w = rng.choice(graph.initializer)
            w.dims[rng.randrange(len(w.dims))] = rng.choice(NUMBERS)
        elif how == 5:
            shape = rng.choice([*graph.input, *graph.output]).type.tensor_type.shape
            if shape.dim: rng.choice(shape.dim).dim_value = rng.choice(NUMBERS)
        elif how == 6: graph.output.append(rng.choice([*graph.output, *graph.input]))
        else: onnx.helper.set_model_props(model, {rng.choice(("classes", "size", "chexnet_nb", "mean")): rng.choice(
            ("[]", "{}", "9"*5000, '["\\u0000", 1]', '{"size": -1, "findings": [[]]}', "x"*100_000))})
    return model


def make_graph(rng):
    "An ONNX file."
    data = change_graph(rng, good_graph(rng)).SerializeToString()
    return "g.onnx", change_bytes(rng, data) if rng.random() < .4 else data


def read_graph_file(file):
    "As `chexnet import` does, without a run folder."
    made, _ = _from_onnx(file, None, ("Mass", "Edema"), None, False)
    if made.model.graph.features: made.model.class_maps(made.model.to_input(probe_images(made.model.size)))


# Images --------------------------------------------------------------------------------------------

def chest(n=40):
    "A picture that is not flat, 0 to 1."
    y, x = np.mgrid[0:n, 0:n]/n
    return (np.sin(6*x)*np.cos(5*y)+1)/2


def encoded(picture, kind, **how):
    "A picture as a file."
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **how)
    return out.getvalue()


def good_pictures():
    "Good files of every format and depth."
    eight, sixteen = np.uint8(255*chest()), np.uint16(4095*chest())
    colour = np.stack([eight, eight//2, 255-eight], -1)
    made = [encoded(p, "PNG") for p in (eight, sixteen, colour, eight > 99)]
    made += [encoded(eight, "JPEG"), encoded(colour, "JPEG", progressive=True), encoded(eight, "BMP"), encoded(colour, "WEBP")]
    packed = None, "tiff_lzw", "tiff_adobe_deflate"
    made += [encoded(p, "TIFF", compression=c) for p in (eight, sixteen, colour) for c in packed]
    return made + [encoded(np.float32(chest()), "TIFF"), encoded(np.int32(999*chest()), "TIFF")]


def good_dicom():
    "Good data sets: grey and colour, plain and compressed, with tables, windows and padding."
    def dicom(values, syntax="1.2.840.10008.1.2.1", pixels=None, **tags):
        d = pydicom.Dataset()
        meta = d.file_meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.1"
        meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = "1.2.3"
        d.SOPClassUID, d.Rows, d.Columns = meta.MediaStorageSOPClassUID, *values.shape[:2]
        d.SamplesPerPixel, d.PixelRepresentation = 1, 0
        if values.ndim == 3: d.SamplesPerPixel, d.PlanarConfiguration = 3, 0
        d.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
        d.BitsAllocated = d.BitsStored = 8*values.dtype.itemsize
        d.HighBit, d.PixelData = d.BitsStored-1, pixels or values.tobytes()
        d["PixelData"].VR = "OB" if pixels or values.dtype == np.uint8 else "OW"
        for name, value in tags.items(): setattr(d, name, value)
        return d
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [64, 0, 16], np.arange(0, 4096, 64).astype("<u2").tobytes()
    eight, twelve = np.uint8(255*chest()), np.uint16(4095*chest())
    framed = lambda kind, **how: pydicom.encaps.encapsulate([encoded(eight, kind, **how)])
    rle = dicom(eight)
    rle.compress("1.2.840.10008.1.2.5")
    return [dicom(twelve, BitsStored=12, HighBit=11, WindowCenter=2000, WindowWidth=3000), dicom(eight), rle,
            dicom(twelve, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=4095, RescaleSlope=2, RescaleIntercept=-9),
            dicom(eight, VOILUTSequence=[table], PresentationLUTShape="INVERSE"), dicom(twelve, ModalityLUTSequence=[table]),
            dicom(np.stack([eight]*3, -1)), dicom(eight, "1.2.840.10008.1.2.4.50", framed("JPEG")),
            dicom(eight, "1.2.840.10008.1.2.4.90", framed("JPEG2000")), dicom(eight, "1.2.840.10008.1.2.1.99"),
            dicom(eight, PhotometricInterpretation="PALETTE COLOR", **{
                f"{c}PaletteColorLookupTable{part}": value for c in ("Red", "Green", "Blue") for part, value in
                (("Descriptor", [256, 0, 16]), ("Data", np.arange(0, 65_536, 256).astype("<u2").tobytes()))})]


TEXTS = ("", "nan", "-inf", "1e300", "-1", "0", "abc", "1\\2\\3", "9"*400, "\\", "MONOCHROME1", "YBR_FULL_422", "RGB",
         "SIGMOID", "INVERSE")
TAGS = """Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PlanarConfiguration NumberOfFrames
PhotometricInterpretation WindowCenter WindowWidth VOILUTFunction RescaleSlope RescaleIntercept PixelPaddingValue
PixelPaddingRangeLimit PresentationLUTShape LUTDescriptor LUTData SmallestImagePixelValue PixelData
RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableData ExtendedOffsetTable SOPClassUID""".split()


def make_dicom(rng, goods=[]):
    "A DICOM file with other values in its header."
    if not goods: goods.extend(good_dicom())
    dataset = copy.deepcopy(rng.choice(goods))
    if rng.random() < .1: dataset.file_meta = copy.deepcopy(rng.choice(goods).file_meta)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        name = rng.choice(TAGS)
        tables = dataset.get("VOILUTSequence") or dataset.get("ModalityLUTSequence") or [dataset]
        holder = tables[0] if name.startswith("LUT") else dataset
        tag = pydicom.datadict.tag_for_keyword(name)
        if rng.random() < .2: holder.pop(tag, None)
        elif name == "PixelData": holder[tag] = pydicom.DataElement(tag, "OB", change_bytes(rng, holder.get(name) or b"\0"))
        else:
            raw = rng.choice((rng.choice(TEXTS).encode(), struct.pack("<Q", rng.choice(NUMBERS))[:rng.choice((0, 2, 2, 4, 6))]))
            raw, vr = raw + b" "*(len(raw) % 2), rng.choice((pydicom.datadict.dictionary_VR(tag)[:2], "UN", "OB"))
            holder[tag] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(tag), vr, len(raw), raw, 0, False, True)
    out = io.BytesIO()
    try: pydicom.dcmwrite(out, dataset, enforce_file_format=rng.random() < .8, implicit_vr=False, little_endian=True)
    except Exception: return make_dicom(rng) # Values that cannot be written
    return change_bytes(rng, out.getvalue()) if rng.random() < .5 else out.getvalue()


def change_png(rng, data):
    "A PNG of valid checksums with chunks removed, repeated, moved, changed or put in."
    chunks, at = [], 8
    while at < len(data):
        n, = struct.unpack_from(">I", data, at)
        chunks.append((data[at+4:at+8], data[at+8:at+8+n]))
        at += 12+n
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(chunks))
        how = rng.randrange(5)
        if how == 0: del chunks[at]
        elif how == 1: chunks[at:at] = chunks[at:at+1]*rng.choice((1, 2, 500))
        elif how == 2: chunks.insert(rng.randrange(len(chunks)), chunks.pop(at))
        elif how == 3: chunks[at] = chunks[at][0], change_bytes(rng, chunks[at][1] or b"\0")
        else:
            kind = rng.choice("tRNS PLTE gAMA iCCP zTXt eXIf acTL fcTL fdAT cHRM iTXt pHYs".split()).encode()
            inner = rng.choice((b"", rng.randbytes(9), b"x\0\0"+zlib.compress(bytes(30_000_000), 1), struct.pack(">2I", 9, 0)))
            chunks.insert(at, (kind, inner))
        if not chunks: break
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k+d)) for k, d in chunks)
    return data[:8] + b"".join(parts)


def make_image(rng, goods=[]):
    "An image file of any format."
    if rng.random() < .5: return "i.dcm", make_dicom(rng)
    if not goods: goods.extend(good_pictures())
    data = rng.choice(goods)
    if data[:4] == b"\x89PNG" and rng.random() < .7: return "i.png", change_png(rng, data)
    return "i.png", change_bytes(rng, data)


def read_image(file):
    "As every command that opens a radiograph does."
    resize(decode(file_bytes(file), str(file)).image, 64)


# Records -------------------------------------------------------------------------------------------

ODD = (None, True, -1, 0, 3, 10**30, -.5, 1e308, float("nan"), float("inf"), "", "x", "\x1b[2J\r\n", "../..", "/dev/zero", "a\0b",
       "\ud800", "x"*100_000, "<script>", [], {}, [[]], [1, "a", None], {"a": {"b": 1}}, [0]*5000, {"": ""}, "2017-01-01",
       "nan", ["\0"])


def change_json(rng, tree):
    "A tree with some of its values replaced, removed or repeated, as text that may be damaged too."
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 2, 4))):
        spot = tree
        while isinstance(spot, (dict, list)) and spot:
            key = rng.choice(list(spot)) if isinstance(spot, dict) else rng.randrange(len(spot))
            if rng.random() < .4 or not isinstance(spot[key], (dict, list)) or not spot[key]: break
            spot = spot[key]
        if not spot: continue
        how = rng.random()
        if how < .2: del spot[key]
        elif how < .3 and isinstance(spot, dict): spot[rng.choice(("x", "\x1b", "", "ü"*99))] = copy.deepcopy(spot[key])
        else: spot[key] = copy.deepcopy(rng.choice(ODD))
    text = json.dumps(rng.choice(ODD) if rng.random() < .03 else tree)
    if rng.random() < .1:
        long = rng.choice(("9"*5000, "["*99_999, "{\"a\":"*9999))
        text = text.replace(rng.choice(("1", '"x"', "true", "{}", ",")), long, 3)
    return change_bytes(rng, text.encode()).decode("utf-8", "surrogateescape") if rng.random() < .15 else text


def change_yaml(rng, text):
    "A preset with odd values, tags, anchors or damage."
    values = yaml.safe_load(text) or {}
    for _ in range(rng.choice((0, 1, 2))):
        values[rng.choice([*values, "size", "epochs", "settings", "data", "lr", "findings", "x"])] = rng.choice(ODD)
    text = yaml.safe_dump(values, allow_unicode=True)
    doubled = "a: &a [x,x]\n" + "".join(f"b{i}: &b{i} [*{p},*{p}]\n" for i in range(25) for p in [f"b{i-1}" if i else "a"])
    if rng.random() < .3:
        text += rng.choice(("seed: !!python/object/apply:os.system [ls]\n", "? [a]\n: 1\n", "seed: &a [*a]\n", "<<: {seed: 1}\n",
                            "seed: 1:30\n", "seed: 0o17\n", "seed: "+"9"*5000+"\n", "a: "+"["*3000+"\n", "- 1\n", "--- 1\n",
                            "\t\n", "1: 2\n", doubled))
    return change_bytes(rng, text.encode()).decode("utf-8", "surrogateescape") if rng.random() < .3 else text


class Good:
    "A run, a data folder's record, a report and presets, made once."
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        run = self.folder/"run"
        run.mkdir()
        model = new_model(("Mass", "Edema"), "densenet_28", size=28, pretrained=False)
        save_model(model, run, epoch=0, task="chexnet14", trained_on="synthetic images", mean=[.5]*3, std=[.2]*3, exclusive=False)
        split = dict(about="random", folds={f: dict(images=9, patients=3) for f in ("train", "val", "test")})
        recipe = asdict(new_recipe(task="chexnet14", architecture="densenet_28", size=28, pretrained=False))
        source = dict(title="Drawn", labels="drawn", citation="", terms="", notes=["Synthetic."], synthetic=True, details={})
        about = dict(status="finished", task="chexnet14", recipe=recipe, split=split, labels="drawn", source=source,
                     synthetic=True,
                     data="data", cache="data/.cache/28", relative=dict(data="../data", cache="../data/.cache/28"), best_epoch=1,
                     conditions=dict(devices=1, precision="32-true"), versions=dict(torch="1.0"), opened=dict(split="random"),
                     data_fingerprint="a", label_fingerprint="b", image_fingerprint="c", imported=dict(what="x", licence="none"),
                     nodes=1)
        self.records = {"run/run.json": about, "run/model.json": json.loads((run/"model.json").read_text()),
                        "run/thresholds.json": dict(Mass=.5, Edema=None),
                        "run/cam_scale.json": dict(zero=dict(Mass=.1), top=2., images=9),
                        "data/SOURCE.json": source, "report/headline.json": dict(
                            title="T", note="n", synthetic=True, columns=["finding", "AUROC"], rows=[["Mass", "0.8 (0.7, 0.9)"]])}
        for name, content in self.records.items():
            (self.folder/name).parent.mkdir(exist_ok=True)
            (self.folder/name).write_text(json.dumps(content))
        shutil.copytree(resource_path("experiments"), self.folder/"experiments")
        (self.folder/"film.png").write_bytes(encoded(np.uint8(255*chest()), "PNG"))
        self.presets = {p.name: p.read_text(encoding="utf-8") for p in sorted((self.folder/"experiments/presets").glob("*.yaml"))}
        self.labels = read_labels().head(3)


def make_record(rng, made=[]):
    "A JSON or YAML file of a run, a data folder, a report, or a preset."
    if not made: made.append(Good())
    good = made[0]
    if rng.random() < .3:
        name = rng.choice(list(good.presets))
        text = change_yaml(rng, good.presets[name])
    else:
        name = rng.choice(list(good.records))
        text = change_json(rng, good.records[name])
    return name, text.encode("utf-8", "surrogateescape")


def read_record(file):
    "As the commands do that read such a record; every refusal but the last is forgiven."
    good, refusals = make_record.__defaults__[0][0], []
    acts, place = _acts(file, good)
    was = place.read_bytes()
    place.write_bytes(file.read_bytes())
    try:
        for act in acts:
            try: act()
            except BadInput as e: refusals.append(e)
    finally: place.write_bytes(was)
    if refusals: raise refusals[0]


def _acts(file, good):
    "What is done with a record, and where it belongs."
    name, home = file.name, good.folder
    if name.endswith(".yaml"):
        notebook = find_experiment(name.split(".")[0], home/"experiments")
        return [lambda: check_parameters(notebook, preset_values(notebook, name.split(".")[1]))], home/"experiments/presets"/name
    if name == "SOURCE.json": return [lambda: _use_source(home/"data", good.labels)], home/"data"/name
    if name == "headline.json": return [lambda: (headline_text(home/"report"), report_order(home/"report"))], home/"report"/name
    run, about = home/"run", good.records["run/run.json"]
    uses = (repr, lambda r: (r.findings, r.size, r.tta), lambda r: (r.source, r.trained_on, r.warning), lambda r: r.split,
            lambda r: (r.data, r.cache), lambda r: (r.thresholds, r.read_scale()), lambda r: r.predictions("val"),
            Run.require_finished, Run.refuse_finished, lambda r: r.refuse_other(about))
    acts = [lambda use=use: use(Run(run)) for use in uses] + [lambda: _share(run)]
    if name == "model.json": acts.append(lambda: predict_files(run, home/"film.png", progress=False))
    return acts, run/name


def _share(run):
    "Write what `push` sends."
    with tempfile.TemporaryDirectory() as folder: write_shared(run, Path(folder)/"shared")


def _use_source(data, labels):
    "Read a data folder's record and write it into a report."
    source = read_source(data)
    said = source.title, source.citation, source.terms, *source.notes
    for text in (*said, labels_used(labels, source), labels_used(labels, NIH)): escape_text(text).encode()


# The run -------------------------------------------------------------------------------------------

class Kind(NamedTuple):
    make: Callable # Of a random generator: name and contents of a file
    read: Callable # Of a file
    share: float # Of the inputs


KINDS = dict(weights=Kind(make_weights, read_weights, .3), graphs=Kind(make_graph, read_graph_file, .1),
             images=Kind(make_image, read_image, .4), records=Kind(make_record, read_record, .3))


def try_input(kind, seed, i, folder):
    "How one input ended: read, refused, or a traceback; and its file."
    name, content = KINDS[kind].make(random.Random(f"{seed} {kind} {i}"))
    file = folder/Path(name).name
    file.write_bytes(content)
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime+used.ru_stime) + SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
    try: KINDS[kind].read(file)
    except BadInput as e: return ("refused" if str(e).strip() else "refused without a word"), file
    except BaseException: return traceback.format_exc(), file
    return "read", file


def work(kind, seed, numbers, folder, pipe):
    "Try some inputs in this process, under its limits, and write a line before and after each."
    size = int(Path("/proc/self/statm").read_text().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size+GROWTH, size+GROWTH))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stderr = open(os.devnull, "w") # What is said of other files; crashes are told by the exit
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in numbers:
        pipe.write(json.dumps(dict(begun=i)) + "\n")
        pipe.flush()
        start = time.process_time()
        how, file = try_input(kind, seed, i, folder)
        most = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-begun) >> 10
        pipe.write(json.dumps(dict(i=i, how=how, file=file.name, seconds=time.process_time()-start, megabytes=most)) + "\n")
        pipe.flush()


def batch(kind, seed, numbers, folder):
    "The results of some inputs; a process that an input ends is forked again for the rest."
    waiting, results = list(numbers), []
    while waiting:
        there, here = os.pipe()
        child = os.fork()
        if not child:
            try: work(kind, seed, waiting, folder, os.fdopen(here, "w"))
            finally: os._exit(1)
        os.close(here)
        with os.fdopen(there) as pipe: lines = [json.loads(line) for line in pipe if line.endswith("\n")]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done = [line for line in lines if "how" in line]
        results += done
        if len(done) < len(waiting):
            i = lines[-1].get("begun", waiting[0]) if lines else waiting[0]
            results.append(dict(i=i, how=f"the process ended: {status}", file="", seconds=0, megabytes=0))
        waiting = waiting[len(done)+1:] if len(done) < len(waiting) else []
    return results


def fuzz(inputs, seed=0, kinds=tuple(KINDS), keep=None, progress=True):
    "A table of all inputs: kind, number, how each ended, seconds, megabytes."
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    make_record(random.Random(0)) # Once, before forks
    rows, total = [], sum(KINDS[k].share for k in kinds)
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            count = round(inputs*KINDS[kind].share/total)
            for start in range(0, count, BATCH):
                found = batch(kind, seed, range(start, min(start+BATCH, count)), Path(folder))
                rows += [dict(kind=kind, **row) for row in found]
                for row in found:
                    if row["how"] not in ("read", "refused"): tell(kind, seed, row, keep)
                if progress: print(f"{kind} {min(start+BATCH, count):,} of {count:,}", dict(Counter(
                    r["how"] if r["how"] in ("read", "refused") else "else" for r in rows)), file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def tell(kind, seed, row, keep):
    "Print an input that ended otherwise, and keep its file."
    print(f"{kind} {row['i']}: {row['how']}", flush=True)
    if not keep: return
    Path(keep).mkdir(parents=True, exist_ok=True)
    name, content = KINDS[kind].make(random.Random(f"{seed} {kind} {row['i']}"))
    (Path(keep)/f"{kind}-{row['i']}-{Path(name).name}").write_bytes(content)


COLUMNS = "kind", "inputs", "read", "refused by a message", "otherwise", "longest, s", "most memory, MB"


def report(table):
    "The table of kinds as Markdown."
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" + "|---:"*6 + "|"]
    for kind, rows in table.groupby("kind", sort=False):
        n = Counter(rows["how"])
        counts = len(rows), n["read"], n["refused"], len(rows)-n["read"]-n["refused"]
        most = f"{rows['seconds'].max():.1f}", f"{rows['megabytes'].max():,.0f}"
        lines.append(f"| {' | '.join([kind, *(f'{c:,}' for c in counts), *most])} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder for files that ended otherwise")
    asked = parser.parse_args()
    table = fuzz(asked.inputs, asked.seed, asked.kinds.split(","), asked.keep)
    print(report(table))


if __name__ == "__main__":
    main()
