"""The site: `sphinx-build -W -n --keep-going -b html docs build/docs`; `-b linkcheck` asks whether external links answer.

The pages are Markdown that reads well on a code host, too. So what only the site needs is here and not in them: the
navigation, and where links to files outside docs/ lead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mcp_login

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "mcp-login"
author = "The mcp-login maintainers"
project_copyright = "The mcp-login maintainers, MIT licence"
version = release = mcp_login.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_static"]

# Pages.
html_theme = "furo"
html_title = f"mcp-login {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# Furo's own pygments styles have too little contrast for comments.
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

# Markdown. Anchors are those that code hosts make.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block"]
# What is shown after a command is no command.
copybutton_selector = (
    "div.highlight-python pre, div.highlight-sh pre, div.highlight-json pre, div.highlight-dockerfile pre"
)

# Docstrings are plain text with code in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True, "undoc-members": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

# External links are asked by maintainers, never by the tests: `sphinx-build -b linkcheck docs build/linkcheck`.
linkcheck_timeout = 20
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost|\[::1\])", r"https://[\w.-]*example\.com"]

#: Names of other projects in signatures: their inventories would have to be fetched from the network.
_OTHER_PROJECTS = (
    "collections|contextlib|enum|httpx2?|keyring|os|pathlib|re|starlette|threading|types|typing|typing_extensions"
)
#: The same, as they are imported in the source.
_IMPORTED = (
    "AbstractAsyncContextManager|Any|AsyncGenerator|AsyncIterator|Callable|EllipsisType|Event|Exception|Generator|Iterable"
    "|Iterator|KeyringBackend|Literal|Mapping|MutableMapping|Path|Protocol|Self|Sequence|TypedDict|Unpack|UserWarning"
)
#: Types of annotations that are not public, and public ones that another module names without its package.
_OWN = (
    "Answer|Application|AuthMethod|Endpoint|Grant|Mechanism|MetadataLocation|OpenStorage|Overrides|Scopes|ServerResource|ServerUrl"
    r"|Settings|Storage|_\w+"
)
nitpick_ignore_regex = [
    ("py:.*", rf"({_OTHER_PROJECTS})\..*"),
    ("py:.*", rf"({_IMPORTED})"),
    ("py:.*", rf"(mcp_login\.(testing\.(configuration|faults)\.)?)?({_OWN})"),
]

#: The left-hand menu, in order: a caption and its pages.
NAVIGATION: dict[str, tuple[str, ...]] = {
    "Begin": ("start", "how-a-login-works", "what-happens-when"),
    "Use": ("agents", "clients", "command-line", "headless", "storage", "configuration", "errors", "testing", "moving"),
    "Reference": ("reference/python", "reference/command-line", "specification", "servers"),
    "Project": (
        "changelog",
        "security",
        "contributing",
        "design",
        "Field notes <field-notes>",
        "benchmarks",
        "hostile-answers",
    ),
}

#: Pages that are files of the repository's root.
ROOT_PAGES = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md", "security": "SECURITY.md"}

_LINK = re.compile(r"(?<=\]\()(?P<path>[\w./-]+\.md)(?=[)#])")


def _page_of(path: str, *, at: Path) -> str:
    """Where a link to the file `path`, written in a file of the folder `at`, leads on the site: relative to docs/."""
    target = (at / path).resolve()
    for page, name in ROOT_PAGES.items():
        if target == ROOT / name:
            return f"/{page}.md"
    if target == ROOT / "README.md":
        return "/index.md"
    if target.is_relative_to(ROOT / "docs"):
        return f"/{target.relative_to(ROOT / 'docs').as_posix()}"
    return path


def _menu() -> str:
    """The navigation as hidden tables of contents."""
    return "".join(
        "\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(pages) + "\n```\n"
        for caption, pages in NAVIGATION.items()
    )


def _complete(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn a page as a code host shows it into one of the site."""
    at = Path(app.srcdir, name).parent
    text = source[0]
    if name in ROOT_PAGES:
        original = ROOT / ROOT_PAGES[name]
        app.env.note_dependency(str(original), docname=name)
        text, at = original.read_text(encoding="utf-8"), ROOT
    text = _LINK.sub(lambda match: _page_of(match["path"], at=at), text)
    source[0] = text + _menu() if name == "index" else text


def _sections(*arguments: Any) -> None:
    """Turn the section "Arguments:" of a docstring into a list of fields. This code's docstrings have no other section."""
    lines: list[str] = arguments[-1]
    if "Arguments:" not in lines:
        return
    start = lines.index("Arguments:")
    after = (at for at in range(start + 1, len(lines)) if lines[at].strip() and not lines[at].startswith(" "))
    end = next(after, len(lines))
    fields = [re.sub(r"^    (\w+): ", r":param \1: ", line) for line in lines[start + 1 : end]]
    lines[start:end] = ["", *fields, ""]


def _shown_signature(*arguments: Any) -> tuple[str, str | None] | None:
    """`**options: Unpack[LoginOptions]` is for type checkers; people are told that these are the keywords of `OAuth`."""
    name, (signature, returns) = arguments[2], arguments[-2:]
    if signature is None:
        return None
    if name.endswith("Storage") and signature == "(*args, **kwargs)":  # a protocol: nobody calls it
        return "", returns
    if name == "mcp_login.testing.Configuration":  # seventy fields, which are listed below it
        return "(**fields)", returns
    return re.sub(r"\*\*options: [^,)]*Unpack\[[^\]]*\]", "**keywords", signature), returns


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", _complete)
    app.connect("autodoc-process-docstring", _sections)
    app.connect("autodoc-process-signature", _shown_signature)
