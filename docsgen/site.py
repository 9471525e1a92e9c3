"""`python -m docsgen.site FOLDER`: check every link of the site that Sphinx built.

Sphinx checks the links it resolves itself; this also sees raw HTML, images, styles and the anchors
of every page as a browser does. External links are not followed.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Links(HTMLParser):
    """The links of a page and the anchors that others can link to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag links to and its id."""
        for name, value in attrs:
            if name in {"href", "src", "srcset"} and value and tag != "base":
                self.links.append(value)
            elif name in {"id", "name"} and value:
                self.anchors.add(value)


def broken(folder: Path) -> list[str]:
    """Return each link of the site below `folder` that leads nowhere, with its page."""
    pages = {path: _read(path) for path in sorted(folder.rglob("*.html"))}
    return [
        f"{path.relative_to(folder)}: {link}"
        for path, found in pages.items()
        for link in found.links
        if not _resolves(path, link, pages)
    ]


def _read(path: Path) -> _Links:
    found = _Links()
    found.feed(path.read_text("utf-8"))
    return found


def _resolves(path: Path, link: str, pages: dict[Path, _Links]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return parts.scheme in {"", "http", "https", "data"}
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
    if not target.is_file():
        return False
    return (
        not parts.fragment
        or target not in pages
        or unquote(parts.fragment) in (pages[target].anchors | {"", "top"})
    )


def main() -> None:
    """Check the site in the folder that the command line names; end with 1 if a link is broken."""
    folder = Path(sys.argv[1]).resolve()
    found = broken(folder)
    for line in found:
        print(f"broken link: {line}")  # noqa: T201 - a tool for the command line
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
