"What Sphinx does anew wherever a word or a name stands, done once for all pages: stem it for the search, find what it means."
from functools import cache

from sphinx.domains.python import PythonDomain
from sphinx.search import languages
from sphinx.search.en import SearchEnglish


class English(SearchEnglish):
    "The language of the search."
    stem = cache(SearchEnglish.stem)


class Python(PythonDomain):
    "The names of the package; they are looked up when all pages have been read."
    find_obj = cache(PythonDomain.find_obj)


def setup(app):
    "In the place of Sphinx's own."
    languages["en"] = English
    app.add_domain(Python, override=True)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
