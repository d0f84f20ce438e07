"""The documentation site: `make docs` builds it into `site/`, without network, and fails at the first warning.

A line `<!-- KIND: WORDS -->` of a page stands for what `dev/pages` makes of the code: `settings: SECTION`,
`contract: MODULE NAME…`, `choices: FOLDER`, `commands:`, `support:`. A quotation that begins with "As a file" tells
those who read the page on GitHub where that is, and is left out here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))
from dev.pages import choices, commands, contracts, settings, support

project = "hiper"
author = "the hiper maintainers"
extensions = ["myst_parser"]
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = "hiper"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = html_show_sphinx = html_copy_source = False
html_permalinks_icon = "#"
highlight_language = "text"
maximum_signature_line_length = 88
add_module_names = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

MADE = {
    "settings": lambda section="": settings.markdown(section),
    "contract": lambda module, *names: contracts.markdown(module, list(names)),
    "choices": choices.markdown,
    "commands": commands.markdown,
    "support": support.markdown,
}
MARK = re.compile(r"^<!-- (\w+):(.*) -->$", flags=re.MULTILINE)
# what a page says to those who read it as a file, where the marks are not filled
AS_A_FILE = re.compile(r"^> As a file .*\n(?:> .*\n)*", flags=re.MULTILINE)
# a link that leads out of `docs`, to a file that is a page of the site as well
ENVIRONMENTS = re.compile(r"\]\((?:\.\./)+envs/README\.md")


def fill(app: Sphinx, page: str, content: list[str]) -> None:
    """Put what is made from the code where a page wants it, and take away what is only for the page as a file."""
    text = ENVIRONMENTS.sub("](/reference/environments.md", AS_A_FILE.sub("", content[0]))
    content[0] = MARK.sub(lambda match: MADE[match[1]](*match[2].split()), text)


def setup(app: Sphinx) -> None:
    app.add_object_type("setting", "setting", indextemplate="pair: %s; setting")
    app.connect("source-read", fill)
