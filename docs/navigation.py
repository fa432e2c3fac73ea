"The links beside every page: furo's tree, made once and led from page to page; made anew for each, it took a third of the build."
from copy import copy
from functools import cache

from bs4 import BeautifulSoup
from furo.navigation import get_navigation_tree
from sphinx.environment.adapters.toctree import global_toctree_for_doc
from sphinx.util.osutil import relative_uri


@cache
def whole(app):
    "The tree as a page at the top of the site has it that is not in the tree."
    nodes = global_toctree_for_doc(app.env, "", app.builder, tags=app.tags, maxdepth=-1, titles_only=True)
    return BeautifulSoup(get_navigation_tree(app.builder.render_partial(nodes)["fragment"]), "html.parser")


def seen_from(here, tree):
    "The tree's text for a page: links lead from there, its own entry is marked, and the branches that hold it are open."
    tree = copy(tree)
    for link in tree.find_all("a"):
        if link["href"] == here:
            link["class"] = ["current", *link["class"]]
            for tag in link.find_parents(["li", "ul"]):
                tag["class"] = [*tag.get("class", [])[:1], "current", *tag.get("class", [])[1:]]
                if tag.name == "li" and tag.input: tag.input["checked"] = ""
            link.parent["class"].append("current-page")
        link["href"] = relative_uri(here, link["href"]) or "#"
    return str(tree)


def take(app, page, template, context, doctree):
    "Without Sphinx's own tree furo makes none."
    del context["toctree"]


def put(app, page, template, context, doctree):
    "The tree where furo's would be."
    context["furo_navigation_tree"] = seen_from(app.builder.get_target_uri(page), whole(app))


def setup(app):
    "Before furo, which has the priority of 500, and after it."
    app.connect("html-page-context", take, priority=400)
    app.connect("html-page-context", put, priority=600)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
