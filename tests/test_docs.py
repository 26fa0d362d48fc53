"""What code, tests and documents cite is there."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import ModelCard

ROOT = Path(__file__).parents[1]
_CITED = re.compile(r"docs/method\.md,\s+sections?\s+(\d+)(?:\s+and\s+(\d+))?")
# what begins a line of a comment or of a quotation
_MARGIN = re.compile(r"\n\s*(?:#:? |> )?\s*")


def citing() -> dict[str, str]:
    """The texts in which something may be cited, each as one line, by their paths."""
    files = [ROOT / "README.md", *(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    files += [*(ROOT / "src").rglob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return {str(f.relative_to(ROOT)): _MARGIN.sub(" ", f.read_text(encoding="utf-8")) for f in files}


def test_cited_sections_of_the_method_exist() -> None:
    method = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    there = set(re.findall(r"^## (\d+)\. ", method, re.MULTILINE))
    assert there == {str(n) for n in range(1, 10)}
    cited = {(path, n) for path, text in citing().items() for found in _CITED.findall(text) for n in found if n}
    assert len(cited) > 20
    assert {(path, n) for path, n in cited if n not in there} == set()


def test_the_method_is_cited_by_its_file() -> None:
    loose = re.compile(r"(?<!\.md,) \(?sections? \d")
    code = {path: text for path, text in citing().items() if path.endswith(".py") and path != "tests/test_docs.py"}
    assert [path for path, text in code.items() if loose.search(text)] == []


def test_cited_sections_of_the_log_exist() -> None:
    log = (ROOT / "docs/log.md").read_text(encoding="utf-8")
    titles = set(re.findall(r"^## (.*)$", log, re.MULTILINE))
    code = {path: text for path, text in citing().items() if path != "tests/test_docs.py"}
    cited = {(path, title) for path, text in code.items() for title in re.findall(r'docs/log\.md, "([^"]*)"', text)}
    assert len(cited) > 10
    assert {(path, title) for path, title in cited if title not in titles} == set()


def test_code_cites_the_log_by_section() -> None:
    code = {path: text for path, text in citing().items() if path.startswith("src/")}
    assert [path for path, text in code.items() if re.search(r'docs/log\.md(?!, ")', text)] == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, anchor = target.partition("#")
            if "://" in file:
                continue
            to = (path.parent / file).resolve() if file else path
            if to == ROOT / "docs/results.md":  # which `cooper reproduce` writes
                continue
            if not to.exists() or (anchor and anchor not in anchors(to)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_no_merge_was_left_half_done() -> None:
    marks = re.compile(r"^(<{7}|>{7}|\|{7}) ", re.MULTILINE)
    texts = [ROOT / "README.md", ROOT / "Makefile", ROOT / "pyproject.toml"]
    for folder in ("src", "tests", "docs", "examples", "benchmarks"):
        texts += [f for f in (ROOT / folder).rglob("*") if f.suffix in (".py", ".md", ".json", ".html", ".toml")]
    assert len(texts) > 300
    assert [str(f) for f in texts if marks.search(f.read_text(encoding="utf-8"))] == []


def test_the_model_card_tells_the_hub_what_it_is() -> None:
    card = ModelCard.load(ROOT / "src/cooper/assets/tiny/README.md")
    assert card.data.to_dict() == {
        "license": "apache-2.0", "library_name": "cooper-spatial", "pipeline_tag": "image-text-to-text"
    }  # fmt: skip
    assert card.text.strip().startswith("# tiny\n")


def anchors(path: Path) -> set[str]:
    """What headings of a document are linked by, as GitHub makes it of them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
