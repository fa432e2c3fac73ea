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

import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.xdist_group("browser"), # One server and one browser at a time
              pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found; `apt-get install chromium` to run these tests")]
SIDE = 800 # Pixels of the images
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
    data = write_phantom(root/"phantom", patients=40, size=256, progress=False, images_each=4, workers=1)
    labels = read_labels(data)
    split, cache = random_split(labels, fractions=(.4, .2, .4)), prepare(data, 112, root/"cache", workers=1, progress=False)
    for file in (data/"images").iterdir(): Image.open(file).resize((SIDE, SIDE)).save(file) # More pixels than are shown
    recipe = new_recipe(architecture="densenet_demo", size=112, pretrained=False, epochs=1)
    train(PreparedData(data, cache, labels, split, read_source(data)), root/"reports/chexnet14/run", recipe, progress=False)
    (root/NOTEBOOK).parent.mkdir(parents=True)
    for file in (NOTEBOOK, "nbs/tutorials/browser.png"): shutil.copy(Path(__file__).parents[1]/file, root/file)
    return root


def free_port():
    "A port on loopback that nothing listens on."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def served(project, module, *args, theme="light"):
    "A Jupyter server of its own settings in the project; yields its port, and ends it with its kernels."
    home, port = project/".jupyter", free_port()
    settings = home/"lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings/"notification.jupyterlab-settings").write_text(json.dumps(dict(fetchNews="false", checkForUpdates=False)))
    (settings/"themes.jupyterlab-settings").write_text(json.dumps(dict(theme=f"JupyterLab {theme.title()}")))
    (settings.parent/"notebook-extension").mkdir(exist_ok=True) # All cells in the page, also those that are scrolled away
    (settings.parent/"notebook-extension/tracker.jupyterlab-settings").write_text(json.dumps(dict(windowingMode="none")))
    env = dict(os.environ, JUPYTER_CONFIG_DIR=str(home), JUPYTER_DATA_DIR=str(home/"data"),
               JUPYTER_RUNTIME_DIR=str(home/"runtime"), IPYTHONDIR=str(home/"ipython"),
               PYTHONPATH=os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
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


@contextmanager
def paged(url, width=1366, height=768):
    "A page in Chromium and its console's errors; what a template asks of hosts elsewhere is not counted: tests have no network."
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page, errors = chromium.new_page(viewport=dict(width=width, height=height)), []
        ours = lambda message: message.type == "error" and url[:17] in message.location["url"]
        page.on("console", lambda message: errors.append(message.text) if ours(message) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            page.goto(url, timeout=150_000)
            yield page, errors
        except BaseException:
            shot(page, "failed")
            raise
        finally: chromium.close()


def run_all(page):
    "Run the notebook by the menu; once more where the page was not yet connected to its kernel and shows nothing of it."
    asked = page.locator(".jp-Dialog .jp-mod-accept") # A slow machine's page asks for a kernel that it has
    page.add_locator_handler(asked, lambda: asked.click())
    for _ in range(5):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        for _ in range(20):
            if page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[[\d*]+\]")).count(): return
            time.sleep(.2)
    pytest.fail("the cells do not run")


def shot(page, name):
    "A screenshot for the eye, where `CAM_SCREENSHOTS` names a folder."
    if folder := os.environ.get("CAM_SCREENSHOTS"): page.screenshot(path=f"{folder}/{name}.png")


def seen(page):
    "Title, bars, place, and a sum over the bytes of the picture, as the page shows them."
    return page.evaluate("""async () => {
        const text = s => document.querySelector(`.cam-browser ${s}`).innerText;
        const source = document.querySelector('.cam-browser img.cam-picture').src;
        const bytes = new Uint8Array(await (await fetch(source)).arrayBuffer());
        return {title: text('.cam-title'), bold: text('.cam-bars .cam-now'),
                place: /\\d+ of \\d+/.exec(document.querySelector('.cam-browser').innerText)[0],
                picture: bytes.length + ':' + bytes.reduce((a, b) => (a*31 + b) % 1000003, 7)}; }""")


def changed(page, before, *keys):
    "What is seen once all of `keys` have changed."
    until = time.monotonic()+20
    while time.monotonic() < until:
        now = seen(page)
        if all(now[k] != before[k] for k in keys): return now
        time.sleep(.02)
    pytest.fail(f"{keys} did not all change: before {before}, now {now}")


def use(page):
    "Change the finding, step by key and by button, move a slider, and look at what the page shows."
    page.wait_for_selector(".cam-browser .cam-bars", timeout=150_000)
    page.locator(".cam-browser img.cam-picture").scroll_into_view_if_needed()
    start = seen(page)
    assert start["title"].startswith("Effusion") and start["bold"] == "Effusion" and start["place"].startswith("1 of")
    assert "network trained on synthetic images" in start["title"]
    page.locator(".cam-browser select").nth(1).select_option(label="Pleural Thickening")
    other = changed(page, start, "title", "bold", "picture")
    assert other["title"].startswith("Pleural Thickening") and other["bold"] == "Pleural Thickening"
    page.locator(".cam-browser img.cam-picture").click()
    at, last = map(int, other["place"].split(" of "))
    there, back = ("ArrowRight", "ArrowLeft") if at < last else ("ArrowLeft", "ArrowRight")
    page.keyboard.press(there)
    stepped = changed(page, other, "place", "picture")
    assert abs(int(stepped["place"].split()[0])-at) == 1
    page.keyboard.press(back)
    assert changed(page, stepped, "place", "picture") == other
    page.keyboard.press("ArrowDown")
    down = changed(page, other, "title", "bold", "picture")
    assert down["bold"] == "Hernia"
    page.keyboard.press("ArrowUp")
    up = changed(page, down, "title", "bold", "picture")
    assert up["bold"] == "Pleural Thickening"
    page.locator(f".cam-browser button[title^='{'next' if at < last else 'previous'}']").click()
    now = changed(page, up, "place", "picture")
    page.locator(".cam-browser input[type=checkbox]").nth(1).click()
    now = changed(page, now, "picture")
    tools(page, now)
    return step_times(page)


def tools(page, now):
    "Overlay by key, zoom, window, jump, note, alternative texts."
    page.locator(".cam-browser .cam-title").click()
    page.keyboard.press("o")
    bare = changed(page, now, "picture")
    page.keyboard.press("o")
    assert changed(page, bare, "picture") == now
    picture = page.locator(".cam-browser img.cam-picture")
    sides = "() => document.querySelector('.cam-browser img.cam-picture').naturalWidth"
    assert page.evaluate(sides) == 640
    page.keyboard.press("+")
    assert "scale(1.5)" in picture.get_attribute("style")
    page.wait_for_function(f"() => ({sides})() === {SIDE}", timeout=20_000)
    page.keyboard.press("0")
    page.wait_for_function(f"() => ({sides})() === 640", timeout=20_000)
    assert "scale" not in (picture.get_attribute("style") or "")
    assert "Drawn chest" in picture.get_attribute("alt") and not page.locator(".cam-browser img:not([alt])").count()
    page.keyboard.press("/")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.cam-browser').innerText.includes('3 of ')", timeout=20_000)
    note = page.locator(".cam-browser textarea")
    note.fill(f"seen {time.time()}")
    note.blur()
    page.wait_for_function("() => document.querySelector('.cam-browser').innerText.includes('noted in')", timeout=20_000)


def step_times(page, n=7):
    "Milliseconds from a key to the picture of another finding, as the page measures them."
    page.locator(".cam-browser .cam-title").click()
    timed = """key => new Promise(done => {
        const picture = document.querySelector('.cam-browser img.cam-picture'), start = performance.now();
        picture.addEventListener('load', () => done(Math.round(performance.now() - start)), {once: true});
        document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true})); })"""
    return [page.evaluate(timed, ("ArrowDown", "ArrowUp")[i % 2]) for i in range(n)]


@pytest.mark.parametrize("theme, width, height", [("light", 1366, 768), ("dark", 1920, 1080)])
def test_jupyterlab(project, theme, width, height):
    token = secrets.token_hex(16)
    options = "--allow-root", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={token}"
    with served(project, "jupyterlab", *options, theme=theme) as port:
        with pytest.raises(urllib.error.HTTPError): urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents")
        with paged(f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}?token={token}", width, height) as (page, errors):
            page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=120_000)
            run_all(page)
            times = use(page)
            page.locator(".cam-browser .cam-title").scroll_into_view_if_needed()
            shot(page, f"lab-{theme}-{width}")
            print(f"JupyterLab, {theme}: ms from key to picture {times}")
            assert not errors, errors


@pytest.mark.parametrize("theme, width, height", [("light", 390, 844), ("dark", 1366, 768), ("light", 1920, 1080)])
def test_voila(project, theme, width, height):
    with served(project, "voila", NOTEBOOK, "--Voila.ip=127.0.0.1", f"--theme={theme}") as port:
        with paged(f"http://127.0.0.1:{port}/", width, height) as (page, errors):
            times = use(page)
            shot(page, f"voila-{theme}-{width}")
            assert page.evaluate("document.scrollingElement.scrollWidth") <= width, "the page scrolls sideways"
            page.evaluate("document.scrollingElement.scrollTo(0, 0)")
            place = page.locator(".cam-browser img.cam-picture").bounding_box()
            if width == 1366: assert place["y"]+place["height"] <= height, f"the picture is below the fold: {place}"
            print(f"Voilà, {theme}: ms from key to picture {times}")
            assert not errors, errors
