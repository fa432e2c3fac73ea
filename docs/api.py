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
    for a in arguments(node):
        if a.arg not in ("self", "cls"): lines.setdefault(a.end_lineno, []).append(a.arg)
    whose = {line: names for line, names in lines.items() if line in notes and line != node.body[0].lineno - 1}
    known = [f":param {', '.join(names)}: {escaped(notes[line])}" for line, names in whose.items()]
    if not said: return known
    alone = [name for names in lines.values() for name in names]
    field = ":returns: " if node.returns else f":param {alone[0]}: " if len(alone) == 1 else ""
    return [*known, field + escaped(said)]


def signature(node, method=False):
    "A function's parameters and result as text."
    args = ast.unparse(node.args)
    if method: args = re.sub(r"^(self|cls)(: [\w.]+)?(, )?", "", args)
    return f"({args})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def block(kind, head, lines, colons, *options):
    "A directive with its options and content."
    fence = ":"*colons
    return [f"{fence}{{py:{kind}}} {head}", *options, "", *lines, "", fence, ""]


def marks_of(node):
    "The names of a function's decorators, and of what a decorator is called with, such as `as_prop`."
    bare = [getattr(d, "func", d) for d in node.decorator_list]
    options = {k.arg for d in node.decorator_list for k in getattr(d, "keywords", [])}
    return {getattr(d, "id", getattr(d, "attr", "")) for d in bare} | options


def described(node, notes, method=False):
    "A function or a method as a directive; `@patch` makes a method of the class that its first parameter names."
    marks, options = marks_of(node), []
    kind, head = "method" if method else "function", node.name + signature(node, method)
    if "patch" in marks and node.args.args[0].annotation is not None:
        name = f"{ast.unparse(node.args.args[0].annotation)}.{node.name}"
        kind, head = ("property", name) if "as_prop" in marks else ("method", name + signature(node, True))
    if marks & {"property", "cached_property"}: kind, head = "property", node.name
    if "classmethod" in marks: options = [":classmethod:"]
    if "staticmethod" in marks: options, head = [":staticmethod:"], node.name + signature(node)
    return block(kind, head, [escaped(ast.get_docstring(node) or ""), "", *fields(node, notes)], 3, *options)


def described_class(node, notes):
    "A class as a directive, with its fields or the parameters of `__init__`, and its public methods."
    values = [n for n in node.body if isinstance(n, ast.AnnAssign) and public(n.target.id)]
    start = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if start: inside, head = fields(start, notes), signature(start, True).split(" -> ")[0]
    else:
        inside = [f":param {n.target.id}: {escaped(notes[n.end_lineno])}" for n in values if n.end_lineno in notes]
        head = f"({', '.join(ast.unparse(n) for n in values)})" if values else ""
    lines = [escaped(ast.get_docstring(node) or ""), "", *inside, ""]
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and public(member.name): lines += described(member, notes, True)
    return block("class", node.name + head, lines, 4)


def constants(tree):
    "Public names that a cell assigns at its top level."
    assigned = [n for n in tree.body if isinstance(n, (ast.Assign, ast.AnnAssign))]
    targets = [t for n in assigned for t in (n.targets if isinstance(n, ast.Assign) else [n.target])]
    return [t.id for t in targets if isinstance(t, ast.Name) and public(t.id)]


def definitions(tree):
    "Functions and classes that a cell defines."
    return [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]


def describe(
    source: str, # An export cell, without its directives
    taken: set[str], # Anchors that the page has already; gets those made here
) -> str: # MyST Markdown; empty where the cell has nothing public
    "What a reader needs to use the names that an export cell makes."
    tree, notes, lines = ast.parse(source), comments(source), []
    for name in constants(tree): lines += block("data", name, [], 3, ":no-typesetting:")
    for node in (n for n in definitions(tree) if public(n.name)):
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
