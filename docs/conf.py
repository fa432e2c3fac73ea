"Sphinx's settings; the pages are written by build.py."
import configparser
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
settings.read(Path(__file__).parents[1]/"settings.ini", encoding="utf-8")
project, version = settings["DEFAULT"]["lib_name"], settings["DEFAULT"]["version"]
author, copyright = settings["DEFAULT"]["author"], f"2026 onwards, {settings['DEFAULT']['author']}"
extensions = ["myst_nb", "mathml", "navigation", "once"]

nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_render_markdown_format = "gfm"
nb_code_prompt_show = "Source"
nb_code_prompt_hide = "Source"
nb_output_stderr = "remove"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist", "linkify"]
myst_linkify_fuzzy_links = False
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]
nitpick_ignore_regex = [("py:.*", r"(?!chexnet_nb\.).*")]
python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True
add_module_names = False
modindex_common_prefix = ["chexnet_nb."]

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_search_language, html_search_scorer = "en", str(Path(__file__).parent/"scorer.js")
html_copy_source = html_show_sourcelink = html_show_sphinx = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
html_theme_options = dict(
    navigation_with_keys=True, top_of_page_buttons=[],
    footer_icons=[dict(name="GitHub", url="https://github.com/chexnet-nb/chexnet_nb", html="GitHub")],
    light_css_variables={"color-brand-primary": "#0b5a7a", "color-brand-content": "#0b5a7a", "color-brand-visited": "#5b3f8c"},
    dark_css_variables={"color-brand-primary": "#6cc4e8", "color-brand-content": "#6cc4e8", "color-brand-visited": "#c3a6ff"})
