"""Where in a TOML file a key stands. The standard library's parser does not tell."""

from __future__ import annotations

import re


class Lines:
    """The lines of a TOML file."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def find(self, table: str, key: str | None = None) -> int | None:
        """The line, from 1, of the key, else of the table's header, else of what holds the table; None for none of these."""
        header: int | None = None
        inside = False
        for number, line in enumerate(self._lines, start=1):
            found = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
            if found:
                inside = found.group(1).replace('"', "").replace(" ", "") == table
                header = number if inside and header is None else header
                if key and found.group(1).replace('"', "") == f"{table}.{key}":
                    return number
            elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*(=|\.)", line):
                return number
        if header is None and "." in table:  # an inline table: the line of the key that holds it
            return self.find(*table.rsplit(".", 1))
        return header
