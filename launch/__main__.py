"""``python -m launch``: which commands there are, told by the first lines of their modules."""

import ast
import re
from pathlib import Path


def main() -> None:
    """Print them; nothing is imported for it."""
    print("Each of these tells its options with --help:")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if told := re.match(rf"``(python -m launch\.{path.stem})``: (.+?)[.;](?=\s|$)", docstring):
            print(f"  {told[1]:<27}{told[2].replace('``', '')}")


if __name__ == "__main__":
    main()
