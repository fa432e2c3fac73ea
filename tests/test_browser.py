"The CAM browser in a real browser: the tutorial in JupyterLab 4 and as a Voilà page, in headless Chromium, on loopback alone."
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.xdist_group("browser"), # One server and one browser at a time
              pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found; `apt-get install chromium` to run these tests")]
SIDE = 1200 # Pixels of the images, more than are shown at first
ROOT = Path(__file__).parents[1]
OWN = ("http://127.0.0.1", "file:", "data:", "blob:")
NOTEBOOK = "nbs/tutorials/cam_browser.ipynb"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    "A folder with the tutorial and a run where it looks for one, on a small phantom."
    from chexnet_nb.data.cache import prepare
    from chexnet_nb.data.dataset import PreparedData
    from chexnet_nb.data.labels import read_labels
    from chexnet_nb.phantom.release import write_phantom
    from chexnet_nb.models.recipe import new_recipe
    from chexnet_nb.data.source import read_source
    from chexnet_nb.data.splits import random_split
    from chexnet_nb.training.fit import train
    root = tmp_path_factory.mktemp("project")
    data = write_phantom(root/"phantom", patients=40, size=256, progress=False, images_each=2, workers=1)
    labels = read_labels(data)
    split, cache = random_split(labels, fractions=(.4, .2, .4)), prepare(data, 112, root/"cache", workers=1, progress=False)
    for file in (data/"images").iterdir(): Image.open(file).resize((SIDE, SIDE)).save(file, compress_level=1)
    recipe = new_recipe(architecture="densenet_demo", size=112, pretrained=False, epochs=1)
    train(PreparedData(data, cache, labels, split, read_source(data)), root/"reports/chexnet14/run", recipe, progress=False)
    (root/NOTEBOOK).parent.mkdir(parents=True)
    for file in (NOTEBOOK, "nbs/tutorials/browser.png"): shutil.copy(ROOT/file, root/file)
    return root


def free_port():
    "A port on loopback that nothing listens on."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def set_up(project, theme):
    "Write JupyterLab's settings, which a page reads as it opens."
    settings = project/".jupyter/lab/user-settings/@jupyterlab"
    for file, values in {"apputils-extension/notification": dict(fetchNews="false", checkForUpdates=False),
                         "apputils-extension/themes": dict(theme=f"JupyterLab {theme.title()}"),
                         "notebook-extension/tracker": dict(windowingMode="none")}.items(): # All cells, if scrolled away, too
        (settings/file).parent.mkdir(parents=True, exist_ok=True)
        (settings/f"{file}.jupyterlab-settings").write_text(json.dumps(values))


@contextmanager
def served(project, module, *args):
    "A Jupyter server of its own settings in the project; yields its port, and ends it with its kernels."
    home, port = project/".jupyter", free_port()
    home.mkdir(exist_ok=True)
    env = dict(os.environ, JUPYTER_CONFIG_DIR=str(home), JUPYTER_DATA_DIR=str(home/"data"),
               JUPYTER_RUNTIME_DIR=str(home/"runtime"), IPYTHONDIR=str(home/"ipython"),
               JUPYTER_PATH=str(ROOT/"chexnet_nb/assets"), # Voilà's template
               PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with open(home/f"{module}.log", "w") as log:
        command = [sys.executable, "-m", module, *args, "--no-browser", f"--port={port}"]
        server = subprocess.Popen(command, cwd=project, env=env, stdout=log, stderr=log)
    try:
        wait_for(port, server, home/f"{module}.log")
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        try: server.wait(20)
        except subprocess.TimeoutExpired: server.kill()


def wait_for(port, server, log):
    "Until the server answers, whatever it answers."
    for _ in range(600):
        if server.poll() is not None: pytest.fail(f"the server ended:\n{log.read_text()[-2000:]}")
        try: return urllib.request.urlopen(f"http://127.0.0.1:{port}/static/none", timeout=5).close()
        except urllib.error.HTTPError: return
        except OSError: time.sleep(.2)
    pytest.fail(f"the server does not answer:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def chromium():
    "Chromium, for all tests; each opens a page that shares nothing with the others."
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def paged(chromium, url, width=1366, height=768, scheme="light"):
    "A page in Chromium, its console's errors, and what it asked of other hosts."
    page, errors, asked = chromium.new_page(viewport=dict(width=width, height=height), color_scheme=scheme), [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith(OWN) else None)
    try:
        page.goto(url, timeout=150_000)
        yield page, errors, asked
    except BaseException:
        shot(page, "failed")
        raise
    finally: page.close()


def run_all(page):
    "Run the notebook by the menu, once the page has its kernel: before that it would ask for one, and start a second."
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
                           timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(".cam-browser .cam-picture", timeout=180_000)


def shot(page, name):
    "A screenshot for the eye, where `CAM_SCREENSHOTS` names a folder."
    if folder := os.environ.get("CAM_SCREENSHOTS"): page.screenshot(path=f"{folder}/{name}.png")


def seen(page):
    "What the page shows: text, place, window and zoom, sums over the bytes of the film and of its map, and the number of boxes."
    return page.evaluate("""async () => {
        const one = s => document.querySelector(`.cam-browser ${s}`);
        const sum = bytes => { let h = 7; for (const b of bytes) h = Math.imul(h, 31) + b | 0; return h };
        const picture = one('.cam-picture'), map = one('.cam-map');
        const bytes = picture.src ? new Uint8Array(await (await fetch(picture.src)).arrayBuffer()) : [];
        const pixels = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
        return {answer: one('.cam-answer').innerText, bold: one('.cam-now .cam-label').innerText, place: one('.cam-jump').value,
                picture: sum(bytes), map: map.hidden ? 0 : sum(pixels), boxes: one('.cam-lines').querySelectorAll('rect').length,
                message: one('.cam-message').innerText, grey: one('.cam-grey').innerText, filter: picture.style.filter,
                zoom: +/scale\\((.*)\\)/.exec(one('.cam-film').style.transform)[1]}; }""")


def changed(page, before, *keys):
    "What is seen once all of `keys` have changed."
    until = time.monotonic()+30
    while time.monotonic() < until:
        now = seen(page)
        if all(now[k] != before[k] for k in keys): return now
        time.sleep(.02)
    pytest.fail(f"{keys} did not all change: before {before}, now {now}")


def press(page, key, *keys):
    "Press a key; what is seen once all of `keys` have changed."
    before = seen(page)
    page.keyboard.press(key)
    return changed(page, before, *keys)


def use(page):
    "Change the finding, step by key and by button, search, note, and look at what the page shows; then the film itself."
    page.wait_for_function("() => document.querySelector('.cam-browser .cam-picture')?.naturalWidth", timeout=150_000)
    page.locator(".cam-picture").first.scroll_into_view_if_needed()
    start = seen(page)
    assert start["answer"].startswith("Effusion 0.") and start["bold"] == "Effusion" and start["place"].startswith("1 of")
    assert "network trained on synthetic images" in page.locator(".cam-tags").inner_text()
    page.locator(".cam-bar select[title^=finding]").select_option(label="Pleural Thickening")
    other = changed(page, start, "answer", "bold", "map")
    assert other["answer"].startswith("Pleural Thickening 0.") and other["bold"] == "Pleural Thickening"
    if other["place"].startswith("1 of"): other = press(page, "ArrowRight", "place", "picture")
    stepped = press(page, "ArrowLeft", "place", "picture")
    assert int(stepped["place"].split()[0]) == int(other["place"].split()[0])-1
    again = press(page, "ArrowRight", "place", "picture", "map")
    assert all(again[key] == other[key] for key in ("answer", "place", "picture", "map", "boxes"))
    assert press(page, "ArrowDown", "answer", "bold", "map")["bold"] == "Hernia"
    assert press(page, "ArrowUp", "answer", "bold", "map")["bold"] == "Pleural Thickening"
    page.locator(".cam-bar button[title^=previous]").click()
    before = changed(page, other, "place", "picture")
    page.evaluate("""() => ["ArrowDown", "ArrowUp", "ArrowRight"].forEach(key => document.querySelector(".cam-browser")
        .dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})))""") # Faster than the kernel orders the films
    assert changed(page, before, "place", "picture")["place"] == other["place"]
    press(page, "End", "place", "picture")
    assert press(page, "ArrowRight", "message")["message"] == "the last film"
    page.keyboard.press("/")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.cam-jump').value.startsWith('3 of')", timeout=30_000)
    view_tools(page)
    return [step_time(page, key) for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight", "ArrowLeft")]


def use_kernel(page):
    "What only a kernel can do: every pixel of an enlarged film, a note, a search for nothing, a picture."
    page.locator(".cam-bar").click(position=dict(x=2, y=2))
    page.keyboard.press("+")
    page.wait_for_function(f"() => document.querySelector('.cam-picture').naturalWidth === {SIDE}", timeout=30_000)
    page.keyboard.press("0")
    note = page.locator(".cam-browser textarea")
    note.fill(f"seen {time.time()}")
    note.blur()
    page.wait_for_function("() => document.querySelector('.cam-message').innerText.includes('noted in')", timeout=30_000)
    page.locator(".cam-jump").fill("no such film")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.cam-message').innerText.startsWith('no image ')", timeout=30_000)
    page.keyboard.press("e")
    page.wait_for_function("() => document.querySelector('.cam-message a')?.download.endsWith('.png')", timeout=30_000)


def view_tools(page):
    "Wheel, drags and keys on the film, which must not scroll the page."
    still = "() => [...document.querySelectorAll(':not(.cam-browser *)')].reduce((sum, e) => sum + e.scrollTop, 0)"
    box, at = page.locator(".cam-browser .cam-frame").first.bounding_box(), page.evaluate(still)
    x, y = box["x"]+box["width"]*.6, box["y"]+box["height"]*.4
    def drag(button, dx, dy):
        page.mouse.move(x, y)
        page.mouse.down(button=button)
        page.mouse.move(x+dx/2, y+dy/2)
        page.mouse.move(x+dx, y+dy)
        page.mouse.up(button=button)
    where = lambda: page.locator(".cam-browser .cam-film").first.bounding_box()
    page.mouse.move(x, y)
    for _ in range(4): page.mouse.wheel(0, 300) # Away from the film: it is whole already
    assert seen(page)["zoom"] == 1
    whole = where()
    for _ in range(4): page.mouse.wheel(0, -200)
    page.wait_for_function("() => !document.querySelector('.cam-film').style.transform.endsWith('scale(1)')")
    near = where()
    share = lambda box: ((x-box["x"])/box["width"], (y-box["y"])/box["height"])
    assert near["width"] > 2*whole["width"]
    assert all(abs(a-b) < .02 for a, b in zip(share(whole), share(near))), "not around the pointer"
    for button in ("left", "middle"):
        before = where()
        drag(button, 30, 20)
        assert abs(where()["x"]-before["x"]-30) < 2 and abs(where()["y"]-before["y"]-20) < 2
    before = seen(page)
    drag("right", -80, 40)
    windowed = changed(page, before, "grey", "filter")
    assert windowed["zoom"] == before["zoom"] and "width 175" in windowed["grey"] and "centre 168" in windowed["grey"]
    inverted = press(page, "r", "grey", "filter", "zoom")
    assert inverted["zoom"] == 1 and inverted["filter"] == "" and "width 255" in inverted["grey"]
    assert press(page, "i", "filter")["filter"] and press(page, "i", "filter")["filter"] == ""
    assert press(page, "3", "grey", "filter")["filter"]
    assert press(page, "1", "grey", "filter")["filter"] == ""
    shown = seen(page)
    assert press(page, "o", "map")["map"] == 0 and press(page, "o", "map")["map"] == shown["map"]
    page.keyboard.press("c")
    assert page.locator(".cam-lines path").first.get_attribute("d").startswith("M")
    page.keyboard.press("c")
    assert press(page, "b", "boxes")["boxes"] == 0 and press(page, "b", "boxes")["boxes"] > 0
    page.keyboard.press("?")
    keys = page.locator(".cam-keys").inner_text()
    assert all(text in keys for text in ("wheel", "right drag", "invert", "next finding"))
    page.keyboard.press("Escape")
    assert not page.locator(".cam-keys").is_visible()
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelectorAll('.cam-pane')[1].offsetWidth > 100")
    page.keyboard.press("p")
    assert "Drawn chest" in page.locator(".cam-picture").first.get_attribute("alt")
    assert not page.locator(".cam-browser img:not([alt])").count()
    assert page.evaluate(still) == at, "the page was scrolled"


def fingers(page):
    "A swipe goes to the next film, two fingers zoom."
    box, touched = page.locator(".cam-browser .cam-frame").first.bounding_box(), page.context.new_cdp_session(page)
    x, y = box["x"]+box["width"]/2, box["y"]+box["height"]/2
    def touch(kind, *shifts):
        points = [dict(x=x+dx, y=y, id=i) for i, dx in enumerate(shifts)]
        touched.send("Input.dispatchTouchEvent", dict(type=f"touch{kind}", touchPoints=points))
    before = seen(page)
    for kind, *shifts in (("Start", 60), ("Move", 0), ("Move", -60), ("End",)): touch(kind, *shifts)
    after = changed(page, before, "place", "picture")
    assert int(after["place"].split()[0]) == int(before["place"].split()[0])+1
    for kind, *shifts in (("Start", -30, 30), ("Move", -50, 50), ("Move", -90, 90), ("End",)): touch(kind, *shifts)
    assert changed(page, after, "zoom")["zoom"] > 1.5
    assert press(page, "r", "zoom")["zoom"] == 1


def step_time(page, key):
    "Milliseconds from a key to another film, as the page measures them."
    return page.evaluate("""key => new Promise(done => {
        const picture = document.querySelector('.cam-browser .cam-picture'), start = performance.now();
        picture.addEventListener('load', () => done(Math.round(performance.now() - start)), {once: true});
        document.querySelector('.cam-browser').dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true})); })""", key)


@pytest.fixture(scope="module")
def lab(project):
    "JupyterLab: its address, and its token."
    token = secrets.token_hex(16)
    options = "--allow-root", "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={token}"
    with served(project, "jupyterlab", *options) as port: yield f"http://127.0.0.1:{port}", token


@pytest.mark.parametrize("theme, width, height", [("light", 1366, 768), ("dark", 1920, 1080)])
def test_jupyterlab(project, lab, chromium, theme, width, height):
    set_up(project, theme)
    address, token = lab
    with pytest.raises(urllib.error.HTTPError): urllib.request.urlopen(f"{address}/api/contents")
    with paged(chromium, f"{address}/lab/tree/{NOTEBOOK}?token={token}", width, height) as (page, errors, _):
        run_all(page)
        times = use(page)
        use_kernel(page)
        page.locator(".cam-browser .cam-bar").scroll_into_view_if_needed()
        shot(page, f"lab-{theme}-{width}")
        print(f"JupyterLab, {theme}: ms from key to film {times}")
        assert not errors, errors


@pytest.fixture(scope="module")
def voila(project):
    "The address of the Voilà page."
    with served(project, "voila", NOTEBOOK, "--Voila.ip=127.0.0.1", "--template=films") as port: yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("scheme, width, height", [("light", 390, 844), ("dark", 1366, 768), ("light", 1920, 1080)])
def test_voila(voila, chromium, scheme, width, height):
    with paged(chromium, voila, width, height, scheme) as (page, errors, asked):
        times = use(page)
        if width > 390: use_kernel(page)
        page.keyboard.press("r")
        first_screen(page, width, height, scheme)
        shot(page, f"voila-{scheme}-{width}")
        print(f"Voilà, {scheme}: ms from key to film {times}")
        assert not errors, errors
        assert not asked, f"asked of other hosts: {asked}"


def first_screen(page, width, height, scheme):
    "The picture is whole on the first screen and as high as the window allows, first of all where the page is narrow."
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width, "the page scrolls sideways"
    page.evaluate("document.querySelectorAll('*').forEach(e => { e.scrollTop = 0; })")
    place = page.locator(".cam-browser .cam-film").first.bounding_box()
    assert place["y"]+place["height"] <= height, f"the picture is below the fold: {place}"
    assert place["y"] < 5 and place["width"] > .95*width if width == 390 else place["height"] > .88*height, place
    ground = page.evaluate("getComputedStyle(document.querySelector('.cam-browser')).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark"), ground


def test_exported_page(project, chromium, tmp_path):
    "One file without a kernel: the same viewer, and nothing asked of anybody; boxes as Python finds them."
    from chexnet_nb.cam.boxes import find_boxes
    from chexnet_nb.cam.browser import CamBrowser, write_page
    browser = CamBrowser(project/"reports/chexnet14/run", finding="Effusion", exports=tmp_path)
    file = write_page(browser, films=6)
    with paged(chromium, file.as_uri(), scheme="dark") as (page, errors, asked):
        use(page)
        first_screen(page, 1366, 768, "dark")
        shot(page, "page-dark-1366")
        page.keyboard.press("Home")
        page.wait_for_function("() => document.querySelector('.cam-jump').value.startsWith('1 of')")
        fingers(page)
        page.keyboard.press("Home")
        page.wait_for_function("() => document.querySelector('.cam-jump').value.startsWith('1 of')")
        page.locator(".cam-bar select[title^=finding]").select_option(label="Effusion")
        drawn = page.evaluate("""() => {
            const view = document.querySelector('.cam-lines').viewBox.baseVal, n = k => k.baseVal.value;
            return [...document.querySelectorAll('.cam-pane:first-child .cam-found rect')].map(
                r => [n(r.x)/view.width, n(r.y)/view.height, n(r.width)/view.width, n(r.height)/view.height]); }""")
        assert not errors and not asked, (errors, asked)
    heat = browser.gallery.view(browser.names[0]).heat[browser.findings.index("Effusion")]
    found = find_boxes(heat, (SIDE, SIDE))[:, :4]/SIDE
    assert len(drawn) == len(found) and abs(sorted(drawn)-np.array(sorted(found.tolist()))).max() < .01


def test_first_film_of_a_folder_has_its_probabilities(project, tmp_path):
    "At once, while those of the others are computed."
    from chexnet_nb.cam.browser import CamBrowser
    browser = CamBrowser(project/"reports/chexnet14/run", project/"phantom", exports=tmp_path)
    browser.halt()
    assert None not in browser.film["probabilities"] and browser.film["name"] == browser.names[0] and browser.film["image"]


def test_layers(project, chromium, tmp_path):
    "What is outlined and where the finding usually lies, each by its key; without outlines there is no button for them."
    from chexnet_nb.cam.browser import CamBrowser, write_page
    from chexnet_nb.data.labels import read_boxes
    outlines = tmp_path/"outlines.csv" # The phantom's boxes, drawn at 256 px
    read_boxes(project/"phantom").assign(width=256, height=256).to_csv(outlines, index=False)
    run, options = project/"reports/chexnet14/run", dict(finding="Effusion", exports=tmp_path)
    for given, drawn in ((outlines, ["outlines", "prior"]), (None, ["prior"])):
        browser = CamBrowser(run, outlines=given, **options)
        browser.show = "labelled"
        with paged(chromium, write_page(browser, tmp_path/f"{len(drawn)}.html", films=3).as_uri()) as (page, errors, asked):
            page.wait_for_function("() => document.querySelector('.cam-browser .cam-picture')?.naturalWidth", timeout=150_000)
            count = lambda name: page.locator(f".cam-pane:first-child .cam-{name}").count()
            assert [name for name in ("outlines", "prior") if page.locator(".cam-bar button", has_text=name).count()] == drawn
            assert count("prior") == 0 and count("outline") == ("outlines" in drawn)
            page.locator(".cam-bar").click(position=dict(x=2, y=2))
            page.keyboard.press("u")
            assert page.locator(".cam-pane:first-child .cam-prior").get_attribute("d").startswith("M")
            page.keyboard.press("l")
            assert count("outline") == 0
            shot(page, f"layers-{len(drawn)}")
            assert not errors and not asked, (errors, asked)
