"""The page of a trace: whole, self-contained, and safe whatever text a trace holds."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cooper.modalities.base import MapView
from cooper.page import _ticks, trace_page, traces_page
from cooper.trace import Drawing, Picture, Segment, Text, Trace

VOID = {"meta", "img", "br", "hr", "link", "input"}
PICTURE = np.full((6, 8, 3), 200, np.uint8)
DEPTH = np.full((6, 8, 3), 90, np.uint8)
LABELS = np.full((6, 8, 3), 30, np.uint8)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;</style><!--"


class Page(HTMLParser):
    """Parses a page, checks that every tag is closed in order, and keeps tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.by_class: dict[str, list[str]] = {}
        self._classes: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
            self._classes.append(attributes.get("class", tag))
            self.by_class.setdefault(self._classes[-1], []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._classes.pop()

    def handle_data(self, data: str) -> None:
        for name in set(self._classes):
            self.by_class[name][-1] += data

    @property
    def images(self) -> list[np.ndarray]:
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))) for source in sources]


@pytest.fixture
def trace() -> Trace:
    return Trace(
        (
            Text("You may call for maps.", "system"),
            Picture(PICTURE),
            Text("How far is the red ball from the blue box?", "user"),
            Text("<think>I need depth.</think><depth-estimation>Draw how far.</depth-estimation>", "model"),
            Drawing("depth", DEPTH),
            Text("Check the map.", "reflection"),
            Text("<think>And outlines.</think> <segmentation>Colour all.</segmentation>", "model"),
            Drawing("segmentation", LABELS),
            Text("<think>1.4 then.</think><answer>It is \\boxed{1.4 m} away.</answer>", "model"),
        ),
        {"task": "size", "mode": "interleaved", "model": "tiny", "seed": 7, "seconds": 2.418, "long": "x" * 99},
    )


@pytest.fixture
def views() -> list[MapView]:
    return [
        MapView("Depth", DEPTH, bar=((1.5, (158, 1, 66)), (4.0, (255, 255, 191)), (6.5, (94, 79, 162))), unit="m"),
        MapView("Segmentation", LABELS, legend=(("red ball", (230, 60, 60)), ("blue box", (70, 120, 240)))),
    ]


def test_everything_is_on_the_page_in_order(trace: Trace, views: list[MapView]) -> None:
    html = trace_page(trace, title="Room", maps=views)
    page = Page(html)
    assert page.by_class["h1"] == page.by_class["title"] == ["Room"]
    assert page.by_class["system"] == ["You may call for maps."]
    assert page.by_class["question"] == ["How far is the red ball from the blue box?"]
    assert page.by_class["thought"] == ["I need depth.", "And outlines.", "1.4 then."]
    assert page.by_class["call"] == ["depth-estimationDraw how far.", "segmentationColour all."]
    assert page.by_class["reflection"] == ["Check the map."]
    assert page.by_class["figcaption"] == ["Depth", "Segmentation"]
    assert page.by_class["answer"] == ["Answer1.4 mIt is 1.4 m away."]
    assert page.by_class["legend"] == ["red ballblue box"]
    assert "stray" not in page.by_class
    for image, expected in zip(page.images, (PICTURE, DEPTH, LABELS), strict=True):
        np.testing.assert_array_equal(image, expected)
    order = [html.index(part) for part in ("red ball from", "I need depth", "Draw how far", 'alt="Depth"', "Check the",
                                           "And outlines", 'alt="Segmentation"', "1.4 then", "<strong>")]  # fmt: skip
    assert order == sorted(order)


def test_footer(trace: Trace, views: list[MapView]) -> None:
    page = Page(trace_page(trace, title="Room", maps=views))
    assert page.by_class["dt"] == ["model", "mode", "seed", "time", "task"]
    assert page.by_class["dd"] == ["tiny", "interleaved", "7", "2.4 s", "size"]
    assert "footer" not in Page(trace_page(Trace((Picture(PICTURE),)), title="", maps=[])).by_class


def test_colour_bar_and_legend(trace: Trace, views: list[MapView]) -> None:
    html = trace_page(trace, title="Room", maps=views)
    assert "linear-gradient(to top, #9e0142 0%, #ffffbf 50%, #5e4fa2 100%" in html
    for tick in ('bottom: 0%">1.5 m', 'bottom: 50%">4 m', 'bottom: 100%">6.5 m'):
        assert tick in html
    assert '<i style="background: #e63c3c"></i>red ball' in html
    plain = trace_page(trace, title="Room", maps=lambda drawing: MapView(drawing.modality, drawing.image))
    assert "linear-gradient" not in plain and Page(plain).by_class["figcaption"] == ["depth", "segmentation"]


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (1.5, 6.5, ["1.5", "3", "4", "5", "6.5"]),
        (0.0, 10.0, ["0", "2", "4", "6", "8", "10"]),
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.0, 80.0, ["0", "20", "40", "60", "80"]),
        (-1.0, 1.0, ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        (3.0, 3.0, ["3.00"]),
    ],
)
def test_ticks(low: float, high: float, shown: list[str]) -> None:
    assert [f"{value:.{decimals}f}" for value, decimals in _ticks(low, high)] == shown


@given(low=st.floats(-100, 100), span=st.floats(1e-3, 1000))
def test_ticks_never_crowd(low: float, span: float) -> None:
    places = [(value - low) / span for value, _ in _ticks(low, low + span)]
    assert len(places) <= 8 and np.diff(places).min() > 0.09


def test_photographs_are_shown_smaller() -> None:
    (shown,) = Page(trace_page(Trace((Picture(np.zeros((300, 2560, 3), np.uint8)),)), title="t", maps=[])).images
    assert shown.shape == (150, 1280, 3)


def test_a_bar_of_one_value(trace: Trace) -> None:
    view = MapView("Flat", DEPTH, bar=((2.0, (1, 2, 3)),), unit="m")
    html = trace_page(trace, title="Room", maps=[view, view])
    assert "linear-gradient(to top, #010203 0%, #010203 0%)" in html and 'bottom: 0%">2.00 m' in html


def test_the_page_loads_and_runs_nothing(trace: Trace, views: list[MapView]) -> None:
    html = trace_page(trace, title="Room", maps=views)
    tags = {tag for tag, _ in Page(html).tags}
    assert not tags & {"script", "link", "iframe", "object", "a", "form"}
    assert "url(" not in html and "http:" not in html and "https:" not in html and "@import" not in html
    assert "default-src 'none'" in html and 'name="viewport"' in html and "prefers-color-scheme: dark" in html


def test_all_text_is_escaped() -> None:
    for turn in (
        f"<think>{EVIL}</think><answer>{EVIL}\\boxed{{{EVIL}}}</answer>",
        f"<script>{EVIL}</script>",
        f"<depth-estimation>\"'>&lt;b onclick=x</depth-estimation>{EVIL}",
        EVIL,
        f"<think>{EVIL}",
    ):
        segments: list[Segment] = [
            Text(EVIL, "system"), Picture(PICTURE), Text(EVIL, "user"), Text(turn, "model"), Drawing("depth", DEPTH),
            Text(EVIL, "reflection"),
        ]  # fmt: skip
        view = MapView(EVIL, DEPTH, bar=((0, (0, 0, 0)), (1, (9, 9, 9))), unit=EVIL, legend=((EVIL, (0, 0, 0)),))
        row = (Trace(tuple(segments), {"mode": EVIL[:70], EVIL: "x"}), [view])
        for html in (trace_page(row[0], title=EVIL, maps=row[1]), traces_page([row, row], EVIL)):
            page = Page(html)
            names = {name for _, attributes in page.tags for name in attributes}
            assert names <= {"lang", "charset", "name", "content", "http-equiv", "class", "style", "alt", "width",
                             "height", "src"}  # fmt: skip
            assert not {tag for tag, _ in page.tags} & {"script", "b onclick"}
            assert len(page.images) == 2 * html.count("<article>")


@given(st.text(alphabet="<>/thinkaswer depth-{}\\boxed\n", max_size=120))
def test_any_turn_makes_a_whole_page(turn: str) -> None:
    html = trace_page(Trace((Picture(PICTURE), Text("Why?"), Text(turn, "model"))), title="t", maps=[])
    assert Page(html).by_class["question"] == ["Why?"]


@pytest.mark.parametrize(
    ("answer", "strong", "said"),
    [
        ("\\boxed{2.1} m", "2.1 m", []), ("It is \\boxed{2.1} m", "2.1 m", ["It is 2.1 m"]),
        ("\\boxed{\\text{left}}", "left", []), ("\\boxed{1} or \\boxed {2}", "2", ["1 or 2"]),
    ],
)  # fmt: skip
def test_answers_are_shown_without_marks(answer: str, strong: str, said: list[str]) -> None:
    turn = Text(f"<answer>{answer}</answer>", "model")
    html = trace_page(Trace((Picture(PICTURE), Text("Why?"), turn)), title="t", maps=[])
    assert f"<strong>{strong}</strong>" in html and "boxed" not in html
    assert re.findall('<p class="said">(.*?)</p>', html) == said


def test_malformed_turns_are_shown_as_they_stand() -> None:
    turns = (
        Text("no tags at all", "model"),
        Text("<think>Well.</think> then <depth-estimation>draw</depth", "model"),
        Text("<think>No end", "model"),
        Text("<answer>no</answer> and <answer>\\boxed{yes}</answer>", "model"),
    )
    page = Page(trace_page(Trace((Picture(PICTURE), Text("?"), *turns)), title="t", maps=[]))
    assert page.by_class["stray"] == ["no tags at all", "then <depth-estimation>draw</depth", "and"]
    assert page.by_class["thought"] == ["Well.", "No end"]
    assert page.by_class["answer"] == ["Answerno", "Answeryes"]


def test_training_targets_say_what_they_are() -> None:
    target = Drawing("depth", DEPTH, target=True, shown=False)
    page = Page(trace_page(Trace((Picture(PICTURE), Text("Draw."), target)), title="t", maps=[MapView("Depth", DEPTH)]))
    assert page.by_class["figcaption"] == ["Depthto be drawn; not looked at"]


def test_views_must_match(trace: Trace, views: list[MapView]) -> None:
    with pytest.raises(ValueError, match="2 drawings needs as many views, not 1"):
        trace_page(trace, title="Room", maps=views[:1])


def test_many_traces(trace: Trace, views: list[MapView]) -> None:
    short = Trace((Picture(PICTURE), Text("Is it red?"), Text("<answer>\\boxed{yes}</answer>", "model")))
    page = Page(traces_page([(trace, views), (short, []), (trace, lambda d: MapView(d.modality, d.image))], "Rollouts"))
    assert page.by_class["count"] == ["3 traces"]
    assert page.by_class["number"] == ["1", "2", "3"]
    assert page.by_class["strong"] == ["1.4 m", "yes", "1.4 m"]
    assert len(page.images) == 3 + 1 + 3
    assert Page(traces_page([], "None")).by_class["count"] == ["0 traces"]
