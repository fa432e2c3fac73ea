"Formulas as MathML, which browsers draw by themselves: no script, no font to fetch."
from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def show(self, node):
    "A formula in a line."
    self.body.append(convert(node.astext()))
    raise SkipNode


def show_block(self, node):
    "A formula on lines of its own."
    self.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app):
    "Register the renderer."
    app.add_html_math_renderer("mathml", (show, None), (show_block, None))
    return dict(parallel_read_safe=True, parallel_write_safe=True)
