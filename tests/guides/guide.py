"""A guide of docs/ as its reader takes it: in order, files to write, commands to paste, and what they print.

What a block is, its fence and the lines before it say:

- A line that is nothing but a name in backticks and a colon: the block after it is that file.
- ```sh: commands. They are pasted in the terminal that was used last, or in a new one, where the words before
  them speak of a terminal. One that serves goes on until the words before another block say Ctrl-C.
- ```text after those: what they print. `…` stands for anything.
- ```toml: a piece of a settings file, unless it has a name.
- ```console: commands that are not run: they need Clerk itself, a registry or a cluster.
"""

import dataclasses
import re

from harness import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"^`([\w./-]+)`:\s*\Z", re.MULTILINE)
SERVES = re.compile(r'^(?:\w+=\S+ )*(?:(?:countersign|"\$NEW") (?:serve|demo)|foreman start|python3 backend\.py)\b.*$')
ENDS_WITH = re.compile(r"# ends with (\d+)$", re.MULTILINE)


@dataclasses.dataclass
class Block:
    kind: str
    text: str
    before: str  # the words between the block above it and this one

    @property
    def name(self):
        found = NAMED.search(self.before)
        return found and found[1]

    @property
    def serves(self):
        """Whether its last command runs until it is told to end."""
        return bool(SERVES.match(self.text.rstrip("\n").splitlines()[-1]))

    @property
    def statuses(self):
        """How those of its commands end that do not end with 0, as their remarks have it."""
        return [int(status) for status in ENDS_WITH.findall(self.text)]

    def says(self, word):
        return re.search(rf"\b{word}\b", self.before) is not None


def guides():
    return sorted(DOCS.rglob("*.md"))


def blocks(path, chapter=None):
    """The blocks of a guide, or of one chapter of it."""
    text, last, found = chapter_of(path, chapter) if chapter else path.read_text(), 0, []
    for match in BLOCK.finditer(text):
        found.append(Block(match[1], match[2], text[last : match.start()]))
        last = match.end()
    return found


def chapter_of(path, chapter):
    [text] = re.findall(rf"^## {chapter}\n(.*?)(?=^## |\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
    return text


def prose(path):
    """The guide less its blocks."""
    return BLOCK.sub("", path.read_text())


def cells(row):
    """The cells of a table's row; a bar within one is written `\\|`."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def table(text, heading):
    """The rows of all tables whose first column has this heading."""
    rows, inside = [], False
    for line in text.splitlines():
        if line.startswith(f"| {heading} |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            rows.append(cells(line))
    return rows


def looks_like(shown, seen):
    """Whether this is what the guide shows: to the letter, but for `…` and how many blanks there are."""
    lines = lambda text: "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
    pattern = ".*?".join(re.escape(part) for part in lines(shown).split("…"))
    return re.fullmatch(pattern, lines(seen), re.DOTALL) is not None
