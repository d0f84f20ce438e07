"""LaTeX tables: each fits a page, and LaTeX itself takes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import add_conditions, add_validations, make_experiment

from hiper.report.latex import to_latex
from hiper.report.study import load_studies
from hiper.report.table import Column, Table
from hiper.report.tables import write_tables

NEEDS_LATEX = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="no pdflatex: apt-get install --no-install-recommends texlive-latex-base texlive-latex-recommended",
)
PREAMBLE = "\\documentclass{article}\n\\usepackage{%s}\n\\begin{document}\n"
SYMBOLS = "≈ 92, ≥ 3, 1 ± 2, − 3, –, …, 95 %, a_b, x < y > z, $5 & #6 {~} ^ \\ [1, 2]"


def table(columns: int, rows: int, caption: str = "Caption.") -> Table:
    """Names in pairs of rows, cells of eleven characters."""
    header = ["Algorithm", *(f"Column {number}" for number in range(1, columns))]
    body = [(f"Name {row // 2}", *["100.0 ± 0.0"] * (columns - 1)) for row in range(rows)]
    return Table([Column(title, (title,)) for title in header], pd.DataFrame(body, columns=header), None, caption)


def environments(text: str) -> list[str]:
    return re.findall(r"\\begin{(table|sidewaystable)}", text)


def test_wide_tables_are_turned_and_long_ones_go_on() -> None:
    """On its side beyond a page's width; a continuation names the first part and repeats the header, no row is lost."""
    assert environments(to_latex([table(6, 4)], "x")) == ["table"]
    text = to_latex([table(16, 60)], "x")
    assert set(environments(text)) == {"sidewaystable"} and len(environments(text)) > 1
    assert text.count("Column 1 &") == len(environments(text))
    assert text.count(r"\label{tab:x}") == 1
    assert text.count(r"\caption{Table~\ref{tab:x}, continued.}") == len(environments(text)) - 1
    assert re.findall(r"^Name (\d+) &", text, re.MULTILINE) == [str(row // 2) for row in range(60)]
    for part in text.split(r"\end{sidewaystable}")[:-1]:
        assert len(re.findall(r"^Name", part, re.MULTILINE)) % 2 == 0  # rows of one name stay together


def test_the_first_line_names_the_packages() -> None:
    """rotating only where a table is turned."""
    assert to_latex([table(6, 4)], "x").splitlines()[0] == r"% needs \usepackage{booktabs,graphicx}"
    assert to_latex([table(16, 4)], "x").splitlines()[0] == r"% needs \usepackage{booktabs,graphicx,rotating}"


def compiled(text: str, folder: Path) -> tuple[str, int]:
    """(log, number of pages) of a document with the packages that the first lines ask for."""
    packages = set(",".join(re.findall(r"% needs .usepackage{(.*)}", text)).split(",")) - {""}
    document = PREAMBLE % ",".join(sorted(packages or {"booktabs"})) + text + "\nEnd.\\end{document}\n"
    (folder / "document.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = (folder / "document.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    pages = re.search(r"Output written on document.pdf \((\d+) page", log.replace("\n", ""))
    assert pages is not None
    return log, int(pages[1])


@NEEDS_LATEX
def test_the_tables_of_a_report_compile(tmp_path: Path) -> None:
    """All of them in one document, with several protocols, models and temperatures: nothing sticks out of a page."""
    experiment = make_experiment(tmp_path / "results" / "demo")
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    won = [True, False, True, True]
    add_conditions(run, {("exhaustive", "best"): won, ("sampled", "last"): won, ("sampled", "best"): won}, 0.0)
    add_validations(run, {2: 0.5, 4: 0.25})
    write_tables(load_studies(experiment), experiment / "tables")
    files = sorted((experiment / "tables").glob("*.tex"))
    assert len(files) >= 6
    text = "\\clearpage\n".join(path.read_text(encoding="utf-8") for path in files)
    log, pages = compiled(text, tmp_path)
    assert "Overfull" not in log and "Float too large" not in log
    assert pages >= 4


@NEEDS_LATEX
def test_wide_and_long_tables_fit_their_pages(tmp_path: Path) -> None:
    """Sixty rows of sixteen columns under a long caption, sixty of six, and all symbols: no box beyond a margin."""
    caption = f"{SYMBOLS} " + "A sentence that goes on for a while. " * 30
    tables = [table(16, 60, caption), table(6, 60, caption), table(30, 4), table(4, 4)]
    log, pages = compiled(to_latex(tables, "x"), tmp_path)
    assert "Overfull" not in log and "Float too large" not in log
    assert pages >= 6
