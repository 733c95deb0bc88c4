"""Prints the tables of docs/configuration.md from the dataclasses of ops/config.py, so that they cannot differ."""

from __future__ import annotations

import ast
from pathlib import Path

_SECTIONS = ("ServiceConfig", "LogConfig", "StoreConfig", "ModelConfig", "InputConfig")


def tables(source: Path = Path(__file__).parents[1] / "config.py") -> str:
    """One Markdown table per section: key, default, and the docstring under the field."""
    parsed = ast.parse(source.read_text())
    classes = {node.name: node for node in parsed.body if isinstance(node, ast.ClassDef)}
    parts = []
    for name in _SECTIONS:
        node = classes[name]
        title = (ast.get_docstring(node) or "").rstrip(".")
        rows = [f"| `{key}` | {default} | {text} |" for key, default, text in _fields(node)]
        parts.append("\n".join([f"## {title}", "", "| key | default | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _fields(node: ast.ClassDef) -> list[tuple[str, str, str]]:
    found = []
    for field, following in zip(node.body, node.body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = following.value if isinstance(following, ast.Expr) else None
            text = said.value if isinstance(said, ast.Constant) else ""
            default = "required" if field.value is None else f"`{_default(field.value)}`"
            found.append((field.target.id, default, " ".join(str(text).split())))
    return found


def _default(value: ast.expr) -> str:
    text = ast.unparse(value)
    if "default_factory" in text:
        return "{}"
    if isinstance(value, ast.BinOp):  # 64 << 20 and the like
        return str(eval(text, {}))
    return {"None": "none", "True": "true", "False": "false"}.get(text, text.replace("'", '"'))


if __name__ == "__main__":
    print(tables(), end="")
