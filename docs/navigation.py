"The links beside every page: furo's tree, made once and led from page to page; made anew for each, it took a third of the build."
import re
from functools import cache

from bs4 import BeautifulSoup
from furo.navigation import get_navigation_tree
from sphinx.environment.adapters.toctree import global_toctree_for_doc
from sphinx.util.osutil import relative_uri

MARK = re.compile(r'( [\w-]+)@(\d+)-(\d+)(="")?') # Stands on the pages that the links from one number to another lead to


@cache
def whole(app):
    "The tree as text, as a page at the top of the site has it, with every mark; and where its links lead, in order."
    nodes = global_toctree_for_doc(app.env, "", app.builder, tags=app.tags, maxdepth=-1, titles_only=True)
    tree = BeautifulSoup(get_navigation_tree(app.builder.render_partial(nodes)["fragment"]), "html.parser")
    links = tree.find_all("a")
    number = {id(link): i for i, link in enumerate(links)}
    for tag in tree.find_all(["li", "ul", "a"]):
        inside = [number[id(link)] for link in tag.find_all("a") or [tag]]
        span = f"@{inside[0]}-{inside[-1]}"
        tag["class"] = [*tag.get("class", [""]), f"current{span}"]
        if tag.name == "li" and tag.input: tag.input[f"checked{span}"] = ""
        if tag.name == "a": tag.parent["class"].append(f"current-page{span}")
    return str(tree), [link["href"] for link in links]


def seen_from(here, tree, links):
    "The tree for a page: links lead from there, its own entry is marked, and the branches that hold it are open."
    own = [i for i, link in enumerate(links) if link == here]
    seen = MARK.sub(lambda m: m[1] + (m[4] or "") if any(int(m[2]) <= i <= int(m[3]) for i in own) else "", tree)
    return re.sub('href="([^"#]+)"', lambda m: f'href="{relative_uri(here, m[1]) or "#"}"', seen)


def take(app, page, template, context, doctree):
    "Without Sphinx's own tree furo makes none."
    del context["toctree"]


def put(app, page, template, context, doctree):
    "The tree where furo's would be."
    context["furo_navigation_tree"] = seen_from(app.builder.get_target_uri(page), *whole(app))


def setup(app):
    "Before furo, which has the priority of 500, and after it."
    app.connect("html-page-context", take, priority=400)
    app.connect("html-page-context", put, priority=600)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
