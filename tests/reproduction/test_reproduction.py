"""Everything that `cooper reproduce` does, in miniature: every stage and variant, stopped and resumed, two seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.helpers import flagged, tokenizer

from cooper.api import Cooper
from cooper.checkpoints.native import save_native
from cooper.commands.terminal import progress_bars
from cooper.inference.flow import FlowSettings
from cooper.model.presets import dummy
from cooper.model.unified import UnifiedModel
from cooper.reproduction import run as run_module
from cooper.reproduction import seed as seed_module
from cooper.reproduction.known import Known
from cooper.reproduction.report import text_of, write_report
from cooper.reproduction.results import SeedFigures, SeedResults, load_results
from cooper.reproduction.run import reproduce
from cooper.reproduction.variants import (
    ABLATIONS,
    CONTROLS,
    FULL,
    OPEN_CALLS,
    QUICK,
    VARIANTS,
    Plan,
    Variant,
    shortened,
    with_autoencoder,
)
from cooper.training import pipeline
from cooper.training.optimisation import Optimisation
from cooper.training.recipe import TINY, Scratch
from cooper.training.sharpness import relative_sharpness

pytest.importorskip("mujoco")
FAST = Optimisation(3, lr=1e-3, matrix_lr=1e-3, warmup=1)
MINIATURE = Plan(
    replace(
        TINY, scratch=Scratch(
            replace(dummy(), turn_tokens=24), autoencoder=FAST, decoder=FAST, vision=FAST, vision_batch=4,
        ),
        reinforced_on=replace(TINY.reinforced_on, scenes=2), balance=replace(TINY.balance, scenes=2),
        unified={
            k: replace(s, optimisation=FAST, rows=2, mix=replace(s.mix, tokens=300)) for k, s in TINY.unified.items()
        },
        reinforced={
            k: replace(
                s, optimisation=replace(FAST, steps=2, matrix_lr=None, scale_lr=0.05), questions=2, rollouts=2,
                turn_tokens=8, flow=FlowSettings(3),
            ) for k, s in TINY.reinforced.items()
        },
    ), ablations=ABLATIONS[:3:2], n_train=6, n_validation=6, n_test=6, n_maps=2, questions=3, size=64,
)  # fmt: skip


def run(folder: Path, seeds: list[int], plan: Plan = MINIATURE) -> Path:
    return reproduce(folder / "run", folder / "docs", plan, seeds, 1, lambda _: None, progress_bars)


class Stopped(Exception):
    pass


def test_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "flag_questions", flagged)
    asked: list[str] = []
    reported: list[SeedResults] = []
    evaluate = seed_module.evaluate_scenes

    def stopping(cooper, mode, *args, **more):  # type: ignore[no-untyped-def]
        asked.append(mode)
        if len(asked) in (4, 5 + len(VARIANTS + CONTROLS) - 4 + 2):  # asking PE, and asking the second ablation
            raise Stopped
        return evaluate(cooper, mode, *args, **more)

    asked_all = VARIANTS + CONTROLS + MINIATURE.ablations

    def last_alone(seeds, plan, out, command):  # type: ignore[no-untyped-def]
        """The plots of a dozen reports would take as long as the models."""
        reported.extend(seeds)
        return write_report(seeds, plan, out, command) if len(seeds[0].answers) == len(asked_all) else out

    monkeypatch.setattr(run_module, "write_report", last_alone)
    monkeypatch.setattr(seed_module, "evaluate_scenes", stopping)
    with pytest.raises(Stopped):
        run(tmp_path, [0])
    begun = text_of(Known(reported[-1:], MINIATURE, "cooper reproduce"))
    assert [name in begun for name in ("| base, longer |", "| AMG direct |", "| PE |")] == [True, False, False]
    assert "## Maps" not in begun and "## Reinforcement" not in begun and "calls.png" not in begun
    done = finished(tmp_path)
    trained = ("autoencoder", "decoder", "vision", "base", "direct", "perception", "answers")
    assert len([path for path in done if path.name == "log.jsonl"]) == len(trained)
    with pytest.raises(Stopped):
        run(tmp_path, [0])
    assert all(path.read_bytes() == kept for path, kept in done.items()), "nothing is done twice"
    done = finished(tmp_path)
    early = text_of(Known(reported[-1:], MINIATURE, "cooper reproduce"))
    report = run(tmp_path, [0]).read_text()
    assert all(path.read_bytes() == kept for path, kept in done.items())
    names = [v.name for v in asked_all]
    assert all(f"| {name} |" in report for name in names) and "COOPER - base, spatial tasks" in report
    assert all((f"| {v.name} |" in early) == (v not in MINIATURE.ablations[1:]) for v in asked_all)
    assert report.count("](results/") == 8 and "](results)" in report
    for target in ("scores", "controls", "sampled", "ablations", "calls", "rewards", "paper"):
        assert (tmp_path / f"docs/results/{target}.png").stat().st_size > 5000

    models = [Cooper.load(tmp_path / f"run/seed-0/{name}/model").model for name in ("reinforcement", "interleaved")]
    surer = {row["temperature"] for row in load_results(tmp_path / "docs/results")[0].answers["SFT only, as sure"]}
    assert surer == {f"{1 / relative_sharpness(*models):g}"}
    (seed,) = load_results(tmp_path / "docs/results")
    assert list(seed.answers) == names and len({len(rows) for rows in seed.answers.values()}) == 1
    reinforced = {v.stage for v in asked_all} & MINIATURE.recipe.reinforced.keys()
    assert seed.figures.logs.keys() == reinforced and len(reinforced) == 4
    other = replace(MINIATURE, n_test=5)
    with pytest.raises(ValueError, match="run was begun with other settings"):
        reproduce(tmp_path / "run", tmp_path / "elsewhere", other, [0], 1, print, progress_bars)
    with pytest.raises(ValueError, match="results/seed-0 has answers of base in a run with other settings"):
        reproduce(tmp_path / "another", tmp_path / "docs", other, [0], 1, print, progress_bars)
    assert not (tmp_path / "another").exists(), "told before anything is done"


def finished(folder: Path) -> dict[Path, bytes]:
    paths = [*(folder / "run").glob("s*/*/log.jsonl"), *(folder / "run").glob("seed-*/predictions/*.jsonl")]
    return {path: path.read_bytes() for path in paths}


def test_seeds_come_together_and_a_variant_may_be_added(tmp_path: Path) -> None:
    plan = replace(MINIATURE, variants=VARIANTS[:1], ablations=())
    run(tmp_path, [0], plan)
    shared = {path: path.read_bytes() for path in (tmp_path / "run/scratch").glob("*/log.jsonl")}
    assert len(shared) == 3
    (tmp_path / "run/seed-0/predictions").rename(tmp_path / "run/gone")  # as if it had run on another machine
    assert "seeds 0, 1" in run(tmp_path, [1], plan).read_text(), "the seed that was there before is in the report, too"
    assert all(path.read_bytes() == kept for path, kept in shared.items()), "what seeds share is made once"
    zero, one = ({row["seed"] for row in seed.answers["base"]} for seed in load_results(tmp_path / "docs/results"))
    assert zero and one and not zero & one
    weights = [load_file(tmp_path / f"run/seed-{k}/base/model/model.safetensors") for k in (0, 1)]
    same = {name for name, tensor in weights[0].items() if torch.equal(tensor, weights[1][name])}
    sees = {name for name in weights[0] if name.startswith(("autoencoder.", "vision."))}
    assert sees and sees <= same < weights[0].keys()

    done = finished(tmp_path)
    mine = Variant("mine", "base", "direct", "sampled", temperature=1.0)
    also = replace(plan, ablations=(mine,))
    assert "| mine, seed 1 |" in run(tmp_path, [1], also).read_text()
    assert finished(tmp_path).items() > done.items() and len(finished(tmp_path)) == len(done) + 1
    assert "| mine" not in run(tmp_path, [1], plan).read_text(), "it is of what was asked for"
    assert "mine" in load_results(tmp_path / "docs/results")[1].answers, "and the rest is kept"
    with pytest.raises(ValueError, match="seed-1 has answers of mine in a run with other settings"):
        run(tmp_path, [1], replace(plan, ablations=(replace(mine, temperature=0.5),)))
    base = replace(plan.recipe.unified["base"], optimisation=replace(FAST, steps=4))
    longer = replace(plan, recipe=replace(plan.recipe, unified={**plan.recipe.unified, "base": base}))
    with pytest.raises(ValueError, match=r"seed-1/base was begun with other settings, .* \(steps=3, and now steps=4\)"):
        reproduce(tmp_path / "run", tmp_path / "new", longer, [1], 1, print, progress_bars)


def test_a_variants_name_changes_with_what_it_hangs_on_and_nothing_else() -> None:
    recipe, names = FULL.recipe, FULL.names

    def changed(plan: Plan) -> set[str]:
        return {name for name, of in plan.names.items() if of != names[name]}

    sft = replace(recipe.unified["interleaved"], rows=7)
    found = changed(replace(FULL, recipe=replace(recipe, unified={**recipe.unified, "interleaved": sft})))
    # by its model the questions are flagged that all reinforcement learns from
    assert {"SFT only", "COOPER", "RE", "blank maps"} <= found
    assert not found & {"base", "base, longer", "AMG direct", "PE", "SFT on true maps"}
    fewer = replace(FULL, recipe=replace(recipe, reinforced_on=replace(recipe.reinforced_on, scenes=3)))
    reinforced = {v.name for v in VARIANTS + CONTROLS + ABLATIONS + OPEN_CALLS if v.stage in recipe.reinforced}
    assert changed(fewer) == {*reinforced, "SFT only, as sure"}
    assert changed(replace(FULL, n_test=5)) == names.keys()
    assert not changed(replace(FULL, ablations=(), variants=VARIANTS[:3]))


def test_with_the_autoencoder_of_another_model(tmp_path: Path) -> None:
    model = UnifiedModel(dummy()).initialise(5)
    save_native(model, tokenizer(), tmp_path / "other", torch.float32)
    plan = with_autoencoder(replace(MINIATURE, variants=VARIANTS[:1], ablations=()), str(tmp_path / "other"))
    report = run(tmp_path, [0], plan).read_text()
    assert f"the autoencoder of `{tmp_path / 'other'}`" in report and "from nothing on" not in report
    assert [path.name for path in (tmp_path / "run/scratch").iterdir()] == ["vision"]
    before, after = model.state_dict(), load_file(tmp_path / "run/seed-0/base/model/model.safetensors")
    same = {name for name in after if torch.equal(before[name].bfloat16(), after[name].bfloat16())}
    assert {name for name in after if name.startswith("autoencoder.")} <= same
    assert not any(name.startswith(("decoder.layers", "vision.")) and before[name].ndim == 2 for name in same)


def test_results_that_cannot_be_read(tmp_path: Path) -> None:
    figures = SeedFigures(0, {"base": "p"}, {}, {}, {"base": 0.5}, {"cpu": "one", "cores": 2})
    whole = SeedResults(figures, {"base": [{"seed": 3, "score": 1.0}]})
    whole.save(tmp_path / "seed-0")
    assert load_results(tmp_path) == [whole]
    replace(whole, answers={}).keep(tmp_path / "seed-0", {"base"})
    assert load_results(tmp_path) == [whole], "a run that has begun anew replaces nothing that it has not found itself"
    more = replace(whole, answers={**whole.answers, "PE": [{"seed": 4, "score": 0.0}]})
    more.keep(tmp_path / "seed-0", {"base", "PE"})
    assert load_results(tmp_path) == [more]
    again = replace(whole, answers={"base": [{"seed": 3, "score": 0.5}]})
    replace(more, figures=replace(figures, maps={"answers": {"depth": {}}}, hours={"answers": 2.0})).save(
        tmp_path / "seed-0"
    )
    again.keep(tmp_path / "seed-0", {"base"})
    (kept,) = load_results(tmp_path)
    assert kept.answers == {**more.answers, **again.answers}, "what another plan had asked, too, stays"
    assert kept.figures.maps == {"answers": {"depth": {}}} and kept.figures.hours == {"answers": 2.0, "base": 0.5}
    more.keep(tmp_path / "seed-0", {"base", "PE"})
    packed = tmp_path / "seed-0/predictions.jsonl.gz"
    for broken in (packed.read_bytes()[:-12], b"no gzip"):
        packed.write_bytes(broken)
        with pytest.raises(ValueError, match="seed-0 does not hold what came of a seed; move it away"):
            load_results(tmp_path)


def test_a_stage_without_steps_is_named() -> None:
    more = replace(TINY, unified={**TINY.unified, "heavy": TINY.unified["direct"]})
    steps = dict.fromkeys((*TINY.stages, "decoder"), 1)
    with pytest.raises(ValueError, match="each stage needs a number of steps, and nothing else does: heavy"):
        shortened(more, steps)
    assert shortened(more, {**steps, "heavy": 3}).unified["heavy"].optimisation.steps == 3


def test_plans_train_all_that_they_ask() -> None:
    for plan in (FULL, QUICK):
        for variant in plan.variants + plan.ablations:
            assert plan.recipe.path(variant.stage)[:2] == ("autoencoder", "vision")
            taken = with_autoencoder(plan, "tiny").recipe
            assert taken.path(variant.stage) == plan.recipe.path(variant.stage)[1:]
        assert plan.drawing == ("answers", "interleaved", "reinforcement")
        # of every variant that is not a control, the model has been trained to be asked in its way
        for variant in VARIANTS:
            supervised = [s for s in plan.recipe.path(variant.stage) if s in plan.recipe.unified]
            assert variant.mode in {mode for s in supervised for mode, _ in plan.recipe.unified[s].mix.modes}
        # none is told more than another
        assert len({(s.mix.answered, s.mix.asked) for s in plan.recipe.unified.values()}) == 1
    # few steps are not spent on warming up alone, and what was published is what the plan says now
    for plan in (FULL, QUICK):
        scratch = plan.recipe.scratch
        assert scratch is not None
        stages = (*plan.recipe.unified.values(), *plan.recipe.reinforced.values())
        for how in (scratch.autoencoder, scratch.decoder, scratch.vision, *(s.optimisation for s in stages)):
            assert max(map(how.rate, range(how.steps))) > 0.75
    # every variant is trained alike (docs/method.md, section 6)
    steps = {name: s.optimisation.steps for name, s in FULL.recipe.unified.items()}
    on_traces = ("interleaved", "text", "text_from_base", "view_dropout", "true_maps", "by_eye")
    assert len({(steps[name], FULL.recipe.unified[name].scenes) for name in on_traces}) == 1
    first = {name: FULL.recipe.unified[name].mix for name in ("perception", "answers")}
    answers = sum(steps[name] * (1 - mix.maps_alone - mix.read) for name, mix in first.items())
    assert answers == pytest.approx(steps["direct"]), "besides maps"
    assert len({(s.optimisation, s.questions, s.rollouts) for s in FULL.recipe.reinforced.values()}) == 1
