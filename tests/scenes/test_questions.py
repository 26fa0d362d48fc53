"""Questions, worked traces and captions, checked against answers worked out again from geometry and pixels."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from cooper.policy import MODES
from cooper.scenes.captions import caption, grounded, listed, told
from cooper.scenes.question import SPATIAL, TASKS, Question
from cooper.scenes.questions import ask_all, matches, mentioned
from cooper.scenes.render import View
from cooper.scenes.seen import GRID, look
from cooper.scenes.worked import MAX_TOKENS, count_tokens, worked_turns
from cooper.scenes.world import COLORS, SHAPES, Camera, Scene, Thing, sample_scene
from cooper.turns import answer_of, calls_of

N = 100
Asked = list[tuple[Scene, View, list[Question]]]


@pytest.fixture(scope="module")
def views() -> list[tuple[Scene, View]]:
    pytest.importorskip("mujoco")
    from cooper.scenes.render import Renderer

    with Renderer(128) as renderer:
        return [(scene, renderer.render(scene)) for scene in map(sample_scene, range(N))]


@pytest.fixture(scope="module")
def asked(views: list[tuple[Scene, View]]) -> Asked:
    return [(scene, view, ask_all(scene, view, np.random.default_rng(scene.seed))) for scene, view in views]


def of(asked: Asked, task: str) -> list[tuple[Scene, View, Question]]:
    return [(scene, view, q) for scene, view, questions in asked for q in questions if q.task == task]


def named(scene: Scene, text: str) -> list[Thing]:
    """The things a text names, in order, found by its words alone. Fails if a name fits more than one thing."""
    found = []
    for match in re.finditer(rf"the (?:({'|'.join(COLORS)}) )?({'|'.join(SHAPES)}|object)\b", text.lower()):
        fit = [t for t in scene.things if match[1] in (None, t.color) and match[2] in ("object", t.shape)]
        assert len(fit) == 1, f"{text!r} could mean {[t.name for t in fit]}"
        found += fit
    return found


def depth_of(view: View, thing: Thing) -> float:
    return float(np.median(view.depth[view.labels == thing.id]))


def column_of(view: View, thing: Thing) -> float:
    return float(np.nonzero(view.labels == thing.id)[1].mean())


def test_names_are_unique_and_visible(asked: Asked) -> None:
    for scene, view, questions in asked:
        for q in questions:
            if q.task in ("counting", "existence"):
                continue
            things = named(scene, q.text)
            if q.text.startswith("On which side of"):
                things.reverse()
            assert tuple(t.id for t in things) == q.things, q
            for thing in things:
                assert view.visible[thing.id] >= (0.4 if q.task == "occlusion" else 0.6)
                assert (view.labels == thing.id).sum() >= 40


def test_metres(asked: Asked) -> None:
    for task in ("distance_to_camera", "distance_between", "height", "size"):
        for scene, view, q in of(asked, task):
            a, *rest = (scene.thing(i) for i in q.things)
            if task == "distance_to_camera":
                truth = depth_of(view, a)
            elif task == "distance_between":
                gap = scene.camera.to_camera(a.position) - scene.camera.to_camera(rest[0].position)
                truth = float((gap**2).sum() ** 0.5)
            elif task == "height":
                truth = 2 * a.position[2] if a.on is None else 2 * (a.position[2] - scene.thing(a.on).size[2])
            else:
                angles = np.linspace(0, 2 * np.pi, 3600)
                rim = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array(a.size[:2]) / 2
                if a.shape == "box":
                    rim = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)]) * np.array(a.size[:2]) / 2
                x = rim[:, 0] * np.cos(a.yaw) - rim[:, 1] * np.sin(a.yaw)
                y = rim[:, 0] * np.sin(a.yaw) + rim[:, 1] * np.cos(a.yaw)
                away = np.array(a.position[:2]) / np.hypot(*a.position[:2])
                sideways = x * away[1] - y * away[0]
                truth = float(sideways.max() - sideways.min())
            assert q.kind == "metres"
            assert q.value == pytest.approx(truth, abs=2e-4), q
            assert q.answer == f"{q.value:.1f} m"


def test_comparisons(asked: Asked) -> None:
    for scene, view, q in of(asked, "closer"):
        depth = {scene.thing(i).name: depth_of(view, scene.thing(i)) for i in q.things}
        assert q.answer == f"the {min(depth, key=depth.__getitem__)}"
        assert np.ptp(list(depth.values())) > 0.25
    for scene, _, q in of(asked, "taller"):
        tall = {scene.thing(i).name: scene.thing(i).size[2] for i in q.things}
        low, high = sorted(tall.values())
        assert q.answer == f"the {max(tall, key=tall.__getitem__)}"
        assert high > 1.1 * low and high - low > 0.05


def test_relative_position(asked: Asked) -> None:
    for scene, view, q in of(asked, "relative_position"):
        a, b = (scene.thing(i) for i in q.things)
        if "depth" in q.maps:
            assert abs(depth_of(view, a) - depth_of(view, b)) > 0.3
            truth, other = "in front", "behind"
            if depth_of(view, a) > depth_of(view, b):
                truth, other = other, truth
        else:
            assert abs(column_of(view, a) - column_of(view, b)) > 6
            truth, other = "left", "right"
            if column_of(view, a) > column_of(view, b):
                truth, other = other, truth
            across = [scene.camera.to_camera(t.position)[0] for t in (a, b)]
            assert (truth == "left") == (across[0] < across[1]), "in the room as in the picture"
        if q.answer in ("yes", "no"):
            assert (truth in q.text) != (other in q.text)
            assert q.answer == ("yes" if truth in q.text else "no"), q
        else:
            assert q.answer == truth


def test_counting(asked: Asked) -> None:
    for scene, view, q in of(asked, "counting"):
        words = q.text.lower()
        color = next((c for c in COLORS if c in words), None)
        shape = next((s for s in SHAPES if s in words), None)
        fit = [t for t in scene.things if color in (None, t.color) and shape in (None, t.shape)]
        seen = [t for t in fit if (view.labels == t.id).any()]
        assert q.answer == str(len(seen)) and q.value == len(seen) and q.things == tuple(t.id for t in seen)
        assert all(view.visible[t.id] >= 0.4 and (view.labels == t.id).sum() >= 40 for t in seen), "unclear: not asked"


def test_occlusion(asked: Asked) -> None:
    for _, view, q in of(asked, "occlusion"):
        (thing,) = q.things
        mask = view.labels == thing
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert not edge.any(), "cut by the border, which also lowers the visible share"
        assert view.visible[thing] < 0.85 if q.answer == "yes" else view.visible[thing] > 0.97


def test_general(asked: Asked) -> None:
    for scene, _, q in of(asked, "existence"):
        match = re.search(r"\ban? ([a-z]+ [a-z]+)", q.text)
        assert match and q.answer == ("yes" if match[1] in {t.name for t in scene.things} else "no")
    tempting = []
    for scene, _, q in of(asked, "existence"):
        if q.answer == "no":
            color, shape = re.findall(r"\ban? ([a-z]+) ([a-z]+)", q.text)[0]
            tempting.append(color in {t.color for t in scene.things} and shape in {t.shape for t in scene.things})
    assert np.mean(tempting) > 0.6, "what is not there is mostly of a colour and a shape that are"
    for scene, _, q in of(asked, "color"):
        assert [t.color for t in named(scene, q.text)] == [q.answer]
    for scene, _, q in of(asked, "shape"):
        assert [t.shape for t in named(scene, q.text)] == [q.answer]


def test_every_task_is_asked_often_and_in_many_ways(asked: Asked) -> None:
    for task in TASKS:
        questions = [q for _, _, q in of(asked, task)]
        assert len(questions) > N * (0.2 if task == "occlusion" else 0.9), task
        frames = {re.sub(rf"\b({'|'.join((*COLORS, *SHAPES, 'object'))})(e?s)?\b", "", q.text) for q in questions}
        assert len(frames) >= 4, task
        assert (task in SPATIAL and task != "relative_position") == all(q.maps for q in questions)


def test_answers_are_balanced(asked: Asked) -> None:
    def near_half(part: int, whole: int) -> None:
        assert abs(part - whole / 2) <= 4 * (whole / 4) ** 0.5, f"{part} of {whole}"

    for task in ("existence", "occlusion", "relative_position"):
        answers = Counter(q.answer for _, _, q in of(asked, task))
        for one, two in (("yes", "no"), ("left", "right"), ("in front", "behind")):
            near_half(answers[one], answers[one] + answers[two])
    for task in ("closer", "taller"):
        first = [q.answer == f"the {scene.thing(q.things[0]).name}" for scene, _, q in of(asked, task)]
        near_half(sum(first), len(first))
    counts = Counter(q.answer for _, _, q in of(asked, "counting"))
    assert set("01234567") == set(counts) and max(counts.values()) < 0.4 * counts.total()


def test_asking_is_a_pure_function(views: list[tuple[Scene, View]]) -> None:
    for scene, view in views[:5]:
        copy = View(view.rgb.copy(), view.depth.copy(), view.labels.copy(), dict(view.visible))
        first = ask_all(scene, view, np.random.default_rng(3))
        assert first == ask_all(sample_scene(scene.seed), copy, np.random.default_rng(3))


def test_turns_are_short_well_formed_and_give_the_answer(asked: Asked) -> None:
    for scene, view, questions in asked:
        for q in questions:
            for mode in MODES:
                turns = worked_turns(scene, view, q, mode)
                assert all(count_tokens(t.text) < MAX_TOKENS for t in turns), turns
                *before, last = turns
                assert last.draws is None and answer_of(last.text) == q.answer
                assert all(t.draws and len(calls_of(t.text)) == 1 and answer_of(t.text) is None for t in before)
                drawn = tuple(t.draws for t in before)
                maps = {"interleaved": q.maps, "perception": ("depth", "segmentation")}.get(mode, ())
                assert drawn == maps
                assert all("<think>" in t.text for t in before)
                assert ("<think>" in last.text) == (mode in ("text", "interleaved"))


def test_an_unknown_mode_is_refused(asked: Asked) -> None:
    scene, view, questions = asked[0]
    with pytest.raises(ValueError, match="direct, text, perception, interleaved"):
        worked_turns(scene, view, questions[0], "guess")  # type: ignore[arg-type]


def test_quoted_readings_are_true(asked: Asked) -> None:
    name = rf"((?:{'|'.join(COLORS)}) (?:{'|'.join(SHAPES)}))"
    seen: Counter[str] = Counter()
    for scene, view, questions in asked:
        things = {t.name: t for t in scene.things}
        for q in questions:
            text = " ".join(
                t.text for t in worked_turns(scene, view, q, "interleaved")
            ).lower()
            for who, value in re.findall(
                rf"{name}(?: at column \d+, row \d+)?(?: is| reads)? (\d\.\d)(?: m\b| away)", text
            ):
                assert float(value) == pytest.approx(depth_of(view, things[who]), abs=0.0501), text
                seen["depth"] += 1
            for who, value in re.findall(rf"{name} \d\.\d away and (\d\.\d) tall", text):
                assert float(value) == pytest.approx(things[who].size[2], abs=0.0501), text
                seen["height"] += 1
            for who, column, row in re.findall(rf"{name} (?:is )?at column (\d+)(?:, row (\d+))?", text):
                rows, columns = np.nonzero(view.labels == things[who].id)
                assert abs(columns.mean() + 0.5 - (int(column) + 0.5) * 8) < 4.01, text
                assert not row or abs(rows.mean() + 0.5 - (int(row) + 0.5) * 8) < 4.01, text
                seen["cell"] += 1
            for who, x, y in re.findall(rf"{name} at (\d\.\d), (\d\.\d)", text):
                # Rounded up or down, whichever makes the sum come out.
                assert float(x) == pytest.approx(4 + things[who].position[0], abs=0.1)
                assert float(y) == pytest.approx(things[who].position[1], abs=0.1)
                seen["place"] += 1
    assert min(seen[k] for k in ("depth", "height", "cell", "place")) > 100


def test_arithmetic_adds_up(asked: Asked) -> None:
    judged = 0
    for scene, view, q in of(asked, "distance_between"):
        text = worked_turns(scene, view, q, "interleaved")[-1].text
        (ax, ay), (bx, by) = re.findall(r"at (\d\.\d), (\d\.\d)", text)
        across, deep, *up = (float(n) for n in re.findall(r"(\d\.\d) (?:across|deep|up)", text))
        assert across == pytest.approx(abs(float(ax) - float(bx))) and deep == pytest.approx(abs(float(ay) - float(by)))
        assert f"{np.sqrt(across**2 + deep**2 + sum(u * u for u in up)):.1f} m" == q.answer, text
    for scene, view, questions in asked:
        for q in questions:
            text = worked_turns(scene, view, q, "interleaved")[-1].text
            for side, would, b, a, is_, so in re.findall(
                r"(On the left|On the right|In front|Behind) is (less|more) than ([\d.]*\d)\. "
                r"([\d.]+) is (less|more), so (\w+)", text,
            ):
                assert (would == "less") == (side in ("On the left", "In front"))
                assert (float(a) < float(b)) == (is_ == "less") and a != b, text
                assert so == q.answer == ("yes" if would == is_ else "no")
                assert side.split()[-1].lower() in q.text, "the side that was asked about"
                judged += 1
            for a, word, b in re.findall(r"([\d.]+) is (less|more) than ([\d.]*\d)", text):
                assert (float(a) < float(b)) == (word == "less") and a != b, text
    assert judged > 10


def test_comparisons_name_the_right_one(asked: Asked) -> None:
    """The first of a question is compared with the second, and the one that it is said to be is the answer."""
    for task in ("closer", "taller"):
        for scene, view, q in of(asked, task):
            text = worked_turns(scene, view, q, "interleaved")[-1].text
            a, word, b, number, name = re.findall(
                rf"([\d.]+) is (less|more) than ([\d.]+), so the (first|second), (the \w+ \w+), is {task}", text
            )[0]
            assert name == q.answer == f"the {scene.thing(q.things[number == 'second']).name}"
            assert (float(a) < float(b)) == (word == "less")
            assert (number == "first") == ((word == "less") == (task == "closer"))


def test_counting_goes_from_left_to_right(asked: Asked) -> None:
    for scene, view, q in of(asked, "counting"):
        text = worked_turns(scene, view, q, "interleaved")[-1].text
        listed = re.findall(r"(\d) (\w+ \w+) (\d+),", text)
        assert [int(i) for i, *_ in listed] == list(range(1, int(q.answer) + 1)) and f"so {q.answer}." in text
        columns = [int(column) for *_, column in listed]
        assert columns == sorted(columns) and {name for _, name, _ in listed} == {scene.thing(i).name for i in q.things}
        for _, name, column in listed:
            at = column_of(view, next(t for t in scene.things if t.name == name))
            assert int(column) == min(GRID - 1, int((at + 0.5) * GRID / view.labels.shape[1]))


def test_what_is_said_to_cover_is_in_front(asked: Asked) -> None:
    told = 0
    for scene, view, q in of(asked, "occlusion"):
        text = worked_turns(scene, view, q, "interleaved")[-1].text
        others = {t for t in scene.things if t.name in text and t.id not in q.things}
        assert len(others) == (q.answer == "yes"), text
        for other in others:
            assert depth_of(view, other) < depth_of(view, scene.thing(q.things[0])) and other.on != q.things[0]
            told += 1
    assert told > 5


def test_the_vocabulary_is_small(asked: Asked) -> None:
    words: set[str] = set()
    for scene, view, questions in asked:
        rng = np.random.default_rng(scene.seed)
        texts = [q.text for q in questions] + [caption(scene, view, rng)]
        texts += [text for pair in grounded(scene, view, rng) for text in pair]
        texts += [text for one in listed(scene, view, rng) for text in (one.question, one.answer)]
        texts += [t.text for q in questions for mode in MODES for t in worked_turns(scene, view, q, mode)]
        words |= {w.lower() for text in texts for w in re.findall(r"[^\W\d]+", text)}
    assert len(words) < 300


def test_captions(views: list[tuple[Scene, View]]) -> None:
    for scene, view in views:
        things = {t.name: t for t in scene.things}
        for seed in range(6):
            text = caption(scene, view, np.random.default_rng(seed))
            assert count_tokens(text) < MAX_TOKENS
            order, body = text.split(": ", 1)
            told = [next(t for name, t in things.items() if part.startswith(name)) for part in body.split("; ")]
            assert len(told) >= 2
            keys = [(column_of if order == "left to right" else depth_of)(view, t) for t in told]
            assert keys == sorted(keys)
            for thing, part in zip(told, body.split("; "), strict=True):
                if away := re.search(r"(\d\.\d) m away", part):
                    assert float(away[1]) == pytest.approx(depth_of(view, thing), abs=0.0501)


def test_a_picture_told_in_words(views: list[tuple[Scene, View]]) -> None:
    """What is told of a thing is where its pixels are and what it is."""
    for scene, view in views:
        things = {t.name: t for t in scene.things}
        parts = told(scene, view, np.random.default_rng(scene.seed)).split(": ", 1)[1].removesuffix(".").split("; ")
        for part in parts:
            thing = next(t for name, t in things.items() if part.startswith(name))
            place = re.search(r"column (\d+), row (\d+), (\d+\.\d) m away, .* fills (\d+) by (\d+) percent", part)
            assert place
            rows, columns = np.nonzero(view.labels == thing.id)
            assert columns.min() - 8 <= 8 * int(place[1]) <= columns.max() + 8
            assert rows.min() - 8 <= 8 * int(place[2]) <= rows.max() + 8
            assert float(place[3]) == pytest.approx(depth_of(view, thing), abs=0.0501)
        assert len({part.split(" at ")[0] for part in parts}) == len(parts) >= 2


def test_grounded_questions(views: list[tuple[Scene, View]]) -> None:
    kinds: Counter[str] = Counter()
    for scene, view in views:
        things = {t.name: t.id for t in scene.things}
        for question, answer in grounded(scene, view, np.random.default_rng(scene.seed)):
            place = re.search(r"column (\d+), row (\d+)", question + answer)
            assert place
            column, row = int(place[1]), int(place[2])
            assert column < GRID and row < GRID
            block = np.s_[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            if answer.endswith(" m"):
                assert float(answer[:-2]) == pytest.approx(np.median(view.depth[block]), abs=0.0501)
                kinds["depth"] += 1
            elif "column" in answer:
                name = next(n for n in things if n in question)
                rows, columns = np.nonzero(view.labels == things[name])
                assert (int((columns.mean() + 0.5) / 8), int((rows.mean() + 0.5) / 8)) == (column, row)
                kinds["where"] += 1
            else:
                assert (view.labels[block] == things.get(answer, 0)).mean() > 0.8
                kinds[answer if answer == "nothing" else "what"] += 1
    assert min(kinds[k] for k in ("depth", "where", "what", "nothing")) > 20


def across_sight(thing: Thing) -> float:
    """Extent at right angles to the line of sight, from the corners of what is not round."""
    x, y = np.array(thing.position[:2]) / np.hypot(*thing.position[:2])
    return float(np.ptp(thing.corners[:, :2] @ [y, -x])) if thing.shape == "box" else thing.size[0]


def test_lists_tell_of_the_named_thing(views: list[tuple[Scene, View]]) -> None:
    kinds: Counter[str] = Counter()
    orders = set()
    for scene, view in views:
        for one in listed(scene, view, np.random.default_rng(scene.seed)):
            if one.question.startswith("List"):
                continue
            kinds[one.question] += 1
            parts = one.answer.removesuffix(".").split("; ")
            mentions = [re.match(r"((?:[a-z]+ )?(?:[a-z]+))(?= is| \d)", part) for part in parts]
            things = [named(scene, f"the {m[1]}")[0] for m in mentions if m]
            assert len({t.id for t in things}) == len(parts)
            orders.add(tuple(np.argsort([column_of(view, t) for t in things])))
            for thing, part in zip(things, parts, strict=True):
                rows, columns = np.nonzero(view.labels == thing.id)
                numbers = [float(n) for n in re.findall(r"\d+(?:\.\d)?", part)]
                expected: dict[str, tuple[list[float], float]] = {
                    "Where is": ([(columns.mean() + 0.5) // 8, (rows.mean() + 0.5) // 8], 0),
                    "How far is": ([depth_of(view, thing)], 0.0501),
                    "How tall": ([thing.size[2]], 0.0501),
                    "How wide": ([across_sight(thing)], 0.0501),
                    "Where on": ([4 + thing.position[0], thing.position[1]], 0.0501),
                    "What percent": ([np.ptp(rows) / 1.28 + 0.78, np.ptp(columns) / 1.28 + 0.78], 0.501),
                    "Which color": ([], 0),
                }
                values, error = next(v for k, v in expected.items() if one.question.startswith(k))
                assert numbers == pytest.approx(values, abs=error), (one, thing)
                if not values:
                    assert part.endswith(thing.name)
    assert len(kinds) == 7 and min(kinds.values()) > 50
    assert len(orders) > 50, "neither from left to right nor in any other order"


def test_lists_of_a_kind_have_all_of_it_from_left_to_right(views: list[tuple[Scene, View]]) -> None:
    numbers: Counter[int] = Counter()
    for scene, view in views:
        made = [one for one in listed(scene, view, np.random.default_rng(0)) if one.question.startswith("List")]
        assert len(made) == len({one.question for one in made}) <= 2
        for one in made:
            what = re.fullmatch("List the (.+) from left to right.", one.question)
            assert what and one.answer.endswith(f"no more {what[1]}.") and one.maps == ("segmentation",)
            color, shape = mentioned(one.question)
            found = [s for s in look(scene, view).seen if matches(s, color, shape)]
            names = re.findall(r"\d (\w+ \w+) \d+,", one.answer)
            assert names == [s.name for s in sorted(found, key=lambda s: s.u)] and all(s.counted for s in found)
            numbers[len(names)] += 1
    assert min(numbers[n] for n in range(3)) > 10 and max(numbers) > 3


def test_without_geometry_nothing_is_told_that_a_flat_picture_does_not_show(views: list[tuple[Scene, View]]) -> None:
    lists = set()
    for scene, view in views:
        for seed in range(3):
            rng = np.random.default_rng(seed)
            told = [caption(scene, view, rng, geometry=False)]
            told += [text for pair in grounded(scene, view, rng, geometry=False) for text in pair]
            for one in listed(scene, view, rng, geometry=False):
                told += [one.question, one.answer]
                lists.add(one.question.split()[0])
            assert not any(re.search(r"\d\.\d|away|tall|near|far from|plan", text) for text in told), told
    assert lists == {"Where", "What", "Which", "List"}


def flat_view(scene: Scene, boxes: dict[int, tuple[slice, slice]], visible: dict[int, float]) -> View:
    """A picture of rectangles, later ones in front."""
    labels = np.zeros((128, 128), np.uint8)
    depth = np.full((128, 128), 9.0, np.float32)
    for n, (label, where) in enumerate(boxes.items()):
        labels[where] = label
        depth[where] = 4 - n
    return View(np.zeros((128, 128, 3), np.uint8), depth, labels, visible)


def ball(id: int, color: str, x: float, y: float) -> Thing:
    return Thing(id, "ball", color, (0.5, 0.5, 0.5), (x, y, 0.25), 0.0, None, "plain")


def test_barely_visible_objects_are_neither_named_nor_counted() -> None:
    things = (ball(1, "red", 0.1, 4.5), ball(2, "blue", 0.0, 3.0), ball(3, "green", -1.0, 2.0))
    scene = Scene(0, sample_scene(0).room, Camera(1.4, 15, 55), things)
    where = {1: np.s_[50:80, 50:62], 2: np.s_[48:90, 54:94], 3: np.s_[80:120, 10:40]}
    view = flat_view(scene, where, {1: 0.13, 2: 1.0, 3: 1.0})
    for seed in range(60):
        for q in ask_all(scene, view, np.random.default_rng(seed)):
            assert q.answer == "no" or "red" not in q.text, q
            if q.task == "counting":
                assert not re.search("red|balls|many objects|the objects|of objects", q.text), q
    view = flat_view(scene, where, {1: 0.7, 2: 1.0, 3: 1.0})
    questions = [q for seed in range(20) for q in ask_all(scene, view, np.random.default_rng(seed))]
    hidden = [q for q in questions if q.task == "occlusion" and q.answer == "yes"]
    assert hidden and all(q.things == (1,) for q in hidden)
    told = worked_turns(scene, view, hidden[0], "interleaved")[-1].text
    assert "blue ball" in told and "green" not in told


def test_an_empty_picture_is_no_error() -> None:
    scene = sample_scene(0)
    view = flat_view(scene, {}, {})
    rng = np.random.default_rng(0)
    assert caption(scene, view, rng) == "an empty room."
    assert all(q.task == "existence" and q.answer == "no" for q in ask_all(scene, view, rng))
    assert all("column" in question for question, _ in grounded(scene, view, rng))
    assert listed(scene, view, rng) == []
