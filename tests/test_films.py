"Films as the field has them, drawn here: each is read with the right grey values, or refused by name; every file is counted."
import os
import zlib
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from warm import chexnet

from chexnet_nb.core.errors import BadInput
from chexnet_nb.core.csv import match_names
from chexnet_nb.data.images import decode, find_images

pydicom = pytest.importorskip("pydicom")
CASES = int(os.environ.get("CASES", 40)) # Of the property; 2,000 were run once


def chest(n=96):
    "A drawn chest, 0 to 1, shape (n, n)."
    y, x = np.mgrid[0:n, 0:n]/n
    body = np.exp(-((x-.5)/.42)**4-((y-.55)/.5)**4)
    lungs = sum(np.exp(-((x-c)/.13)**2-((y-.5)/.28)**2) for c in (.3, .7))
    v = body*.95-.7*lungs*body+.12*(1+np.sin(y*50+6*abs(x-.5)))*lungs*body
    return (v-v.min())/(v.max()-v.min())


REFERENCE = np.rint(255*chest())


def dicom(values, stored=12, syntax="1.2.840.10008.1.2.1", **tags):
    "The bytes of a 16-bit DICOM file."
    d = pydicom.Dataset()
    meta = d.file_meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = "1.2.3"
    d.SOPClassUID = meta.MediaStorageSOPClassUID
    d.Rows, d.Columns = values.shape
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, "MONOCHROME2", 0
    d.BitsAllocated, d.BitsStored, d.HighBit = 16, stored, stored-1
    d.PixelData = (np.asarray(values).astype(np.int64) & 0xffff).astype("<u2").tobytes()
    for key, value in tags.items(): setattr(d, key, value)
    out = BytesIO()
    d.save_as(out, enforce_file_format=True)
    return out.getvalue()


def table(entries, bits):
    "A lookup table."
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), 0, bits])
    item.add_new("LUTData", "US", [int(e) for e in entries])
    return [item]


def saved(picture, form="PNG", **options):
    "The bytes of a picture in a format."
    out = BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, form, **options)
    return out.getvalue()


def turned(form, **options):
    "The reference on its side, and EXIF that says so."
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return saved(np.rot90(np.uint8(REFERENCE)).copy(), form, exif=exif, **options)


def saved_palette():
    "The reference as a palette, one colour of which is transparent."
    return saved(Image.fromarray(np.uint8(REFERENCE)).convert("RGB").quantize(256), transparency=0)


COLOURS = dict(L=0, RGB=2, LA=4, RGBA=6) # PNG's numbers of them

def deep_png(channels, mode):
    "The bytes of a PNG of 16 bits per channel."
    part = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind+data).to_bytes(4, "big")
    rows = np.stack(channels, -1).astype(">u2")
    height, width = rows.shape[:2]
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((16, COLOURS[mode], 0, 0, 0))
    packed = zlib.compress(b"".join(b"\0"+row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", packed) + part(b"IEND", b"")


V = np.rint(chest()*4095)
PADDED = V.copy()
PADDED[:, :4] = 65_535
FILMS = { # As in the table of cases, and others of their kinds
    "plain": (dicom(V), False), "no preamble": (dicom(V)[132:], False),
    "LUT says 16 bits, holds 12": (dicom(V, VOILUTSequence=table(range(4096), 16)), True),
    "LUT says 16 bits, holds 10": (dicom(V//4, 10, VOILUTSequence=table(range(1024), 16)), True),
    "padding": (dicom(PADDED, 16, PixelPaddingValue=65_535), True),
    "padding nobody names": (dicom(PADDED, 16), True), "padding beyond the bits stored": (dicom(PADDED), True),
    "window of width 0": (dicom(V, WindowCenter=0, WindowWidth=0), True),
    "window outside": (dicom(V, WindowCenter=30_000, WindowWidth=2000), True),
    "window for 16 bits": (dicom(V, WindowCenter=32_768, WindowWidth=65_536), True),
    "width without centre": (dicom(V, WindowWidth=4096), True), "centre without width": (dicom(V, WindowCenter=2048), True),
    "inverse": (dicom(4095-V, PresentationLUTShape="INVERSE"), True), "bits at the top": (dicom(V*16, HighBit=15), False),
    "32 bits": (dicom(V, BitsAllocated=32, PixelData=V.astype("<u4").tobytes()), False),
    "transparent palette": (saved_palette(), True), "PNG turned by EXIF": (turned("PNG"), False),
    "WebP turned by EXIF": (turned("WEBP", lossless=True), False), "JPEG turned by EXIF": (turned("JPEG", quality=95), False),
    "jfif": (saved(np.uint8(REFERENCE), "JPEG", quality=95), False), "webp": (saved(np.uint8(REFERENCE), "WEBP"), False)}
FILMS |= {f"{form} of {bits} bits in 16": (saved(np.rint(chest()*(2**bits-1)).astype(np.uint16), form), bits < 16)
          for form in ("PNG", "TIFF") for bits in (8, 10, 11, 12, 13, 14, 15, 16)}
FILMS |= {f"{mode} of {bits} bits in 16": (deep_png([np.rint(chest()*(2**bits-1))]*len(mode), mode), mode != "RGB" or bits < 16)
          for mode in ("RGB", "LA", "RGBA") for bits in (12, 14, 16)} # The alpha of these is the picture


@pytest.mark.parametrize("name", FILMS)
def test_a_film_is_as_it_was_drawn(name):
    data, told = FILMS[name]
    picture = decode(data, name)
    assert np.abs(np.asarray(picture.image)-REFERENCE).mean() < 4
    assert bool(picture.notes) == told, picture.notes


@pytest.mark.parametrize("tags", [dict(WindowCenter=c, WindowWidth=w, RescaleSlope=s, RescaleIntercept=0) for c, w, s in (
    ("nan", "4096", "1"), ("2048", "nan", "1"), ("2048", "1e300", "1"), ("2048", "-4096", "1"), ("2048", "4096", "nan"),
    ("2048", "4096", "1e300"), ("2048", "inf", "1"))])
def test_numbers_that_are_none_fall_back_with_a_note(tags):
    settings_before, pydicom.config.settings.writing_validation_mode = pydicom.config.settings.writing_validation_mode, 0
    try: data = dicom(V, **tags)
    finally: pydicom.config.settings.writing_validation_mode = settings_before
    picture = decode(data, "x.dcm")
    assert np.abs(np.asarray(picture.image)-REFERENCE).mean() < 4 and picture.notes


def test_rle_is_bounded_by_its_header():
    bomb = b"\x81\0"*2_000_000 # 256 MB, unpacked
    frame = np.array([2, 64, 64+len(bomb), *[0]*13], "<u4").tobytes() + bomb*2
    data = pydicom.dcmread(BytesIO(dicom(V)))
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.5"
    data.PixelData = pydicom.encaps.encapsulate([frame])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    out = BytesIO()
    data.save_as(out)
    with pytest.raises(BadInput, match="unpacks to more than its 96 x 96"): decode(out.getvalue(), "x.dcm")


@st.composite
def drawn(draw):
    "A picture of 0 to 1, and a file that stores it."
    rng = np.random.default_rng(draw(st.integers(0, 2**32-1)))
    height, width = draw(st.tuples(st.integers(24, 64), st.integers(24, 64)))
    y, x = np.mgrid[:height, :width]
    truth = np.sin(x/rng.uniform(4, 20)+rng.uniform(0, 6))*np.cos(y/rng.uniform(4, 20)) + rng.uniform(0,
        .2)*rng.random((height, width))
    truth = (truth-truth.min())/(truth.max()-truth.min())
    bits = draw(st.integers(8, 16))
    values = np.rint(truth*(2**bits-1)).astype(np.int64)
    container = draw(st.sampled_from(("PNG", "TIFF", "L", "LA", "RGB", "RGBA", "DICOM", "DICOM", "DICOM", "DICOM")))
    if container in COLOURS: return truth, deep_png([values]*len(container), container), container
    if container != "DICOM": return truth, saved(values.astype(np.uint16), container), container
    tags, pad = {}, 0
    signed, dark, falling = (draw(st.booleans()) for _ in range(3))
    inverse = not dark and draw(st.booleans())
    stored = draw(st.sampled_from((bits, 16))) if not signed else bits
    values = 2**bits-1-values if dark ^ inverse ^ falling else values
    if dark: tags["PhotometricInterpretation"] = "MONOCHROME1"
    if inverse: tags["PresentationLUTShape"] = "INVERSE"
    slope, intercept = (-1 if falling else draw(st.sampled_from((1, 2)))), draw(st.sampled_from((0, -1024)))
    if falling or draw(st.booleans()): tags |= dict(RescaleSlope=slope, RescaleIntercept=intercept)
    else: slope, intercept = 1, 0
    if signed: values, tags["PixelRepresentation"] = values-2**(bits-1), 1
    low, high = int(values.min()), int(values.max())
    window = draw(st.sampled_from(("none", "table", "exact", "outside", "empty", "negative", "wide")))
    span, middle = abs(slope)*(high-low), slope*(low+high)/2+intercept
    width_of = dict(exact=span+1, outside=max(span, 2)//2, empty=0, negative=-5, wide=10**7)
    if window in width_of:
        tags |= dict(WindowCenter=middle+.5 if window != "outside" else middle+3*span, WindowWidth=width_of[window])
    if window == "table" and "RescaleSlope" not in tags and not signed and bits < 16:
        depth, says = draw(st.integers(8, 16)), draw(st.sampled_from((0, 16)))
        tags["VOILUTSequence"] = table(np.rint(np.linspace(0, 2**depth-1, 2**bits)), says or depth)
    if draw(st.booleans()) and bits < 15:
        pad, mark = 3, -32_768 if signed else 65_535
        values = np.pad(values, ((0, 0), (pad, pad)), constant_values=mark)
        tags["PixelPaddingValue"], stored = mark, 16
    elif draw(st.booleans()) and not signed and "VOILUTSequence" not in tags:
        values, tags["HighBit"], stored = values << (16-bits), 15, bits
    elif draw(st.booleans()): tags |= dict(BitsAllocated=32, PixelData=values.astype("<i4").tobytes())
    truth = np.pad(truth, ((0, 0), (pad, pad)))
    return truth, dicom(values, stored, **tags), tags


@settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn())
def test_random_films_are_read_as_drawn_or_refused(film):
    truth, data, tags = film
    try: found = np.asarray(decode(data, "x").image)/255
    except BadInput: return
    assert found.shape == truth.shape
    slope, offset = np.polyfit(truth.ravel(), found.ravel(), 1)
    assert slope > .4 and np.abs(slope*truth+offset-found).max() < 3/255, tags


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A tiny network."
    from chexnet_nb.models.chexnet import new_model, save_model
    folder = tmp_path_factory.mktemp("run")
    save_model(new_model(["Mass", "Effusion"], "densenet_28", size=28, pretrained=False).eval(), folder)
    return folder


def mixed(folder):
    "A folder of one film in many formats, and two files that are none."
    folder.mkdir()
    grey = Image.fromarray(np.uint8(REFERENCE))
    for name in ("a.png", "b.tif", "c.bmp", "d.webp"): grey.save(folder/name)
    grey.save(folder/"e.jfif", "JPEG")
    (folder/"1.2.840.113").write_bytes(dicom(V))
    (folder/"DICOMDIR").write_bytes(dicom(V))
    (folder/"viewer.exe").write_bytes(b"MZ")
    (folder/"labels.csv").write_text("x")
    return folder


def test_every_file_is_counted(run, tmp_path, capsys):
    folder = mixed(tmp_path/"mixed")
    assert sorted(find_images(folder)) == ["1.2.840.113", "a.png", "b.tif", "c.bmp", "d.webp", "e.jfif"]
    assert f"1 files of {folder} are not images and are left out: viewer.exe" in capsys.readouterr().err
    (folder/"deep.png").write_bytes(saved(np.rint(chest()*16_383).astype(np.uint16)))
    (folder/"flat.png").write_bytes(saved(np.full((40, 40), 9, np.uint8)))
    code, _, err = chexnet("predict", run, folder/"DICOMDIR", "--out", tmp_path/"p.csv")
    predicted = pd.read_csv(tmp_path/"p.csv").set_index("Image Index")
    assert code == 1 and len(predicted) == 7 and predicted["Mass"].max()-predicted["Mass"].min() < .01
    assert predicted.at["deep.png", "note"] == "14 of 16 bits in use: 16383 is shown as white"
    for text in ("viewer.exe", "note: deep.png: 14 of 16 bits", "1 files cannot be read", "flat.png: constant or nearly so"):
        assert text in err


def test_one_name_one_film(run, tmp_path):
    grey = Image.fromarray(np.uint8(REFERENCE))
    for patient in ("patient1", "patient2"):
        folder = tmp_path/"films"/patient/"study1"
        folder.mkdir(parents=True)
        (grey if patient == "patient1" else grey.transpose(Image.Transpose.FLIP_TOP_BOTTOM)).save(folder/"view1_frontal.jpg")
    names = [f"patient{i}/study1/view1_frontal.jpg" for i in (1, 2)]
    assert chexnet("predict", run, tmp_path/"films", "--out", tmp_path/"p.csv")[0] == 0
    assert list(pd.read_csv(tmp_path/"p.csv")["Image Index"]) == names
    assert chexnet("cam", run, tmp_path/"films", "--out", tmp_path/"maps", "--findings", "Mass")[0] == 0
    assert len(list((tmp_path/"maps").glob("patient*_study1_view1_frontal_Mass.png"))) == 2
    longer = [f"CheXpert-v1.0/train/{n}" for n in names]
    assert match_names(longer, dict(zip(names, names)), "labels") == dict(zip(longer, names))
    labels = tmp_path/"films"/"Data_Entry_2017.csv"
    labels.write_text("Image Index,Finding Labels,Patient ID\nview1_frontal.jpg,Mass,1\n")
    code, _, err = chexnet("train", tmp_path/"films", "--task", "chexnet14", "--split", "random", "--size", 28, "--out",
                           tmp_path/"r")
    assert code == 2 and all(n in err for n in names)


def test_training_counts_what_is_missing(tmp_path):
    rng, data = np.random.default_rng(0), tmp_path/"data"
    data.mkdir()
    for i in range(3): Image.fromarray(rng.integers(0, 256, (30, 30), np.uint8)).save(data/f"{i}.png")
    rows = "".join(f"{i}.png,Mass,{i}\n" for i in (1, 2, 3, 4))
    (data/"Data_Entry_2017.csv").write_text("Image Index,Finding Labels,Patient ID\n"+rows)
    code, _, err = chexnet("train", data, "--task", "chexnet14", "--split", "random", "--size", 28, "--out", tmp_path/"run")
    assert code == 2 and "2 of 4 labelled images have no file: 3.png, 4.png; 1 of 3 files have no label: 0.png" in err
    assert "--missing skip" in err


def test_notes_reach_predictions_and_reports(tmp_path):
    rng, data, rows = np.random.default_rng(0), tmp_path/"data", ["Image Index,Patient ID,Effusion"]
    data.mkdir()
    for i in range(60):
        sick = int(rng.random() < .5)
        (data/f"{i}.png").write_bytes(saved(rng.integers(0, 16_000, (32, 32), np.uint16)))
        rows.append(f"{i}.png,P{i//2},{sick if i % 5 else ''}") # Some are not judged
    (data/"labels.csv").write_text("\n".join(rows))
    code, _, err = chexnet("train", data, "--labels", data/"labels.csv", "--task", "chexnet14", "--findings", "Effusion",
                           "--split", "random", "--recipe", "frozen", "--architecture", "densenet_28", "--size", 28,
                           "--no-pretrained", "--seeds", 2, "--out", tmp_path/"runs")
    note = "14 of 16 bits in use: 16383 is shown as white"
    assert code == 0 and f"and 57 more: {note}" in err, err
    for folder in ("runs", "runs/seed-0"):
        assert set(pd.read_csv(tmp_path/folder/"predictions_test.csv")["note"]) == {note}
    assert chexnet("predict", tmp_path/"runs", data, "--out", tmp_path/"p.csv")[0] == 0
    assert set(pd.read_csv(tmp_path/"p.csv")["note"]) == {note}
    options = "--labels", data/"labels.csv", "--n-boot", 100, "--out", tmp_path/"report"
    assert chexnet("evaluate", tmp_path/"p.csv", *options)[0] == 0
    page = (tmp_path/"report/index.html").read_text()
    assert f"Read with a choice that the file did not make, as its column note says, 60 images: {note} (60)." in page


@pytest.mark.parametrize("name, data, says", [
    ("CMYK.jpg", saved(Image.new("CMYK", (40, 40)), "JPEG"), "colour mode CMYK; grayscale, palette, RGB"),
    ("films.zip", b"PK\3\4"+bytes(200), "an archive: unpack it, or let `chexnet prepare` read it from a folder"),
    ("wide.dcm", dicom(V, BitsAllocated=32, PixelData=(V*99_999).astype("<u4").tobytes()), "32 bits per pixel, values from 0 to"),
    ("colour.dcm", dicom(V, BitsAllocated=8, BitsStored=8, HighBit=7, SamplesPerPixel=3, PlanarConfiguration=0,
                         PhotometricInterpretation="RGB", PixelData=bytes([9]*3*V.size)), "constant or nearly so")])
def test_what_cannot_be_read_is_refused_by_name(name, data, says):
    with pytest.raises(BadInput, match=f"{name}: .*{says}"): decode(data, name)


def test_deflated_dicom_is_read_within_limits():
    plain = dicom(np.uint16(REFERENCE*16))
    end = 144+int.from_bytes(plain[140:144], "little")
    def deflated(content):
        meta = plain[:end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
        head = bytearray(meta)
        at = meta.index(b"\x02\x00\x10\x00UI")
        head[at+6:at+8] = (22).to_bytes(2, "little")
        head[140:144] = (len(head)-144).to_bytes(4, "little")
        squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
        return bytes(head) + b"".join(squeeze.compress(part) for part in content) + squeeze.flush()
    assert np.array_equal(np.asarray(decode(deflated([plain[end:]]), "a.dcm").image), np.asarray(decode(plain, "b.dcm").image))
    with pytest.raises(BadInput, match="deflated DICOM of more than 200,000,000 bytes"):
        decode(deflated([plain[end:], *[bytes(1 << 20)]*250]), "a.dcm")


def test_a_png_that_is_whole_is_not_to_be_fetched_again():
    part = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind+data).to_bytes(4, "big")
    head = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", (64).to_bytes(4, "big")*2 + bytes((8, 0, 0, 0, 0)))
    for pixels in (b"no deflate", zlib.compress(bytes([0, *range(64)])*9)):
        with pytest.raises(BadInput, match="fetching it again does not help"):
            decode(head + part(b"IDAT", pixels) + part(b"IEND", b""), "a.png")
