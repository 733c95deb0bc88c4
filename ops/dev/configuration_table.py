"""Prints the tables of docs/configuration.md from the dataclasses that are read, so that they cannot differ."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_CONFIG, _DRIFT = _ROOT / "ops" / "config" / "config.py", _ROOT / "stream" / "drift" / "params.py"
_SECTIONS = (
    (_CONFIG, "ServiceConfig"),
    (_CONFIG, "LogConfig"),
    (_CONFIG, "StoreConfig"),
    (_CONFIG, "ModelConfig"),
    (_DRIFT, "DriftParams"),
    (_CONFIG, "InputConfig"),
)


def tables() -> str:
    """One Markdown table per section: key, default, and the docstring under the field."""
    parts = []
    for source, name in _SECTIONS:
        node = next(n for n in ast.parse(source.read_text()).body if isinstance(n, ast.ClassDef) and n.name == name)
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
        made = re.search(r"lambda: (\[.*\])", text)
        return made[1].replace("'", '"') if made else "{}"
    if isinstance(value, ast.BinOp):  # 64 << 20 and the like
        return str(eval(text, {}))
    return {"None": "none", "True": "true", "False": "false"}.get(text, text.replace("'", '"'))


if __name__ == "__main__":
    print(tables(), end="")
