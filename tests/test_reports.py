"Reports in a real browser: the answer on the first screen, no clipped table without a hint, and text of files that stays text."
import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from chexnet_nb.data.source import Source
from chexnet_nb.report.page import write_index, write_page
from chexnet_nb.report.tables import data_note, html_list, html_table, synthetic_note, write_headline

ROOT = Path(__file__).parents[1]
REPORTS = sorted(f.parent for f in ROOT.glob("reports/*-*/headline.json"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = ("[click](javascript:document.title='ran')",
           "![x](http://127.0.0.1:9/x.png)\n\n<img src=x onerror=document.title='ran'>",
           "</title></h1><script>document.title='ran'</script>", "\n\n# heading\n\n- item `code` **bold** <b onclick=run()>b</b>",
           "\"><svg onload=document.title='ran'>", "<https://127.0.0.1:9/auto> javascript:run()")
INSIDE = """number => { const at = [...document.querySelectorAll(".numbers b")].find(e => e.textContent === number);
  const box = at.getBoundingClientRect(), figure = document.querySelector(".answer img").getBoundingClientRect();
  return box.top >= 0 && box.bottom <= innerHeight && figure.top < innerHeight*.6 && figure.bottom <= innerHeight + 1 }"""
CLIPPED = """() => [...document.querySelectorAll("table.results")].filter(t => {
  const frame = t.parentElement, wide = t.offsetWidth > frame.clientWidth + 1, style = getComputedStyle(frame);
  return wide && (style.overflowX !== "auto" || style.backgroundImage === "none"
                  || getComputedStyle(t.querySelector("th")).position !== "sticky") }).length"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None: pytest.skip("no Chromium found; `apt-get install chromium` to look at the reports")
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    flags = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update".split()
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in flags])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visit(browser):
    "Opens files one after another in the same tab; gives the page, and what it asked for."
    page, asked = browser.new_page(), []
    page.on("request", lambda r: asked.append(r.url))

    def visit(file, width=1366, height=768):
        page.set_viewport_size(dict(width=width, height=height))
        asked.clear()
        page.goto(f"file://{file}")
        return page, asked
    yield visit
    page.close()


@pytest.mark.parametrize("folder", REPORTS, ids=lambda f: f.name)
def test_the_first_screen_is_the_answer(folder, visit):
    headline = json.loads((folder/"headline.json").read_text())
    page, asked = visit(folder/"index.html")
    shown = page.inner_text(".answer")
    assert page.inner_text("h1") == headline["title"] and page.title() == headline["title"]
    first = page.inner_text(".numbers b >> nth=0")
    texts = [*headline.get("numbers", {}).values(), *sum(headline["rows"], [])]
    assert any(text == first or text.startswith(f"{first} (") for text in texts), shown
    assert page.evaluate(INSIDE, first), "number and figure are on the first screen"
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("width", [390, 1366])
def test_no_table_is_clipped_without_a_hint(width, visit):
    for folder in REPORTS:
        page, _ = visit(folder/"index.html", width)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.evaluate(CLIPPED) == 0, folder.name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, folder.name


def hostile_report(folder):
    "A report all of whose texts are hostile."
    text, split = " ".join(HOSTILE), pd.DataFrame()
    split.attrs["about"] = text
    note = data_note(Source(text, text, text, text, (text,)), pd.DataFrame({"Patient ID": [1]}), split)
    shown = [note, html_list(HOSTILE), synthetic_note(text), html_table(pd.DataFrame({t: [t]*9 for t in HOSTILE}), text)]
    output = nbformat.v4.new_output
    cells = [nbformat.v4.new_code_cell("", outputs=[output("display_data", {"text/html": html})]) for html in shown]
    cells += [nbformat.v4.new_code_cell("", outputs=[output("display_data", {"text/markdown": note})])]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), *cells]), folder/"evaluate.ipynb")
    table = pd.DataFrame({t: [t] for t in HOSTILE})
    write_headline(folder, text, table, text, synthetic=False, numbers={t: t for t in HOSTILE[:3]})
    record = dict(experiment="evaluate", preset=text, chexnet_nb=text, finished=text)
    (folder/"report.json").write_text(json.dumps(record))
    return write_page(folder)


def test_text_of_files_stays_text(tmp_path, visit):
    (tmp_path/"hostile").mkdir()
    for file in (hostile_report(tmp_path/"hostile"), write_index(tmp_path)):
        page, asked = visit(file)
        page.wait_for_timeout(200)
        assert "click" in page.inner_text("main") and page.title() != "ran"
        assert page.evaluate("document.querySelectorAll('main img, main svg, script, [onclick], [onerror]').length") == 0
        assert set(page.evaluate("[...document.links].map(a => a.protocol)")) <= {"http:", "https:", "file:"}
        assert page.evaluate("document.querySelectorAll('main h2, b b').length") <= 1 # The index has one heading of its own
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
