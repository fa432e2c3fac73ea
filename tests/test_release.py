"What needs a process or a server of its own: servers that break on purpose, runs that are killed, disks that are full."
import io
import random
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from chexnet_nb.data.cache import Cache, prepare
from chexnet_nb.core.errors import BadInput
from chexnet_nb.core.download import fetch, fetch_all
from chexnet_nb.data.nih import ADVICE, download, list_members, prepare_release, verify


class Breaking(BaseHTTPRequestHandler):
    "Serves `server.files`; each request to a path takes the next of its `server.faults`, if any is left."
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        with server.lock:
            faults = server.faults.get(name, [])
            fault = faults.pop(0) if faults else None
            server.requests.append((name, self.headers.get("Range"), fault))
        if fault in ("500", "503"): return self.send_whole(int(fault), b"broken")
        if fault == "html": return self.send_whole(200, b"<!DOCTYPE html><title>Sorry</title>", "text/html")
        if fault == "redirect" or name.startswith("old/"): return self.send_redirect("/" + name.removeprefix("old/"))
        if name not in server.files: return self.send_whole(404, b"none")
        data = server.files[name]
        if fault == "truncated": return self.send_whole(200, data[:-40])
        self.send_file(data, server.tags.get(name, '"1"'), fault)

    def send_whole(self, status, body, kind="application/gzip"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_redirect(self, place):
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, data, tag, fault):
        start, wanted = 0, self.headers.get("Range")
        same = self.headers.get("If-Range", tag) == tag
        if wanted and same and not self.server.no_ranges: start = int(wanted[6:].split("-")[0])
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = data[start:]
        self.send_response(206 if start else 200)
        if start: self.send_header("Content-Range", f"bytes {start}-{len(data)-1}/{len(data)}")
        self.send_header("ETag", tag)
        if fault == "encoded": self.send_header("Content-Encoding", "x-gzip")
        length = len(body) + {"too long": 1000, "too short": -1000}.get(fault, 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault == "drop": body = body[:max(70_000, len(body)//3)]
        for i in range(0, len(body), 16_384):
            self.wfile.write(body[i:i+16_384][:max(0, length-i)])
            if fault == "stall" and i > 80_000: time.sleep(3)
            time.sleep(self.server.pause)
        if fault in ("drop", "too long", "too short"): self.close_connection = True


@pytest.fixture
def server():
    "A loopback server; its `url`, `files`, `faults`, `requests`."
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    server.daemon_threads, server.lock = True, threading.Lock()
    server.files, server.faults, server.requests, server.tags, server.no_ranges, server.pause = {}, {}, [], {}, False, 0
    server.handle_error = lambda *args: None
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def noise(seed, side=64):
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def archive(number, images, side=64):
    "The bytes of an archive in the release's layout."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for k in range(images):
            data = noise(1000*number+k, side)
            info = tarfile.TarInfo(f"images/{number:08d}_{k:03d}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


ONE = archive(1, 100)
QUICK = dict(pause=.01, timeout=1)


def contents(cache):
    return {n: (cache/n).read_bytes() for n in ("images.npy", "index.csv", "skipped.csv", "cache.json")}


@pytest.mark.parametrize("faults", [
    ["drop"]*5, ["500", "503", "drop", "500"], ["too long"], ["stall"], ["redirect"], ["encoded"], ["truncated"], ["too short"],
    ["drop", "truncated", "drop"]], ids=" ".join)
def test_a_broken_transfer_ends_whole(server, tmp_path, faults):
    server.files["a.tar.gz"], server.faults["a.tar.gz"] = ONE, list(faults)
    got = fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", check=list_members, **QUICK)
    assert got.read_bytes() == ONE
    assert not server.faults["a.tar.gz"] and not list(tmp_path.glob("*.part"))


def test_the_rest_is_asked_for_and_not_the_whole_again(server, tmp_path):
    server.files["a.tar.gz"], server.faults["a.tar.gz"] = ONE, ["drop", "drop"]
    fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", **QUICK)
    begins = [int(r[6:-1]) if r else 0 for _, r, _ in server.requests]
    assert begins == sorted(begins) and begins[0] == 0 < begins[1] < begins[2]


def test_without_ranges_the_part_begins_anew(server, tmp_path):
    server.files["a.tar.gz"], server.faults["a.tar.gz"], server.no_ranges = ONE, ["drop", "drop"], True
    assert fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", **QUICK).read_bytes() == ONE


def test_a_file_that_changes_on_the_server_is_not_mixed(server, tmp_path):
    server.files["a.tar.gz"], server.faults["a.tar.gz"] = ONE, ["drop", "500"]
    with pytest.raises(BadInput): fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", tries=1, **QUICK)
    assert 0 < (tmp_path/"a.tar.gz.part").stat().st_size < len(ONE)
    server.faults["a.tar.gz"], other = [], archive(2, 100)
    server.files["a.tar.gz"], server.tags["a.tar.gz"] = other, '"2"'
    assert fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", check=list_members, **QUICK).read_bytes() == other


@pytest.mark.parametrize("faults, said", [
    (["html"]*20, "a web page came instead of a.tar.gz"), (["500"]*20, "the server answered 500, 3 times in a row"),
    (["truncated"]*20, "damaged each time"), (["stall"]*20, "whole")], ids=["html", "500", "truncated", "stall"])
def test_what_never_comes_whole_is_said_and_not_taken(server, tmp_path, faults, said):
    server.files["a.tar.gz"], server.faults["a.tar.gz"] = ONE, list(faults)
    try: got = fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", check=list_members, tries=3, pause=.01, timeout=.5)
    except BadInput as e:
        assert said in str(e) and not (tmp_path/"a.tar.gz").exists()
    else: assert said == "whole" and got.read_bytes() == ONE


def test_a_web_page_does_not_cost_what_was_fetched_before(server, tmp_path):
    server.files["a.tar.gz"], server.faults["a.tar.gz"] = ONE, ["drop", "html"]
    with pytest.raises(BadInput, match="a web page"): fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", **QUICK)
    assert (tmp_path/"a.tar.gz.part").stat().st_size > 60_000
    assert fetch(f"{server.url}/a.tar.gz", tmp_path/"a.tar.gz", **QUICK).read_bytes() == ONE


def test_no_such_link_names_the_way_out(server, tmp_path):
    with pytest.raises(BadInput, match="404.*--mirror"):
        fetch(f"{server.url}/none.tar.gz", tmp_path/"none.tar.gz", advice=ADVICE, **QUICK)


def test_a_cut_off_archive_from_elsewhere_is_completed(server, tmp_path):
    server.files["images_001.tar.gz"] = ONE
    (tmp_path/"images_001.tar.gz").write_bytes(ONE[:len(ONE)//2])
    download(tmp_path, "1", server.url, progress=False, small_files=False, **QUICK)
    assert (tmp_path/"images_001.tar.gz").read_bytes() == ONE
    assert any(r and r != "bytes=0-" for _, r, _ in server.requests)


def test_several_at_once_with_faults_then_prepared_and_verified(server, tmp_path):
    rng = random.Random(0)
    for i in range(1, 7):
        name = f"images_{i:03d}.tar.gz"
        server.files[name] = archive(i, 30)
        server.faults[name] = [rng.choice(["drop", "500", "503", "too long", "redirect", "truncated"]) for _ in range(3)]
    download(tmp_path/"nih", "1-6", server.url, progress=False, small_files=False, **QUICK)
    for name, data in server.files.items(): assert (tmp_path/"nih"/name).read_bytes() == data
    cache = prepare_release(tmp_path/"nih", 32, progress=False)
    assert len(cache) == 180 and not len(verify(tmp_path/"nih", cache.path, progress=False))


def test_no_room_is_said_before_the_start(server, tmp_path, monkeypatch):
    import shutil
    server.files["images_001.tar.gz"] = ONE
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 10))
    with pytest.raises(BadInput, match="GB free; free disk space"):
        download(tmp_path, "1", server.url, progress=False, small_files=False, **QUICK)
    assert not (tmp_path/"images_001.tar.gz").exists()


def start(code, *args):
    "A Python process that runs some code with the package, its errors as text."
    program = "import sys\nfrom chexnet_nb.core.errors import BadInput\ntry:\n" + textwrap.indent(textwrap.dedent(code),
        "    ") + \
        "\nexcept BadInput as e:\n    print(e, file=sys.stderr)\n    sys.exit(2)\n"
    command = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def killed_until_done(code, args, began, kills=10, seed=0):
    "Start, SIGKILL at a random moment after `began()` holds, ten times; then let it end. How many kills hit a running process."
    rng, hit = random.Random(seed), 0
    for _ in range(kills):
        process, end = start(code, *args), time.time()+20
        while process.poll() is None and not began() and time.time() < end: time.sleep(.01)
        time.sleep(rng.uniform(0, .35))
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(code, *args)
    assert (process.communicate(timeout=100)[1] or "") is not None and process.returncode == 0
    return hit


PREPARE = """
    from chexnet_nb.data.cache import prepare
    prepare(sys.argv[1], 128, sys.argv[2], workers=2, on_error="skip", progress=False)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "1,200 images and two bad ones, and the cache that an undisturbed run makes of them."
    data = tmp_path_factory.mktemp("data")
    picture = noise(0, 320)
    for i in range(1200): (data/f"{i:08d}_000.png").write_bytes(picture if i % 9 else noise(i, 96))
    (data/"00000500_000.png").write_bytes(picture[:2000])
    (data/"00000700_000.png").write_text("text")
    return data, contents(prepare(data, 128, tmp_path_factory.mktemp("whole")/"cache", on_error="skip", progress=False).path)


def test_prepare_killed_ten_times_ends_the_same(folder, tmp_path):
    data, whole = folder
    journal = tmp_path/"cache"/"journal.jsonl"
    before = [0]
    def began():
        "More was done than before the last kill."
        now = journal.stat().st_size if journal.exists() else 0
        grown, before[0] = now > before[0], max(now, before[0])
        return grown
    assert killed_until_done(PREPARE, (data, tmp_path/"cache"), began) >= 3
    assert contents(tmp_path/"cache") == whole
    assert not journal.exists()


def test_a_killed_run_leaves_no_worker_behind(folder, tmp_path):
    process = start(PREPARE, folder[0], tmp_path/"cache")
    while not (tmp_path/"cache"/"journal.jsonl").exists(): time.sleep(.01)
    time.sleep(.5)
    children = open(f"/proc/{process.pid}/task/{process.pid}/children").read().split() if sys.platform == "linux" else []
    process.kill()
    process.communicate()
    time.sleep(1)
    runs = lambda pid: subprocess.run(["ps", "-o", "args=", "-p", pid], capture_output=True, text=True).stdout
    assert not [c for c in children if "_serve" in runs(c)]


def test_a_full_disk_in_prepare_loses_nothing(folder, tmp_path):
    data, whole = folder
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))" + textwrap.dedent(PREPARE)
    process = start(limited, data, tmp_path/"cache")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "File too large" in said and "Traceback" not in said
    assert "run the same command again to continue" in said
    done = sum(1 for line in open(tmp_path/"cache"/"journal.jsonl") if line.strip())
    assert done > 200
    prepare(data, 128, tmp_path/"cache", on_error="skip", progress=False)
    assert contents(tmp_path/"cache") == whole


DOWNLOAD = """
    from chexnet_nb.data.nih import download
    download(sys.argv[1], "1-4", sys.argv[2], progress=False, small_files=False, jobs=2, pause=.01, timeout=2)
"""


def test_download_killed_ten_times_and_dropped_ends_the_same(server, tmp_path):
    server.pause = .015
    for i in range(1, 5):
        server.files[f"images_{i:03d}.tar.gz"] = archive(i, 200)
        server.faults[f"images_{i:03d}.tar.gz"] = ["drop"]*3
    asked = [0]
    def began():
        grown, asked[0] = len(server.requests) > asked[0]+4, max(asked[0], len(server.requests)-4)
        return grown
    assert killed_until_done(DOWNLOAD, (tmp_path/"nih", server.url), began) >= 3
    for name, data in server.files.items(): assert (tmp_path/"nih"/name).read_bytes() == data
    assert not list((tmp_path/"nih").glob("*.part"))


def test_prepare_from_archives_killed_ten_times_ends_the_same(tmp_path):
    data = tmp_path/"nih"
    data.mkdir()
    for i in (1, 2, 3): (data/f"images_{i:03d}.tar.gz").write_bytes(archive(i, 250, 200))
    whole = contents(prepare_release(data, 128, tmp_path/"whole", progress=False).path)
    code = PREPARE.replace("cache import prepare", "nih import prepare_release").replace("prepare(", "prepare_release(")
    assert killed_until_done(code, (data, tmp_path/"cache"), (tmp_path/"cache"/"images.npy").exists) >= 3
    assert contents(tmp_path/"cache") == whole


def test_a_full_disk_in_download_keeps_the_part(server, tmp_path):
    for i in (1, 2, 3, 4): server.files[f"images_{i:03d}.tar.gz"] = ONE
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))" + DOWNLOAD.replace("\n    ", "\n")
    process = start(limited, tmp_path/"nih", server.url)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "what was finished is kept" in said and "Traceback" not in said
    assert not list((tmp_path/"nih").glob("*.gz")) and list((tmp_path/"nih").glob("*.part"))
    download(tmp_path/"nih", "1-4", server.url, progress=False, small_files=False, **QUICK)
    assert (tmp_path/"nih"/"images_004.tar.gz").read_bytes() == ONE


def test_an_error_ends_the_other_transfers_and_keeps_their_parts(server, tmp_path):
    server.pause, server.files["long"], server.files["short"] = .02, bytes(8_000_000), b"short"
    def full(part):
        time.sleep(.3)
        raise OSError(28, "No space left on device")
    began = time.time()
    with pytest.raises(OSError, match="No space left"):
        fetch_all({tmp_path/n: f"{server.url}/{n}" for n in ("long", "short")}, check=full, progress=False, **QUICK)
    assert time.time()-began < 4 # The long one takes ten seconds
    assert 0 < (tmp_path/"long.part").stat().st_size < 8_000_000


def test_a_module_planted_among_the_images_does_not_run(tmp_path):
    data = tmp_path/"data"
    data.mkdir()
    for i in range(130): (data/f"{i:08d}_000.png").write_bytes(noise(i, 32))
    for name in ("struct", "pickle", "zlib", "sitecustomize"): (data/f"{name}.py").write_text("open('ran', 'w')")
    (tmp_path/"script.py").write_text("from chexnet_nb.data.cache import prepare\nprepare('.', 32, workers=2, progress=False)\n")
    subprocess.run([sys.executable, tmp_path/"script.py"], cwd=data, check=True)
    assert len(Cache(data/".cache"/"32")) == 130 and not (data/"ran").exists()


def test_rooms_that_need_no_torch_import_none():
    code = "import sys, chexnet_nb.data.cache, chexnet_nb.data.nih, chexnet_nb.data.splits\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_script_without_a_main_guard_prepares_with_workers(folder, tmp_path):
    arguments = f"{str(folder[0])!r}, 64, {str(tmp_path/'cache')!r}, on_error='skip', workers=2, progress=False"
    (tmp_path/"script.py").write_text(f"from chexnet_nb.data.cache import prepare\nprint(len(prepare({arguments})))\n")
    ran = subprocess.run([sys.executable, tmp_path/"script.py"], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == "1198"


def test_an_unfinished_cache_does_not_open(folder, tmp_path):
    process = start(PREPARE, folder[0], tmp_path/"cache")
    while not (tmp_path/"cache"/"journal.jsonl").exists(): time.sleep(.01)
    process.kill()
    process.communicate()
    with pytest.raises(BadInput, match="an unfinished one is there"): Cache(tmp_path/"cache")


def test_public_weights_come_over_a_broken_line_and_predict(server, tmp_path, monkeypatch):
    "By name: fetched in spite of breaks, known again, and a run folder that predicts; a changed file is refused."
    import json

    import torch

    from chexnet_nb.models import zoo
    from chexnet_nb.runs.external import import_weights
    from chexnet_nb.runs.inference import predict_files
    from chexnet_nb.data.labels import FINDINGS
    from chexnet_nb.models.chexnet import new_model
    theirs = new_model(architecture="densenet_demo", size=64, pretrained=False, seed=3).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path/"w.pth")
    server.files["w.pth"] = (tmp_path/"w.pth").read_bytes()
    server.faults["w.pth"] = ["500", "html", "drop", "stall", "drop"]
    known = zoo.PublicWeights("mine", f"{server.url}/w.pth", "densenet_demo", 64, FINDINGS, (), False, "a test", "", "none", "")
    monkeypatch.setattr(zoo, "public_weights", lambda: {"mine": known})
    monkeypatch.setattr("chexnet_nb.models.zoo.fetch_all", lambda files, **how: fetch_all(files, **how | QUICK))
    run = import_weights("mine", tmp_path/"run", folder=tmp_path/"kept", progress=False)
    about = json.loads((tmp_path/"run/run.json").read_text())["imported"]
    assert about["sha256"] == zoo.sha256_of(tmp_path/"w.pth") == (tmp_path/"kept/mine.sha256").read_text().strip()
    (tmp_path/"films").mkdir()
    for i in range(3): (tmp_path/f"films/{i}.png").write_bytes(noise(i))
    table, refused = predict_files(run.folder, tmp_path/"films", progress=False)
    assert list(table)[1:] == list(FINDINGS) and len(table) == 3 and not refused
    asked = len(server.requests)
    import_weights("mine", tmp_path/"again", folder=tmp_path/"kept", progress=False)
    assert len(server.requests) == asked
    (tmp_path/"kept/mine.pth").write_bytes(b"another")
    with pytest.raises(BadInput, match="of the first download"):
        import_weights("mine", tmp_path/"third", folder=tmp_path/"kept", progress=False)
