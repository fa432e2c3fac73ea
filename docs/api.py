"An export cell as documentation: the signature, the docstring and the docments of each public name, and its source folded."
import ast
import io
import re
import tokenize

_SPECIAL = re.compile(r"(`[^`]*`)|([*_<$\[\]])")


def escaped(
    text: str, # A docstring or a comment; backticks mark names
) -> str:
    "Plain text as Markdown: what Markdown would take for markup is escaped outside backticks."
    return _SPECIAL.sub(lambda m: m[1] or "\\" + m[2], text)


def comments(
    source: str, # Python
) -> dict[int, str]: # Line number -> its comment's text
    "The comments of a source, by line."
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#|"):
            found[token.start[0]] = token.string.lstrip("# ").strip()
    return found


def public(
    name: str,
) -> bool:
    "Whether a name belongs to the interface."
    return not name.startswith("_")


def remark(node, notes):
    "What the comment that closes a signature says, or nothing where that comment belongs to a parameter."
    first = max([node.lineno, *(a.end_lineno for a in arguments(node)), getattr(node.returns, "end_lineno", 0)])
    said = [notes[n] for n in range(first, node.body[0].lineno) if n in notes]
    return said[0] if said and (node.returns or first == node.lineno) else ""


def arguments(node):
    "The parameters of a function in order."
    a = node.args
    return [*a.posonlyargs, *a.args, *filter(None, [a.vararg]), *a.kwonlyargs, *filter(None, [a.kwarg])]


def fields(node, notes):
    "Parameters with their docments as a field list; parameters that share a line share its comment."
    lines, said = {}, remark(node, notes)
    for a in arguments(node): lines.setdefault(a.end_lineno, []).append(a.arg)
    known = [f":param {', '.join(names)}: {escaped(notes[line])}" for line, names in lines.items()
             if line in notes and line != node.body[0].lineno - 1]
    return known + ([f":returns: {escaped(said)}" if node.returns else escaped(said)] if said else [])


def signature(node, method=False):
    "A function's parameters and result as text."
    args = ast.unparse(node.args)
    if method: args = re.sub(r"^(self|cls)(, )?", "", args)
    return f"({args})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def block(kind, head, lines, colons):
    "A directive with its content."
    fence = ":"*colons
    return [f"{fence}{{py:{kind}}} {head}", "", *lines, "", fence, ""]


def described(node, notes, colons=3, method=False):
    "A function or a method as a directive."
    kind = "method" if method else "function"
    marks = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
    head, options = node.name + signature(node, method), []
    if "property" in marks: kind, head = "property", node.name
    for mark in marks & {"classmethod", "staticmethod"}: options, head = [f":{mark}:"], node.name + signature(node, mark == "classmethod")
    text = ast.get_docstring(node) or ""
    return block(kind, head, [*options, "", escaped(text), "", *fields(node, notes)], colons)


def described_class(node, notes):
    "A class as a directive, with its fields or the parameters of `__init__`, and its public methods."
    values = [n for n in node.body if isinstance(n, ast.AnnAssign) and public(n.target.id)]
    start = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    shown = [f"{ast.unparse(n.target)}: {ast.unparse(n.annotation)}" + (f" = {ast.unparse(n.value)}" if n.value else "") for n in values]
    head = node.name + (signature(start, True).split(" -> ")[0] if start else f"({', '.join(shown)})" if shown else "")
    inside = fields(start, notes) if start else [f":param {n.target.id}: {escaped(notes[n.end_lineno])}" for n in values if n.end_lineno in notes]
    lines = [escaped(ast.get_docstring(node) or ""), "", *inside, ""]
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and public(member.name): lines += described(member, notes, 3, True)
    return block("class", head, lines, 4)


def constants(tree):
    "Public names that a cell assigns at its top level."
    targets = [t for n in tree.body if isinstance(n, (ast.Assign, ast.AnnAssign)) for t in getattr(n, "targets", [getattr(n, "target", None)])]
    return [t.id for t in targets if isinstance(t, ast.Name) and public(t.id)]


def definitions(tree):
    "Public functions and classes that a cell defines."
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [n for n in tree.body if isinstance(n, kinds) and public(n.name)]


def describe(
    source: str, # An export cell, without its directives
    taken: set[str], # Anchors that the page has already; gets those made here
) -> str: # MyST Markdown; empty where the cell has nothing public
    "What a reader needs to use the names that an export cell makes."
    tree, notes, lines = ast.parse(source), comments(source), []
    for name in constants(tree): lines += block("data", name, [":no-typesetting:"], 3)
    for node in definitions(tree):
        anchor = node.name.lower()
        if anchor not in taken: lines += [f'<span id="{anchor}"></span>', ""] # Where nbdev's own links point
        taken.add(anchor)
        lines += described_class(node, notes) if isinstance(node, ast.ClassDef) else described(node, notes)
    return "\n".join(lines)


def only_imports(
    source: str, # An export cell, without its directives
) -> bool:
    "Whether a cell does nothing but import."
    return all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(source).body)
