"""The picture of the viewer that README and site show, from the run of `make reports`: `python docs/animation.py`.

The film is the most probable one of a finding among the test films that have it; everything in it is synthetic, and the picture
says so. Needs Chromium.
"""
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from chexnet_nb.cam.browser import CamBrowser, write_page

ROOT = Path(__file__).parents[1]
OUT, STILL = ROOT/"nbs/images/viewer.webp", ROOT/"nbs/tutorials/browser.png"
WIDTH, HEIGHT, MAX_BYTES = 1000, 640, 2_000_000
CAPTION = """text => {
    const node = document.getElementById('caption') ?? document.body.appendChild(document.createElement('div'));
    Object.assign(node, {id: 'caption', textContent: text, style: `position: fixed; left: 350px; bottom: 14px; padding: 4px 12px;
        transform: translateX(-50%); font: 15px system-ui; color: #fff; background: #262e39; border-radius: 6px;
        visibility: ${text ? 'visible' : 'hidden'}`}); }"""


def story(page):
    "Yield (caption, milliseconds) after each change of the page."
    box = page.locator("rect.cam-true").first.bounding_box()
    x, y = box["x"]+box["width"]/2, box["y"]+box["height"]/2
    page.keyboard.press("o")
    page.keyboard.press("b")
    yield "a chest film, drawn", 1600
    page.keyboard.press("o")
    yield "o: the network's map", 1400
    page.keyboard.press("b")
    yield "b: the map's box, and the true one dashed", 2400
    page.mouse.move(x, y)
    for _ in range(5):
        page.mouse.wheel(0, -70)
        yield "wheel: zoom", 90
    page.keyboard.press("o")
    page.keyboard.press("c")
    yield "c: the map's contour", 1600
    page.mouse.down(button="right")
    for i in range(1, 9):
        page.mouse.move(x-14*i, y+5*i)
        yield "right drag: window", 90
    page.mouse.up(button="right")
    yield "right drag: window", 900
    page.keyboard.press("i")
    yield "i: invert", 1200
    page.keyboard.press("r")
    page.keyboard.press("c")
    page.keyboard.press("o")
    yield "r: as at first", 900
    page.keyboard.press("p")
    yield "p: the same patient's earlier film", 2400
    page.keyboard.press("p")
    yield "", 700


def frames(file):
    "Frames and their milliseconds."
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=dict(width=WIDTH, height=HEIGHT), color_scheme="dark")
        page.goto(file.as_uri())
        page.wait_for_selector(".cam-found rect", state="attached")
        for caption, milliseconds in story(page):
            page.evaluate(CAPTION, caption)
            page.wait_for_timeout(250) # A film is decoded
            yield Image.open(io.BytesIO(page.screenshot())).convert("RGB"), milliseconds
        browser.close()


def main(run=ROOT/"reports/chexnet14/run", finding="Pneumothorax"):
    "Write the animation and, of its last frame, the still."
    with tempfile.TemporaryDirectory() as folder:
        viewer = CamBrowser(run, finding=finding, exports=folder)
        viewer.split, viewer.show = "test", "labelled"
        pictures, times = zip(*frames(write_page(viewer, films=1)))
    pictures[-1].quantize(256).save(STILL, optimize=True)
    for quality in (80, 70, 60, 50, 40):
        pictures[0].save(OUT, save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=quality, method=4)
        if OUT.stat().st_size < MAX_BYTES: break
    print(f"{OUT.relative_to(ROOT)}: {len(pictures)} frames, {OUT.stat().st_size/1e6:.2f} MB, quality {quality}")


if __name__ == "__main__": main(*sys.argv[1:])
