"""A recipe's stages, one after the other, each from the checkpoint of the one before, in one folder."""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from tokenizers import Tokenizer

from cooper.api import Cooper
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.native import reading_tokenizer, save_native, write_tokenizer
from cooper.data.mixture import Mixture
from cooper.evaluation.judge import Judge
from cooper.evaluation.predictions import fingerprint
from cooper.files import new_file
from cooper.hardware import fast_dtype
from cooper.lora import add_adapters, merge_adapters, save_adapters
from cooper.modalities import MapCodes
from cooper.model.autoencoder import Autoencoder
from cooper.model.config import ModelConfig
from cooper.model.unified import UnifiedModel, part_of
from cooper.scenes.chosen import choose_questions
from cooper.scenes.shards import open_shards
from cooper.scenes.targets import SceneImages
from cooper.scenes.tokenizer import train_tokenizer
from cooper.scenes.world import SPLITS, split_of
from cooper.sequence import Sequencer
from cooper.training.asked import about_scenes
from cooper.training.autoencoder import AutoencoderStage, depth_error, normalised
from cooper.training.drawn import DrawnMaps
from cooper.training.flags import flag_questions, flagged_questions, task_weights
from cooper.training.latents import Latents
from cooper.training.loop import STATE, Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share, run_in, wait
from cooper.training.recipe import SCRATCH_STAGES, TINY, Measured, Recipe, Scratch, StageOfModel, check_beginning
from cooper.training.reinforcement import Questions, Reinforcement, ReinforcementStage
from cooper.training.rewards import RewardFunction
from cooper.training.rows import SceneRows
from cooper.training.settings import noted
from cooper.training.sharpness import learned_sharpness
from cooper.training.unified import StageSettings, UnifiedStage
from cooper.training.vision import VisionStage, VisionWithHeads, settle


@dataclass(frozen=True)
class Workspace:
    """Where a training run keeps its things."""

    run: Path
    train: Path
    """Shards to train on."""
    validation: Path
    """Shards of other seeds, for contact sheets and figures on the way."""
    start: str | None = None
    """The model to begin with, as `Cooper.load` takes it, instead of with nothing."""
    scratch: Path | None = None
    """The folder of the stages that make a model to begin with, if other runs have them, too; None: `run`."""

    def stage(self, name: str) -> Path:
        shared = self.scratch is not None and name in SCRATCH_STAGES
        return (self.scratch if shared else self.run) / name  # type: ignore[operator]

    def model(self, name: str) -> Path:
        """The model's folder as it is after a stage of the whole model; `Cooper.load` takes it."""
        return self.stage(name) / "model"


def train(
    space: Workspace, recipe: Recipe = TINY, last: str = "reinforcement", processes: int = 1, quiet: bool = False
) -> Path:
    """A stage and all that lead to it, from nothing or from the model that `space` begins with. What is finished is not
    trained again, and what was interrupted goes on where it was. Of the processes no more are used than find something
    to do in every step.

    Returns the stage's folder. Raises ValueError if there is no stage of that name, nothing to begin with, or if the
    run has begun with something else, or on other scenes; and if scenes to train on are of another split.
    """
    check_beginning(recipe, last, space.start)
    for seed in open_shards(space.train).seeds[[0, -1]]:  # they are in order
        if seed not in SPLITS["train"]:
            raise ValueError(f"{space.train} holds the {split_of(seed)} scene {seed}; train on others")
    run_in(min(processes, recipe.together), space.run, _stages, space, recipe, last, quiet=quiet)
    return space.stage(last)


def _stages(space: Workspace, recipe: Recipe, last: str, quiet: bool) -> None:
    path = recipe.path(last)
    begun = None if space.start is None else Cooper.load(space.start)
    note_once(space.run / "start.txt", fingerprint(begun.model) if begun else "nothing", _tokenizer(space).exists())
    if begun is not None:
        tokenizer = begun.sequencer.tokenizer
        once(lambda: write_tokenizer(tokenizer, _tokenizer(space)))
        model = begun.model.requires_grad_(True)
        model.config = replace(model.config, codes=MapCodes())  # the maps of scenes, whatever it has drawn before
    else:
        assert recipe.scratch is not None
        taken = recipe.scratch.autoencoder_of
        autoencoder = Cooper.load(taken).model.autoencoder if taken else train_autoencoder(space, recipe.scratch, quiet)
        if last == "autoencoder":
            return
        model = around(autoencoder, recipe.scratch)
        train_vision(model, space, recipe.scratch, quiet)
        model = begun_again(model, recipe.seed)
    for name in (one for one in path if one not in SCRATCH_STAGES):
        settings = recipe.stage(name)
        if isinstance(settings, StageSettings):
            flags = flag(space, recipe, recipe.balance, path, quiet) if settings.balanced else None
            train_stage(name, model, space, settings, flags, quiet)
        else:
            questions = flag(space, recipe, recipe.reinforced_on, path, quiet)
            train_reinforcement(name, model, space, settings, questions, quiet)
        _keep(model, space, name)


def _keep(model: UnifiedModel, space: Workspace, name: str) -> None:
    """Write the model as it is after a stage, unless that is done; more steps than before make another one. In fp32:
    what reinforcement changes is often less than bf16 can show, and what it began with is compared with it."""
    tokenizer, out = tokenizer_of(space, model.config), space.model(name)
    made, trained = out / "model.safetensors", space.stage(name) / STATE

    def keep() -> None:
        if not made.exists() or made.stat().st_mtime_ns < trained.stat().st_mtime_ns:
            save_native(model, tokenizer, out)

    once(keep)


def train_autoencoder(space: Workspace, scratch: Scratch, quiet: bool = False) -> Autoencoder:
    """Train (or go on training, or just load) the autoencoder; its config then holds its scale and shift."""
    images, seed = SceneImages(space.train), scratch.seed
    of = {"scenes": images.shards.fingerprint}
    for name, optimisation in (("autoencoder", scratch.autoencoder), ("decoder", scratch.decoder)):
        claim(space.stage(name), optimisation, scratch.config.autoencoder, seed, of=of)
    torch.manual_seed(seed)
    model = Autoencoder(scratch.config.autoencoder).initialise().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stage = AutoencoderStage(images, scratch.autoencoder, batch_size=18, seed=100 * seed)
    Trainer(model, stage, scratch.autoencoder, space.stage("autoencoder")).run(quiet)
    normalised(model, images)
    polish = AutoencoderStage(
        images, scratch.decoder, batch_size=24, whole_from=0.7, chroma=2.0, seed=100 * seed + 1, decoder_only=True
    )
    trained = Trainer(model, polish, scratch.decoder, space.stage("decoder")).run(quiet)
    model.requires_grad_(False)
    if trained and not quiet:
        error = depth_error(model, SceneImages(space.validation))
        told = f"autoencoder: AbsRel of depth after encoding and decoding {error:.4f} (validation)"
        print(told, file=sys.stderr)
    return model


def train_vision(model: UnifiedModel, space: Workspace, scratch: Scratch, quiet: bool = False) -> None:
    """Teach the model's vision transformer to see, in place."""
    torch.manual_seed(scratch.seed)
    pictures, held_out = SceneImages(space.train), SceneImages(space.validation)
    claim(
        space.stage("vision"), scratch.vision, scratch.config.vision, scratch.vision_batch, scratch.geometry,
        scratch.seed, of={"scenes": pictures.shards.fingerprint},
    )  # fmt: skip
    stage = VisionStage(pictures, held_out, scratch.vision_batch, 100 * scratch.seed, scratch.geometry)
    Trainer(VisionWithHeads(model), stage, scratch.vision, space.stage("vision"), dtype=fast_dtype()).run(quiet)
    settle(model, stage.images)


def tokenizer_of(space: Workspace, config: ModelConfig) -> Tokenizer:
    """The run's tokenizer: that of the model it begins with, or made at first use."""
    path = _tokenizer(space)

    def make() -> None:
        if not path.exists():
            shards = SceneImages(space.train).shards
            write_tokenizer(train_tokenizer(shards, config.decoder.vocabulary, config.modalities), path)

    once(make)
    with reading_tokenizer(path):
        return Tokenizer.from_file(str(path))


def _tokenizer(space: Workspace) -> Path:
    return space.run / "tokenizer.json"


def train_stage(
    name: str, model: UnifiedModel, space: Workspace, settings: StageSettings, flags: Path | None = None,
    quiet: bool = False,
) -> None:  # fmt: skip
    """One supervised stage on the unified model, in place. `flags`: questions by whose flags it is balanced."""
    claim_on_scenes(name, space, settings)
    images, held_out = SceneImages(space.train), SceneImages(space.validation)
    sequencer = Sequencer(tokenizer_of(space, model.config), model.config)
    latents = Latents(images, space.train, model.autoencoder, sequencer)
    for kind in ("picture", *(model.config.modalities if settings.mix.draws_maps else ())):
        latents.make(kind, quiet=quiet)
    drawn = None
    if settings.drawn:
        drawn = DrawnMaps(images, settings.scenes or len(images), space.run, model, sequencer)
        for kind in model.config.modalities:
            drawn.make(kind, quiet=quiet)
    rows = SceneRows(
        images, latents, sequencer, settings.mix, model.config.time_shift, drawn, settings.scenes,
        task_weights(flags) if flags else None,
    )  # fmt: skip
    # those are looked at alone, which takes no latents
    unseen = Latents(held_out, space.validation, model.autoencoder, sequencer)
    stage = UnifiedStage(name, rows, SceneRows(held_out, unseen, sequencer, settings.mix), settings)
    with adapted(model, settings, space.stage(name)):
        trainer = Trainer(
            model, stage, settings.optimisation, space.stage(name), dtype=fast_dtype(),
            sheet_every=settings.sheet_every,
        )  # fmt: skip
        trainer.run(quiet)


def flag(
    space: Workspace, recipe: Recipe, wanted: Measured, path: Sequence[str] = (), quiet: bool = False
) -> Path:
    """The run's file of questions flagged by a stage's model, made at first use; the stage is trained first, unless it
    is on the `path`."""
    if wanted.by not in path:
        _stages(space, recipe, wanted.by, quiet)
    file = space.run / f"flagged-by-{wanted.by}.jsonl"

    def make() -> None:
        shards = SceneImages(space.train).shards
        scenes = [shards[i] for i in range(len(shards))[-wanted.scenes :]]
        cooper = Cooper.load(space.model(wanted.by))
        with Progress(console=Console(stderr=True), disable=quiet) as progress:
            bar = progress.add_task("flagging questions", total=None)
            asked = choose_questions(scenes, 3)
            flag_questions(
                cooper, about_scenes(scenes, asked), len(asked), file, wanted.flagging,
                on_progress=lambda _, done, total: progress.update(bar, completed=done, total=total),
            )  # fmt: skip

    once(make)
    return file


def train_reinforcement(
    name: str, model: UnifiedModel, space: Workspace, settings: Reinforcement, flags: Path, quiet: bool = False
) -> None:
    """One reinforcement stage on flagged questions, in place."""
    claim_on_scenes(name, space, settings)
    images = SceneImages(space.train)
    sequencer = Sequencer(tokenizer_of(space, model.config), model.config)
    questions = Mixture([(flagged_questions(flags, images), 1.0)], settings.seed)
    with adapted(model, settings, space.stage(name)):
        reinforce(model, questions, sequencer, settings, name, space.stage(name), quiet=quiet)


def reinforce(
    model: UnifiedModel, questions: Questions, sequencer: Sequencer, settings: Reinforcement, name: str, folder: Path,
    judge: Judge | None = None, quiet: bool = False, more: Mapping[str, RewardFunction] | None = None,
) -> None:  # fmt: skip
    """The stage itself, on draws of questions. `more` rewards are as `ReinforcementStage` has them."""
    copied = settings.objective.kl and settings.lora is None
    reference = copy.deepcopy(model).requires_grad_(False) if copied else None
    stage = ReinforcementStage(questions, sequencer, settings, name, judge, reference, more)
    # in fp32: what is learned from must be as likely as when it was sampled
    Trainer(model, stage, settings.optimisation, folder, sheet_every=10, workers=0).run(quiet)


def claim_on_scenes(name: str, space: Workspace, settings: StageOfModel) -> None:
    """`claim`, for a stage on the run's scenes. More steps of the stage before it make another model to go on from,
    which is named by what is stored of it: another computer may round what is in memory otherwise."""
    before = space.model(settings.after)
    later = {"start model": find(str(before)).fingerprint} if settings.after and before.exists() else {}
    claim(space.stage(name), settings, of={"scenes": open_shards(space.train).fingerprint}, later=later)


def claim(
    folder: Path, settings: StageOfModel | Optimisation, *more: object, of: Mapping[str, object],
    later: Mapping[str, object] | None = None,
) -> None:  # fmt: skip
    """Note in a stage's folder what it is trained with, but for the number of steps, which may grow, and of those that
    warm up. What it is made `of`, by name, may have been replaced where it lies; runs that were begun before this was
    noted, or before what came `later` was, go on with what is there now.

    Raises ValueError if something has been trained there with other settings: going on would mix the two, or just tell
    what is there.
    """
    how = settings if isinstance(settings, Optimisation) else settings.optimisation
    how = replace(how, steps=0, warmup=0)  # of few steps fewer are for warming up
    trained = any((folder / name).exists() for name in (STATE, "model"))
    all_but_steps = how if isinstance(settings, Optimisation) else replace(settings, optimisation=how)
    asked_for = noted((all_but_steps, *more))
    with_data = "\n".join([asked_for, *(f"{name}: {which}" for name, which in of.items())])
    whole = "\n".join([with_data, *(f"{name}: {which}" for name, which in (later or {}).items())])
    note_once(folder / "settings.txt", whole, trained, formerly=(asked_for, with_data))


def note_once(path: Path, what: str, begun: bool, formerly: Collection[str] = ()) -> None:
    """Note something in a file. Raises ValueError if it holds something else, neither that nor one of what was noted
    `formerly`, and what that was about has `begun`."""

    def note() -> None:
        held = path.read_text(encoding="utf-8", errors="replace").strip() if begun and path.exists() else what
        if held not in (what, *formerly):
            was = "with other settings, data or start model ({}, and now {})".format(*_first_difference(held, what))
            if path.name == "start.txt":  # which holds names of weights that nobody knows
                was = "from another model"
            raise ValueError(f"{path.parent} was begun {was}; choose another --run, or delete it")
        with new_file(path) as file:
            file.write_text(f"{what}\n", encoding="utf-8")

    once(note)


def _first_difference(*notes: str) -> list[str]:
    """What each of these notes says, in short, of the first thing that they do not say alike."""
    alike = os.path.commonprefix(notes)
    named = [found.start() for found in re.finditer(r"\b\w+=|^[a-z ]+: ", alike, re.M)]
    rests = [note[named[-1] if named else 0 :] for note in notes]
    return [re.split(r", (?=\w+=)|\n", rest)[0][:60] or "nothing" for rest in rests]


@contextmanager
def adapted(model: UnifiedModel, settings: StageSettings | Reinforcement, folder: Path) -> Iterator[None]:
    """Gives the model what a stage trains besides its weights. Then that is part of them, and adapters are kept in the
    folder of the stage, by themselves, too."""
    if settings.lora is None:
        with nullcontext() if settings.optimisation.scale_lr is None else learned_sharpness(model):
            yield
        return
    add_adapters(model, settings.lora, settings.seed)
    yield
    adapters = settings.lora
    once(lambda: save_adapters(model, adapters, folder / "adapter"))
    merge_adapters(model)


def once(work: Callable[[], object]) -> None:
    """Do something in the first of several processes only, on all cores; the others wait for it."""
    if Share.mine().rank == 0:
        threads = torch.get_num_threads()
        torch.set_num_threads(os.cpu_count() or 1)
        try:
            work()
        finally:
            torch.set_num_threads(threads)
    wait()


def around(autoencoder: Autoencoder, scratch: Scratch) -> UnifiedModel:
    """A fresh model with a trained autoencoder."""
    model = UnifiedModel(replace(scratch.config, autoencoder=autoencoder.config)).initialise(scratch.seed)
    model.autoencoder.load_state_dict(autoencoder.state_dict())
    return model


def begun_again(model: UnifiedModel, seed: int) -> UnifiedModel:
    """A fresh model of that seed, with another's autoencoder and vision transformer."""
    fresh = UnifiedModel(model.config).initialise(seed)
    kept = ("autoencoder", "vision", "connector")
    fresh.load_state_dict({k: t for k, t in model.state_dict().items() if part_of(k) in kept}, strict=False)
    return fresh
