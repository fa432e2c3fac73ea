"The house in one picture: every package with its modules, and which package imports which. `python docs/house.py` writes it."
import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT/"nbs/images/house.svg"
WIDE, GAP, LINE, HEAD = 170, 20, 17, 44 # Pixels: a package, between packages, a module, a package's head
SAYS = dict(core="errors, files, tables", data="labels, splits, images", phantom="drawn radiographs", metrics="AUROC, intervals",
            readers="radiologists, F1", audit="what a score rests on", models="networks, recipes", runs="run folders, prediction",
            training="fit, ensembles", cam="class activation maps", report="pages, commands")
FLOW = "release or phantom → cache → training → predictions table → metrics, readers, audit → report"
ROWS = (("core", "data", "phantom"), ("metrics", "readers", "audit"), ("models", "runs", "training"), ("cam", "report"))


@cache
def order():
    "Package -> its modules, both in the order of the notebooks' numbers; faces are not counted."
    names = lambda files: [f.stem.split("_", 1)[1] for f in sorted(files)]
    folders = sorted((ROOT/"nbs").glob("[0-9]*_*"))
    found = {f.name[3:]: names(f.glob("*.ipynb")) for f in folders}
    return {p: [m for m in modules if (ROOT/"chexnet_nb"/p/f"{m}.py").exists()] for p, modules in found.items()}


def imported(file, package):
    "The modules of this package that a module imports, wherever in its code: (package, module)."
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module: continue
        parts = node.module.split(".")
        if node.level == 1: found.add((package, parts[0]))
        elif node.level == 2 or parts[0] == "chexnet_nb" and len(parts) > 1: found.add(tuple(parts[-2:]))
    return found


@cache
def arrows():
    "(package, module) -> those it imports."
    return {(p, m): imported(ROOT/"chexnet_nb"/p/f"{m}.py", p) for p, modules in order().items() for m in modules}


def backward():
    "Imports that run against the order, as text; there should be none."
    place = {(p, m): (i, k) for i, (p, modules) in enumerate(order().items()) for k, m in enumerate(modules)}
    wrong = [(a, b) for a, targets in arrows().items() for b in targets if b in place and place[b] >= place[a]]
    return [f"{'.'.join(a)} imports {'.'.join(b)}" for a, b in sorted(wrong)]


def boxes(house):
    "Package -> its corner, width and height."
    placed, y = {}, 34
    for row in ROWS:
        tall = max(len(house[p]) for p in row)*LINE+HEAD
        for k, p in enumerate(row): placed[p] = (10+k*(WIDE+GAP), y, WIDE, tall)
        y += tall+GAP
    return placed


def box(name, number, modules, x, y, wide, tall):
    "A package as SVG."
    lines = [f'<rect x="{x}" y="{y}" width="{wide}" height="{tall}" rx="6" class="box"/>',
             f'<text x="{x+10}" y="{y+18}" class="name">{number} {name}</text>',
             f'<text x="{x+10}" y="{y+32}" class="says">{SAYS[name]}</text>']
    return lines+[f'<text x="{x+10}" y="{y+HEAD+6+k*LINE}" class="module">{m}</text>' for k, m in enumerate(modules)]


def picture():
    "The SVG as text."
    house, placed = order(), boxes(order())
    uses = {p: sorted({q for (a, _), targets in arrows().items() for q, _ in targets if a == p and q in house and q != p},
                      key=list(house).index) for p in house}
    tall = max(y+h for _, y, _, h in placed.values())
    size = 3*WIDE+2*GAP+20, tall+18*len(house)+50
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">'.format(*size),
             "<title>Eleven packages; each imports from packages of a smaller number only</title>",
             "<style>text{font:12px sans-serif;fill:#1f2937}.name{font-weight:bold}.says{font-size:10px;fill:#6b7280}"
             ".module{font-family:monospace}.box{fill:#f8fafc;stroke:#94a3b8}svg{background:#fff}</style>"]
    lines.append(f'<text x="10" y="20" class="says">{FLOW}</text>')
    for i, (p, modules) in enumerate(house.items()): lines += box(p, i, modules, *placed[p])
    y = tall+30
    lines.append(f'<text x="10" y="{y}" class="name">A package imports from packages of a smaller number only:</text>')
    for i, (p, targets) in enumerate(uses.items()):
        lines.append(f'<text x="10" y="{y+18*(i+1)}"><tspan class="name">{p}</tspan> ← {", ".join(targets) or "nothing"}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__": PICTURE.write_text(picture(), encoding="utf-8")
