"The documentation: notebooks, guides and committed reports become pages, the pages a site. `python docs/build.py [FOLDER]`."
import gc
import json
import os
import re
import runpy
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parent))
import api
from cells import notebook, split_directives
from chexnet_nb.core.text import escape_text
from chexnet_nb.report.page import NOT_REAL, report_card, report_order

ROOT = Path(__file__).parents[1]
REPO = "https://github.com/chexnet-nb/chexnet_nb"
TUTORIALS = "score readers own_model hospital phantom release cam_browser trust radiograph".split() # Then others
GUIDES = ("install radiologist student engineer predictions readers radiographs data hospital experiments training weights "
          "devices").split()
WORDS = {"tutorials/cam_browser": "heatmap, saliency, saliency map, Grad-CAM, class activation map, viewer"} # Of notebooks
BADGE = re.compile(r"\[!\[[^\]]*\]\(https?:[^)]*\)\]\([^)]*\)\s*") # Pictures from other hosts, which no page asks
MARKDOWN_LINK = re.compile(r"(!?\[(?:[^\]\\]|\\.)*\])\(([^)\s]+)((?: \"[^\"]*\")?)\)")
NAME = re.compile(r"(?<![`\w])`([A-Za-z][\w.]*)(\(\))?`(?![`\w])")


@dataclass
class Page:
    "A file of the repository and the page it becomes."
    file: Path
    name: str # Path in the site, without suffix
    section: str
    title: str = "" # In the table of contents, where it differs from the heading

    @property
    def source(self): return self.name + self.file.suffix

    @property
    def module(self): return "chexnet_nb." + self.name.removesuffix("/index").replace("/", ".")


def known_order(names, files):
    "Files in the order of `names`, the others after them."
    return sorted(files, key=lambda f: (names.index(f.stem) if f.stem in names else len(names), f.stem))


def find_pages(root):
    "Everything that becomes a page, in the order of the site."
    nbs, pages = root/"nbs", []
    texts = lambda folder: [f for f in (nbs/folder).glob("*") if f.suffix in (".ipynb", ".md")]
    pages += [Page(f, f"tutorials/{f.stem}", "Tutorials") for f in known_order(TUTORIALS, texts("tutorials"))]
    pages += [Page(f, f"guide/{f.stem}", "How-to") for f in known_order(GUIDES, texts("guide"))]
    for f in sorted(root.glob("reports/*/*.ipynb"), key=lambda f: report_order(f.parent)): # As in the index
        preset = f.parent.name.removeprefix(f.stem).strip("-") or "demo"
        pages.append(Page(f, f"reports/{f.parent.name}", "Reports", f"{heading(f)[0]} ({preset})"))
    for f in sorted((nbs/"experiments").glob("*.ipynb")):
        pages.append(Page(f, f"experiments/{f.stem}", "Experiments", f"{heading(f)[0]} (notebook)"))
    for f in sorted(nbs.glob("[0-9]*_*/[0-9]*.ipynb")):
        package, module = (re.sub(r"^\d+_", "", part) for part in (f.parent.name, f.stem))
        face = package == module
        name = (f"{package}/index", package) if face else (f"{package}/{module}", f"{package}.{module}")
        pages.append(Page(f, name[0], "API", name[1]))
    pages += [Page(f, f"reference/{f.stem}", "Reference") for f in sorted((nbs/"reference").glob("*.md"))]
    pages += [Page(root/"data/README.md", "reference/data", "Reference"),
              Page(nbs/"index.ipynb", "readme", "Project", "Results, speed, limits (README)"),
              Page(root/"CONTRIBUTING.md", "contributing", "Project"),
              Page(root/"CHANGELOG.md", "changes", "Project")]
    return [p for p in pages if p.file.exists()]


class Site:
    "The pages, what the names in them mean, and what is wrong with their links."
    def __init__(self, root, out):
        self.root, self.out, self.pages, self.broken = root.resolve(), Path(out), find_pages(root), []
        self.by_file = {p.file.resolve(): p for p in self.pages}
        self.by_name = {p.name: p for p in self.pages}
        self.symbols = self.read_symbols()

    def read_symbols(self):
        "Name, or Class.method -> its full names; from nbdev's index, and the constants that the modules export."
        found = {}
        for module, names in runpy.run_path(str(self.root/"chexnet_nb/_modidx.py"))["d"]["syms"].items():
            for full in names: found.setdefault(full.removeprefix(f"{module}."), []).append(full)
        for page in (p for p in self.pages if p.section == "API"):
            for cell in json.loads(page.file.read_text(encoding="utf-8"))["cells"]:
                source, marks = split_directives(cell)
                for name in api.constants(api.ast.parse(source)) if "export" in marks else ():
                    found.setdefault(name, []).append(f"{page.module}.{name}")
        return found

    def meaning(self, name, page):
        "The full name that a name in backticks has on a page, or None; a page's own names come first."
        if page.section != "API" and re.fullmatch("[a-z]+", name): return None # A mere word
        parts = name.split(".")
        if parts[0] == "chexnet_nb" and len(parts) > 3: parts = parts[3:]
        full = self.symbols.get(".".join(parts), []) if all(map(api.public, parts)) else []
        own = [f for f in full if f.startswith(f"{page.module}.")]
        if not full and len(parts) > 1: # module.name
            last = ".".join(parts[1:])
            full = [f for f in self.symbols.get(last, []) if f.removesuffix(f".{last}").endswith(f".{parts[0]}")]
        return own[0] if own else full[0] if len(full) == 1 else None

    def link(self, target, page, image):
        "Where a relative link leads in the site; to GitHub for what has no page; what leads nowhere is noted."
        path, _, anchor = target.partition("#")
        places = [page.file.parent/path, self.root/path] if page.file.name == "index.ipynb" else [page.file.parent/path]
        found = next((p.resolve() for p in places if p.exists()), None)
        if found is None and path.endswith(".html"): found = getattr(self.by_name.get(path[:-5]), "file", None)
        if found is None or not found.is_relative_to(self.root):
            self.broken.append(f"{page.file.name}: {target}")
            return target
        here = (self.out/page.source).parent
        if image:
            copy = self.out/"files"/found.relative_to(self.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            return os.path.relpath(shutil.copy(found, copy), here)
        to = self.by_file.get(found) or self.by_name.get(str(found.relative_to(self.root)))
        if found in (self.root/"reports", self.root/"reports/README.md"): to = Page(Path("index.md"), "reports/index", "Reports")
        if to: return os.path.relpath(self.out/to.source, here) + (f"#{anchor}" if anchor else "")
        return f"{REPO}/{'tree' if found.is_dir() else 'blob'}/main/{found.relative_to(self.root)}"

    def linked(self, text, page, rendered=False):
        "Markdown with its relative links led to pages; `rendered`: to what Sphinx makes of them."
        def change(m):
            if re.match(r"[a-z]+:|#", m[2]): return m[0]
            to = self.link(m[2], page, m[1].startswith("!"))
            return f"{m[1]}({re.sub('[.](ipynb|md)(?=#|$)', '.html', to) if rendered and '://' not in to else to}{m[3]})"
        return MARKDOWN_LINK.sub(change, text)

    def prose(self, text, page):
        "Markdown with its relative links led to pages, and its names in backticks to their descriptions."
        def named(m):
            full = self.meaning(m[1], page)
            return f"{{py:obj}}`{m[1]}{m[2] or ''} <{full}>`" if full else m[0]
        parts = re.split(r"(^ *```.*?^ *```)", BADGE.sub("", text), flags=re.M | re.S)
        for i in range(0, len(parts), 2):
            lines = self.linked(parts[i], page).split("\n")
            parts[i] = "\n".join(line if line.startswith("#") or "](" in line and "`" in line.split("](")[0].split("[")[-1]
                                 else NAME.sub(named, line) for line in lines)
        return "".join(parts)


def top(page):
    "The line of links that a page begins with."
    path, repo = page.file.relative_to(ROOT), REPO.removeprefix("https://github.com/")
    links = [("Edit on GitHub", f"{REPO}/edit/main/{path}")]
    if page.section == "Reports": links = [("Tables and notebook on GitHub", f"{REPO}/tree/main/{path.parent}")]
    elif page.file.suffix == ".ipynb":
        links += [("Open in Colab", f"https://colab.research.google.com/github/{repo}/blob/main/{path}"),
                  ("Open in Binder", f"https://mybinder.org/v2/gh/{repo}/main?labpath={quote(str(path), safe='')}")]
    headline = page.file.parent/"headline.json"
    drawn = page.section == "Reports" and json.loads(headline.read_text(encoding="utf-8"))["synthetic"]
    box = f'\n<p class="synthetic"><strong>Synthetic data.</strong> {NOT_REAL}</p>' if drawn else ""
    return '<p class="page-links">' + " ".join(f'<a href="{url}">{name}</a>' for name, url in links) + "</p>" + box


def with_top(text, page):
    "The links after a page's first heading, and words that the search shall find it by: `keywords: …` in its front matter."
    front = re.match(r"---\n(.*?)\n---\n", text, re.S)
    if front: text = text[front.end():]
    words = re.search(r"^keywords: *(.*)$", front[1], re.M)[1] if front else WORDS.get(page.name, "")
    index = f"```{{index}} {', '.join('!' + w.strip() for w in words.split(','))}\n```\n" if words else ""
    return re.sub(r"^(# .*\n?)", lambda m: f"{m[1].rstrip()}\n\n{top(page)}\n\n{index}", text, count=1, flags=re.M)


def heading(file):
    "A file's first heading and the sentence in the quotation below it."
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    found = re.search(r"^# (.*?)$\s*(?:^> (.*?)$)?", text, re.M)
    return found[1], found[2] or ""


def toctree(entries, *options): return "\n".join(["```{toctree}", ":hidden:", *options, "", *entries, "```"])


def report_link(page):
    "A report as a card: its title, first number, sentence and key figure."
    card, plain = report_card(page.file.parent), lambda text: escape_text(text, links=False)
    label, number, interval = card["numbers"][0]
    figure = f'<img src="data:image/png;base64,{card["figure"]}" alt="{plain(card["alt"])}">' if card["figure"] else ""
    said = [f"<strong>{plain(card['title'])}</strong>", "<em>synthetic</em>" if card["synthetic"] else "",
            f"<span>{plain(label)}</span>", f"<b>{plain(number)}</b>", f"<span>{plain(interval)}</span>",
            f"<span>{plain(card['note'])}</span>", figure]
    return f'<a class="card" href="{page.file.parent.name}.html">{"".join(said)}</a>'


def overview(site, section, title, text, more=""):
    "A page that lists a section's pages, each with its one sentence, and holds them in the table of contents."
    folder, pages = section.lower(), [p for p in site.pages if p.section and p.section in (section, more)]
    place = Page(site.root/f"{folder}.md", f"{folder}/index", section)
    lines = [f"# {title}", "", text, ""]
    for part in filter(None, (section, more)):
        lines += [f"## {part}", ""] if more else []
        if part == "Reports":
            lines += ['<div class="cards">', *(report_link(p) for p in pages if p.section == part), "</div>", ""]
            continue
        lines += ["| page | what it is about |", "|---|---|"]
        for p in (p for p in pages if p.section == part):
            head, said = heading(p.file)
            lines.append(f"| [{p.title or head}]({os.path.relpath(p.source, folder)}) | {site.prose(said, place)} |")
        lines.append("")
    entries = [f"{p.title} </{p.name}>" if p.title else f"/{p.name}" for p in pages]
    (site.out/folder).mkdir(parents=True, exist_ok=True)
    (site.out/f"{place.name}.md").write_text("\n".join([*lines, toctree(entries), ""]), encoding="utf-8")


CARDS = {
    "tutorials/score": ("Score a table", "AUROCs with intervals from any model's probabilities, in a minute, without a GPU."),
    "tutorials/readers": ("Compare radiologists", "F1 of your readers and a network by the paper's protocol, with a test."),
    "tutorials/cam_browser": ("Look at films", "A run's radiographs with their class activation maps, by keys and mouse."),
    "tutorials/phantom": ("Train a network", "Data, training, scores and maps on drawn chests, in minutes on a laptop.")}


def landing(site):
    "The home page: the picture and the numbers that the README begins with, and where to go."
    cells = json.loads((site.root/"nbs/index.ipynb").read_text(encoding="utf-8"))["cells"]
    place = Page(site.root/"nbs/index.ipynb", "index", "")
    text = "".join(next(c for c in cells if c["cell_type"] == "markdown")["source"])
    numbers = next(o["data"]["text/markdown"] for c in cells for o in c.get("outputs", ()) if "text/markdown" in o["data"])
    picture = text[text.index("\n![")+1:]
    cards = "\n".join(f'<a class="card" href="{name}.html"><strong>{title}</strong><span>{said}</span></a>'
                      for name, (title, said) in CARDS.items())
    intro = [f"# {heading(place.file)[0]}", heading(place.file)[1], f'<div class="cards">\n{cards}\n</div>']
    (site.out/"index.md").write_text("\n\n".join([*intro, site.linked("".join(numbers), place), site.linked(picture, place),
        "New here: [install](guide/install.md). Everything that was measured: [reports](reports/index.md). In Python: "
        "[the packages](api/index.md). What else there is, how fast, and what cannot be reproduced: [README](readme.ipynb).",
        contents(site)]), encoding="utf-8")


def contents(site):
    "The hidden tables of contents of the home page, one a section, in order."
    parts = {"Tutorials": [], "How-to": [], "Experiments and reports": ["reports/index"], "API": ["api/index"],
             "Reference": [], "Project": []}
    for p in site.pages:
        if p.section in parts and p.section != "API": parts[p.section].append(f"{p.title} <{p.name}>" if p.title else p.name)
    return "\n\n".join(toctree(entries, f":caption: {section}") for section, entries in parts.items() if entries)


def write_pages(
    root: Path, # The checkout
    out: Path, # Folder for the pages, made anew
) -> Site:
    "Write every page's source; broken links are in `.broken`."
    shutil.rmtree(out, ignore_errors=True)
    site = Site(root, out)
    for page in site.pages:
        (out/page.source).parent.mkdir(parents=True, exist_ok=True)
        if page.file.suffix == ".ipynb": text = notebook(page, site, lambda text: with_top(text, page))
        else: text = with_top(site.prose(page.file.read_text(encoding="utf-8"), page), page)
        (out/page.source).write_text(text, encoding="utf-8")
    overview(site, "API", "The packages", "In the order of import: a package imports from those above it, and inside "
             'a package a module imports those before it. <a href="../genindex.html">All names, from A to Z</a>.')
    overview(site, "Reports", "Experiments and their reports", "A report is an executed experiment; no radiograph is shown. "
             "Results on the phantom and on simulated readers are synthetic and say so. For research only, not for diagnosis.",
             more="Experiments")
    landing(site)
    return site


def build(
    place: Path, # Folder for the site, made anew
    work: Path, # Folder for what is needed on the way, made anew
) -> int: # Pages
    "Build the site; ends the program with what is wrong where a link leads nowhere or Sphinx warns."
    shutil.rmtree(work, ignore_errors=True)
    site = write_pages(ROOT, work/"pages")
    if site.broken: sys.exit("broken links:\n  " + "\n  ".join(site.broken))
    strictly = ["-q", "-E", "-W", "--keep-going", "-n"]
    from sphinx.cmd.build import build_main # Takes a second to import, which no other use of this file needs
    gc.disable() # Looking for garbage, of which there is little, was a sixth of the time
    try: failed = build_main([*strictly, *map(str, ("-c", ROOT/"docs", work/"pages", work/"html"))])
    finally: gc.enable()
    if failed: sys.exit("the site was not built: each warning above is an error")
    shutil.rmtree(work/"html/.doctrees", ignore_errors=True)
    found = work/"html/searchindex.js" # A page's own words find the page itself, once
    found.write_text(found.read_text(encoding="utf-8").replace('"index-0",true', '"",true'), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    shutil.move(work/"html", place)
    return len(site.pages)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT/"_docs"
    print(f"{build(place, ROOT/'build/docs')} pages: {place/'index.html'}")
