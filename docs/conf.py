"""The documentation site: `make docs` builds it into `site/`, without network, and fails at the first warning.

A line `<!-- KIND: WORDS -->` of a page stands for what `dev/pages` makes of the code: `settings: SECTION`,
`contract: MODULE NAME…`, `choices: FOLDER`, `commands:`, `support:`.
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


def fill(app: Sphinx, page: str, content: list[str]) -> None:
    """Put what is made from the code where a page wants it."""
    content[0] = MARK.sub(lambda match: MADE[match[1]](*match[2].split()), content[0])


def setup(app: Sphinx) -> None:
    app.add_object_type("setting", "setting", indextemplate="pair: %s; setting")
    app.connect("source-read", fill)
