"The site: what the build makes of a cell, and a crawl over every page: links, hosts, legible text, search."
import re
import shutil
import sys
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

pytest.importorskip("myst_nb", reason="the site needs the packages of `dev_requirements`")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/"docs"))
import api
import build
import cells

pytestmark = [pytest.mark.xdist_group("site"), # One process builds it and looks at it
              pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:myst")] # Sphinx to those who extend it
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
FRAME = '<!doctype html><div><iframe style="height: 844px; border: 0; visibility: hidden"></iframe></div>' # Nothing is painted
OPEN = """async ([url, widths]) => {
  const frame = document.querySelector("iframe"), {style} = frame.parentElement;
  const leave = () => style.contentVisibility = "hidden"; // Nothing is laid out but what is asked for
  const widen = w => { style.contentVisibility = "visible"; frame.style.width = `${w}px`; return frame.offsetWidth };
  widen(widths[0]);
  leave();
  await new Promise(done => { frame.onload = done; frame.src = url });
  const page = frame.contentDocument, found = widths.map(w => { widen(w); return page.documentElement.scrollWidth });
  leave();
  page.querySelectorAll("details").forEach(d => d.open = true);
  return found }"""
CONTRAST = """() => {
  const {document, getComputedStyle} = frames[0];
  document.getAnimations().forEach(a => a.finish());
  const once = make => { const known = new Map(); return k => known.has(k) ? known.get(k) : known.set(k, make(k)).get(k) };
  const parse = once(c => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n.slice(0, 3), 1] : n });
  const over = (a, b) => a[3] ? [0, 1, 2].map(i => a[i]*a[3] + b[i]*(1-a[3])).concat(1) : b;
  const light = c => { const l = c.slice(0, 3).map(v => (v /= 255) <= .03928 ? v/12.92 : ((v+.055)/1.055)**2.4);
                       return .2126*l[0] + .7152*l[1] + .0722*l[2] };
  const on = (ground, alpha) => ({ground, alpha, ratio: once(c => { // Of text in a colour to its ground
    const f = over([c[0], c[1], c[2], c[3]*alpha], ground), [high, low] = [light(f), light(ground)].sort((x, y) => y - x);
    return (high+.05)/(low+.05) })});
  const look = once(e => {
    if (!e) return {...on([255, 255, 255, 1], 1), left: false};
    const style = getComputedStyle(e), up = look(e.parentElement), own = parse(style.backgroundColor);
    const same = !own[3] && style.opacity === "1", left = up.left || e.matches("script, style, noscript, title, .headerlink");
    return {...(same ? up : on(over(own, up.ground), up.alpha*style.opacity)), left, colour: parse(style.color)} });
  const read = once(e => { // The ratio of an element's text; of none that is seen, infinite
    const {left, ratio, colour} = look(e);
    return left || !e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) ? Infinity : ratio(colour) });
  const bad = {}, walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (text && read(e) < 4.5)
      bad[`${e.tagName}.${e.className} in ${e.parentElement.className}`] = `${read(e).toFixed(2)}: ${text.slice(0, 30)}`;
  }
  return bad }"""
BOTH = f"async asked => [await ({OPEN})(asked), ({CONTRAST})()]"


class Reader(HTMLParser):
    "What a page links to, loads and names."
    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.ids, self.unnamed = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if a.get("id"): self.ids.append(a["id"])
        if tag == "a" and a.get("href"): self.links.append(a["href"])
        fetched = a.get("rel") not in ("index", "search", "next", "prev", "author", "canonical")
        if fetched and a.get(LOADS.get(tag)): self.loads.append(a[LOADS[tag]])
        if tag == "img" and not a.get("alt"): self.unnamed.append(a.get("src", "")[:60])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The site, built anew."
    folder = tmp_path_factory.mktemp("docs")
    build.build(folder/"site", folder/"work")
    return folder/"site"


@pytest.fixture(scope="module")
def pages(site): return {f.relative_to(site).as_posix(): Reader(f.read_text(encoding="utf-8")) for f in site.rglob("*.html")}


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None: pytest.skip("no Chromium found; `apt-get install chromium` to look at the site")
    from playwright.sync_api import sync_playwright
    flags = ("no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
             "allow-file-access-from-files").split() # The last: a file's script may look into a frame
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in flags])
        yield browser
        browser.close()


CELL = '''
from enum import Enum
SIZE = 3
def area(
    a: float, # Side, in mm
    *,
    b: float|None=None, # Other side; *None* for a square
) -> float: # In mm²
    "The area; raises `BadInput`."
    return a
def pair(x, y): # Numbers
    "Both."
def _hidden(): pass
class Box:
    "A box."
    def __init__(self, side: int): # In mm
        pass
    @property
    def size(self):
        "Its size."
@patch
def turn(self: Box, by: int=1): # Quarters
    "Turn it."
'''


def test_an_export_cell_is_described():
    text = api.describe(CELL, set())
    for said in ("{py:data} SIZE\n:no-typesetting:", "{py:function} area(a: float, *, b: float | None=None) -> float",
                 ":param a: Side, in mm", ":returns: In mm²", r":param b: Other side; \*None\* for a square",
                 "raises `BadInput`.", ":param side: In mm", ":param by: Quarters",
                 "{py:function} pair(x, y)\n\nBoth.\n\nNumbers",
                 "{py:class} Box(side: int)", "{py:property} size",
                 "{py:method} Box.turn(by: int=1)"): assert said in text, f"{said!r} not in\n{text}"
    assert "_hidden" not in text
    assert api.only_imports("import os\nfrom sys import path") and not api.only_imports(CELL)


def test_a_notebook_becomes_a_page():
    read = lambda source: cells.split_directives(dict(cell_type="code", source=source))
    assert read("#| export\nx = 1") == ("x = 1", {"export": ""})
    assert [read(text)[1] for text in ("#| hide\nx", "#|echo: false\nx", "x")] == [{"hide": ""}, {"echo": "false"}, {}]
    page = build.Page(ROOT/"nbs/guide/a.md", "guide/a", "How-to")
    text = build.with_top("---\nkeywords: DICOM, film\n---\n# Title\n\ntext", page)
    assert text.startswith("# Title\n") and "{index} !DICOM, !film" in text and "/edit/main/nbs/guide/a.md" in text


def test_broken_links_are_named(tmp_path):
    root = tmp_path/"checkout"
    (root/"nbs/guide").mkdir(parents=True)
    for part in ("chexnet_nb", "nbs/index.ipynb"):
        (shutil.copytree if (ROOT/part).is_dir() else shutil.copy)(ROOT/part, root/part)
    links = "[there](nowhere.md), [here](b.md), ![gone](images/no.png), [out](https://example.org)"
    (root/"nbs/guide/a.md").write_text(f"# A\n\n{links}\n")
    (root/"nbs/guide/b.md").write_text("# B\n")
    site = build.Site(root, tmp_path/"pages")
    text = site.prose((root/"nbs/guide/a.md").read_text(), site.by_name["guide/a"])
    assert site.broken == ["a.md: nowhere.md", "a.md: images/no.png"] and "[here](b.md)" in text


@cache
def led(site, folder, url):
    "The file that a link on a folder's pages leads to, from the site's top; None where there is none."
    to = (site/folder/unquote(url)).resolve()
    return to.relative_to(site.resolve()).as_posix() if to.exists() else None


def test_links_lead_somewhere(site, pages):
    wrong = []
    for name, page in pages.items():
        for link in page.links + page.loads:
            url, anchor = urldefrag(link)
            if urlparse(url).scheme: continue
            url = urlparse(url).path
            target = led(site, Path(name).parent, url) if url else name
            if target is None: wrong.append(f"{name}: {link}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].ids: wrong.append(f"{name}: {link}")
    assert wrong == []


def test_pages_are_whole(pages):
    assert len(pages) > 25
    for name, page in pages.items():
        assert page.unnamed == [], f"{name}: pictures without an alternative text"
        assert [i for i, n in Counter(page.ids).items() if n > 1] == [], f"{name}: an id stands twice"


def test_every_page_is_reached(site, pages):
    reached, ahead = set(), ["index.html"]
    while ahead:
        name = ahead.pop()
        if name in reached or name not in pages: continue
        reached.add(name)
        links = [urldefrag(link)[0] for link in pages[name].links if not urlparse(link).scheme]
        ahead += [led(site, Path(name).parent, link) for link in links if link]
    assert pages.keys() - reached - {"search.html", "404.html"} == set()


def test_nothing_asks_another_host(site, pages):
    loads = [(name, url) for name, page in pages.items() for url in page.loads]
    assert [(name, url) for name, url in loads if urlparse(url).netloc] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


THEMES, WIDTHS = ("light", "dark"), (390, 1920, 1366) # Text is looked at in the last


@pytest.fixture(scope="module")
def looked(site, pages, browser, tmp_path_factory):
    "Each page opened once, seen in each width and theme: what is too wide, what is hard to read, what was asked for."
    wide, bad, asked = {width: [] for width in WIDTHS}, {theme: {} for theme in THEMES}, []
    frame = tmp_path_factory.mktemp("frame")/"frame.html"
    frame.write_text(FRAME)
    page = browser.new_page()
    page.goto(f"file://{frame}")
    page.on("request", lambda r: asked.append(r.url))
    for i, name in enumerate(pages):
        first, second = THEMES[::1 if i % 2 else -1] # Each page begins in the theme that the last one ended in
        if not i: page.emulate_media(color_scheme=first)
        found, pale = page.evaluate(BOTH, [f"file://{site/name}", WIDTHS])
        for width, needed in zip(WIDTHS, found, strict=True):
            if needed > width: wide[width].append(name)
        page.emulate_media(color_scheme=second)
        for theme, seen in ((first, pale), (second, page.evaluate(CONTRAST))):
            for where, said in seen.items(): bad[theme].setdefault(where, f"{name} {said}")
    page.close()
    return wide, bad, asked


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_legible_and_nothing_is_fetched(looked, theme):
    _, bad, asked = looked
    assert bad[theme] == {} and asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_screen(looked, width): assert looked[0][width] == []


MEANT = {"dicom": "radiograph", "predictions table": "formats", "evaluate": "predictions", "pneumothorax": "glossary",
         "install": "install", "auroc": "auroc", "badinput": "core/errors.html", "glossary": "glossary",
         "CI": "guide/predictions", "confidence interval": "guide/predictions", "AUC": "guide/predictions",
         "ROC": "guide/predictions",
         "heatmap": "cam_browser", "saliency": "cam_browser", "sensitivity": "glossary"}


FOUND = """[...document.querySelectorAll("#search-results li > a")].map(a => `${a.getAttribute("href")} ${a.innerText}`)"""


@pytest.fixture(scope="module")
def tab(browser):
    "A page of the browser for all searches, one after another."
    tab = browser.new_page()
    yield tab
    tab.close()


@pytest.mark.parametrize("query, first", MEANT.items())
def test_search_puts_first_what_is_meant(site, tab, query, first):
    tab.goto(f"file://{site}/search.html?q={query.replace(' ', '+')}")
    tab.wait_for_selector("#search-results li a")
    found = tab.evaluate(FOUND)
    assert first in found[0].lower() and len(set(found)) == len(found), found[:5]
