"The cells of a notebook as the site shows them: what is exported is described, what is hidden is left out."
import json
import re

import api


LOCAL_LINK = re.compile(r'<a href="(?![a-z]+:|#)[^"]*"[^>]*>(.*?)</a>') # Of an output: to what a notebook made beside itself


def split_directives(cell):
    "A code cell's source without its directives, and the directives as a dict; of other cells nothing."
    if cell["cell_type"] != "code": return "", {}
    lines = "".join(cell["source"]).splitlines()
    marks = [re.match(r"#\|\s*([\w-]+)\s*:?\s*(.*)", line) for line in lines]
    source = "\n".join(line for line, m in zip(lines, marks) if not m)
    return source.strip("\n"), {m[1]: m[2].strip() for m in marks if m}


def output(o, alt, page, site):
    "An output as it is kept: pictures with an alternative text, no widget, nothing that was said on stderr."
    if o.get("name") == "stderr": return None
    data = o.get("data", {})
    if "text/markdown" in data: data["text/markdown"] = site.linked("".join(data["text/markdown"]), page, rendered=True)
    data.pop("application/vnd.jupyter.widget-view+json", None)
    if "text/html" in data: data["text/html"] = LOCAL_LINK.sub(r"\1", "".join(data["text/html"]))
    for kind in [k for k in data if k.startswith("image/")]:
        said = o.get("metadata", {}).get(kind, {}).get("alt") or re.search(r'alt="([^"]+)"', "".join(data.get("text/html", "")))
        o.setdefault("alt", said if isinstance(said, str) else said[1] if said else alt)
    return o


def code_cell(cell, page, site, taken, alt):
    "The cells that a code cell becomes in the site."
    source, marks = split_directives(cell)
    if {"hide", "default_exp", "exporti"} & marks.keys(): return []
    outputs = [o for o in (output(o, alt, page, site) for o in cell["outputs"]) if o]
    tags = cell["metadata"].get("tags", [])
    shown = dict(cell, source=source, outputs=outputs, metadata={"tags": [], "mystnb": {"image": {"alt": alt}}})
    for o in outputs: shown["metadata"]["mystnb"]["image"]["alt"] = o.pop("alt", alt)
    if page.section == "Reports": # Results first; the code is in the notebook beside it
        shown["metadata"]["tags"] = ["hide-input" if "parameters" in " ".join(tags) else "remove-input"]
    if marks.get("echo") == "false" or "hide_input" in marks: shown["metadata"]["tags"] = ["remove-input"]
    if "hide_output" in marks or marks.get("output") == "false": shown["outputs"] = []
    if not {"export", "exports"} & marks.keys(): return [shown] if source or outputs else []
    if api.only_imports(source): return []
    said = site.prose(api.describe(source, taken), page)
    if len(source.splitlines()) > 12 or api.definitions(api.ast.parse(source)): shown["metadata"]["tags"] = ["hide-input"]
    return [markdown(said), shown] if said else [shown]


def markdown(text): return {"cell_type": "markdown", "metadata": {}, "source": text}


def as_json(cells):
    "Cells as a notebook's text."
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [dict(cell, id=f"c{i}") for i, cell in enumerate(cells)]
    return json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def notebook(page, site, top):
    "A notebook as the site shows it; `top` puts a page's links below its first heading."
    nb = json.loads(page.file.read_text(encoding="utf-8"))
    texts = ["".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "markdown"]
    headings = re.findall(r"^#+ +(.*)$", "\n".join(texts), re.M)
    taken, alt, cells, first = {re.sub(r"\W+", "-", h.lower()).strip("-") for h in headings}, headings[0], [], True
    module = f"```{{py:currentmodule}} {page.module}\n```\n" if page.section == "API" else ""
    for cell in nb["cells"]:
        if cell["cell_type"] == "code": cells += code_cell(cell, page, site, taken, alt)
        elif cell["cell_type"] == "markdown":
            text = site.prose("".join(cell["source"]), page)
            alt = (re.findall(r"^#+ +(.*)$", text, re.M) or [alt])[-1]
            if first and text.lstrip().startswith("# "): text, first = top(text) + f"\n\n{module}", False
            cells.append(markdown(text))
    return as_json(cells)
