"""`make report`: notebooks, tables, ledger and READMEs as one static site that opens from disk, with links and search.

nbconvert renders everything, Markdown files as notebooks of one cell, so that a reader needs neither Jupyter nor a
network. A link to a file of the repository leads to its page, or to a copy of it inside the site.
"""

import html
import json
import posixpath
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from analysis import load
from reproduce.errors import UserError

SECTIONS = {
    "Read first": ("README.md", "figures/claims.md"),
    "Tables": tuple(f"analysis/table{n}.ipynb" for n in range(1, 7)),
    "Every row and column": tuple(f"figures/table{n}_appendix.md" for n in range(1, 7)),
    "Figures": tuple(
        f"analysis/{name}.ipynb"
        for name in (
            "figure_entropy",
            "figure_entropy_family",
            "figure_diversity",
            "figure_stability",
            "figure_epo_dynamics",
            "figure_epo_ablation",
        )
    ),
    "Claims and code": (
        "analysis/claims.ipynb",
        "analysis/fidelity.ipynb",
        "analysis/success_rules.ipynb",
        "figures/regimes.md",
    ),
    "How it is done": ("analysis/README.md", "analysis/preregistration.md", "reproduce/README.md"),
}
"""What the first page lists, in order; further Markdown files become pages where one of these links to them."""

PAGES = (".md", ".ipynb")
RUNS = "runs"  # how sources in the folder of own runs begin
LARGEST = 2_000_000  # bytes of a file that is copied because a page links to it
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 62rem; padding: 0 1rem 4rem; }
nav { display: flex; gap: 1rem; align-items: center; border-bottom: 1px solid #ccc; }
nav { padding: .6rem 0; margin-bottom: 1rem; }
nav input { font: inherit; width: 16rem; }
table { border-collapse: collapse; font-size: 14px; display: block; overflow-x: auto; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; } pre { overflow-x: auto; background: #f6f6f6; padding: .6rem; } code { font-size: 90%; }
"""
SEARCH = """
const words = (new URLSearchParams(location.search).get("q") || "").toLowerCase().split(/\\s+/).filter(Boolean);
document.querySelector("nav input").value = words.join(" ");
const list = document.getElementById("found");
const hits = PAGES.filter(p => words.length && words.every(w => (p.title + " " + p.text).toLowerCase().includes(w)));
document.getElementById("count").textContent = words.length ? hits.length + " pages" : "Type words above.";
for (const p of hits) {
  const at = Math.max(0, p.text.toLowerCase().indexOf(words[0]) - 80), line = document.createElement("li");
  const link = Object.assign(document.createElement("a"), {href: p.page, textContent: p.title});
  line.append(link, document.createElement("br"), "… " + p.text.slice(at, at + 240) + " …");
  list.append(line);
}
"""


@dataclass(frozen=True)
class Repository:
    """Where sources lie: `runs/…` below the folder of own runs, everything else below `root`."""

    root: Path
    runs_root: Path | None = None

    def path(self, source: str) -> Path:
        """The file of a source."""
        first, _, rest = source.partition("/")
        return Path(self.runs_root) / rest if first == RUNS and self.runs_root else self.root / source


@dataclass
class Page:
    """A rendered file: its place in the repository, its title, its tree of elements."""

    source: str
    title: str
    body: object

    @property
    def name(self) -> str:
        """Its file in the site."""
        return page_name(self.source)


def page_name(source: str) -> str:
    """`analysis/table2.ipynb` -> `analysis-table2.ipynb.html`."""
    return f"{source.replace('/', '-')}.html"


def build(out: Path, root: Path = load.ROOT, runs_root: Path | None = None) -> list[Path]:
    """Writes the site into `out`, which is made anew, and returns its files.

    Args:
        out: folder of the site. Only a folder that is empty or holds an earlier site is replaced.
        root: the repository.
        runs_root: folder of own runs; their notebooks and pages of trees are listed too. None: none.

    Raises:
        UserError: `out` holds something else, or a notebook is missing.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not (out / "search.js").exists():
        raise UserError(f"{out} holds something else than a report; choose an empty folder")
    listed = {name: [s for s in sources if (root / s).is_file()] for name, sources in SECTIONS.items()}
    if not any(s.endswith(".ipynb") for sources in listed.values() for s in sources):
        raise UserError(f"{root / 'analysis'} has no executed notebook: run `make tables figures`")
    if runs_root:
        found = sorted(Path(runs_root).glob("*/*/notebooks/*.ipynb"))
        listed["Your runs"] = [f"{RUNS}/{path.relative_to(runs_root).as_posix()}" for path in found]
    repository = Repository(root, runs_root)
    pages, copies = _collect([s for sources in listed.values() for s in sources], repository)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for page in pages.values():
        (out / page.name).write_text(_shell(page.title, _html(page.body), page.source), encoding="utf-8")
    for source in copies:
        target = out / "files" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository.path(source), target)
    trees = _trees(runs_root, out)
    (out / "index.html").write_text(_shell("Report", _first_page(listed, pages, trees)), encoding="utf-8")
    (out / "search.html").write_text(_shell("Search", _search_page()), encoding="utf-8")
    (out / "search.js").write_text(f"const PAGES = {_index(pages)};\n{SEARCH}", encoding="utf-8")
    return sorted(path for path in out.rglob("*") if path.is_file())


def _collect(sources: list[str], repository: Repository) -> tuple[dict[str, Page], list[str]]:
    """The pages of `sources` and of the Markdown files that they link to, and the other files that they link to."""
    pages, copies, waiting = {}, [], list(sources)
    while waiting:
        source = waiting.pop(0)
        if source in pages:
            continue
        pages[source] = page = _render(repository.path(source), source)
        for element, attribute, link, _ in list(page.body.iterlinks()):
            target, anchor = _target(link, source, repository)
            if target is None:
                continue
            if target == "":  # nowhere: shown as text
                element.tag = "span"
                element.attrib.pop(attribute)
            elif target.endswith(PAGES):
                waiting.append(target)
                element.set(attribute, page_name(target) + anchor)
            else:
                copies.append(target)
                element.set(attribute, f"files/{target}")
        if source.endswith(".ipynb"):
            copies.append(source)
    return pages, list(dict.fromkeys(copies))


def _target(link: str, source: str, repository: Repository) -> tuple[str | None, str]:
    """(file that a link of `source` leads to, its anchor); None: it is none of ours, "": no page can be made of it (a
    folder without a README, a file too large). A notebook's tables link to files of the folder `figures` beside it."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path:
        return None, ""
    here = posixpath.dirname(source)
    for base in (here, posixpath.join(here, "..", "figures")):
        path = posixpath.normpath(posixpath.join(base, unquote(parts.path)))
        if repository.path(path).is_dir():
            path = posixpath.join(path, "README.md")
        found = repository.path(path)
        if not path.startswith("..") and found.is_file() and found.stat().st_size <= LARGEST:
            return path, f"#{parts.fragment}" if parts.fragment else ""
    return "", ""


def _render(path: Path, source: str) -> Page:
    """One file as a page; headings get the ids that GitHub gives them, which links of the READMEs use."""
    import lxml.html
    import nbformat
    from nbconvert import HTMLExporter

    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        notebook = nbformat.reads(text, as_version=4)
    else:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text, id="page")])
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True)
    body = lxml.html.fragment_fromstring(exporter.from_notebook_node(notebook)[0], create_parent="main")
    for link in body.xpath(".//a[contains(@class, 'anchor-link')]"):
        link.drop_tree()
    seen: dict[str, int] = {}
    title = ""
    for heading in body.xpath(".//h1|.//h2|.//h3|.//h4"):
        words = heading.text_content().strip()
        title = title or words
        anchor = slug(words)
        count = seen.get(anchor, 0)
        seen[anchor] = count + 1
        heading.set("id", f"{anchor}-{count}" if count else anchor)
    return Page(source, _named(title or source, path), body)


def _named(title: str, path: Path) -> str:
    """The notebooks of the tables share their first heading, so they are called by their number."""
    found = re.fullmatch(r"table(\d)(_appendix)?", path.stem)
    return f"Table {found[1]}{', all rows' if found[2] else ''}" if found else title


def slug(heading: str) -> str:
    """The id that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _html(element) -> str:
    import lxml.html

    return lxml.html.tostring(element, encoding="unicode")


def _shell(title: str, body: str, source: str = "") -> str:
    """A whole page around `body`."""
    origin = f"<p><small>From <code>{html.escape(source)}</code>.</small></p>" if source else ""
    if source.endswith(".ipynb"):
        origin = f'<p><small>From <a href="files/{source}">{html.escape(source)}</a>, which holds the code.</small></p>'
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>\n'
        '<nav><a href="index.html">Contents</a><form action="search.html"><input name="q" type="search" '
        f'placeholder="search" aria-label="search"></form></nav>\n{body}\n{origin}</body></html>\n'
    )


def _first_page(listed: dict[str, list[str]], pages: dict[str, Page], trees: list[str]) -> str:
    """The contents, each page with its answer if it has one."""
    parts = ["<main><h1>AEPO and EPO on small worlds: the report</h1>"]
    for name, sources in listed.items():
        if sources:
            lines = [
                f'<li><a href="{pages[s].name}">{html.escape(pages[s].title)}</a>{_answer(pages[s])}</li>'
                for s in sources
            ]
            parts += [f"<h2>{name}</h2><ul>", *lines, "</ul>"]
    if trees:
        lines = [f'<li><a href="trees/{name}">{html.escape(name)}</a></li>' for name in trees]
        parts += ["<h2>Trees of rollouts</h2><ul>", *lines, "</ul>"]
    return "\n".join([*parts, "</main>"])


def _answer(page: Page) -> str:
    """The paragraph that begins with "Answer."."""
    for paragraph in page.body.xpath(".//p"):
        text = paragraph.text_content().strip()
        if text.startswith("Answer."):
            return f"<br>{html.escape(text.removeprefix('Answer.').strip())}"
    return ""


def _search_page() -> str:
    return '<main><h1>Search</h1><p id="count"></p><ul id="found"></ul></main><script src="search.js"></script>'


def _index(pages: dict[str, Page]) -> str:
    """The words of every page, as a JavaScript literal."""
    found = [
        {"page": page.name, "title": page.title, "text": " ".join(page.body.text_content().split())}
        for page in pages.values()
    ]
    return json.dumps(found, ensure_ascii=False).replace("</", "<\\/")


def _trees(runs_root: Path | None, out: Path) -> list[str]:
    """Copies the pages of `make trees`; their names."""
    found = sorted(Path(runs_root).glob("trees/*.html")) if runs_root else []
    for path in found:
        (out / "trees").mkdir(exist_ok=True)
        shutil.copyfile(path, out / "trees" / path.name)
    return [path.name for path in found]
