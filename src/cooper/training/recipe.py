"""The recipe of the tiny model: stages one after the other, each from the checkpoint of the one before."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from rich import print as show
from safetensors.torch import load_file
from tokenizers import Tokenizer

from cooper.checkpoints.native import save_native
from cooper.hardware import fast_dtype
from cooper.model.autoencoder import Autoencoder
from cooper.model.presets import tiny
from cooper.model.unified import UnifiedModel
from cooper.scenes.targets import SceneImages
from cooper.scenes.tokenizer import train_tokenizer
from cooper.sequence import Sequencer
from cooper.training.autoencoder import AutoencoderStage, depth_error, normalised
from cooper.training.latents import Latents
from cooper.training.loop import Optimisation, Share, Trainer
from cooper.training.rows import Mix, SceneRows
from cooper.training.unified import StageSettings, UnifiedStage
from cooper.training.vision import Seer, VisionStage, settle

#: Each stage's data and optimisation, for two cores and about three hours.
AUTOENCODER = Optimisation(steps=3000, lr=3e-3, betas=(0.9, 0.99), ema=0.995)
#: more training of the decoder alone; latents stay as they are
DECODER = Optimisation(steps=2700, lr=2e-3, betas=(0.9, 0.99), ema=0.998)
#: the analogue of SigLIP
VISION = Optimisation(steps=1600, lr=2e-3, matrix_lr=3e-3, decay=0.6, ema=0.99)
STAGES: dict[str, StageSettings] = {
    # the analogue of BAGEL: numbers looked up by names, and drawing pictures
    "base": StageSettings(
        Mix(tokens=540, told=0.05, caption=0.2, grounded=4, listed=9, reconstruct=0.25),
        Optimisation(steps=1500, lr=1e-3, matrix_lr=2e-3, decay=0.0, ema=0.995),
        seed=10, trains_vision=False,
    ),
    # AMG: maps on demand; the paper's has no text loss, ours goes on with the lists, so that nothing is forgotten
    "perception": StageSettings(
        Mix(tokens=600, told=0.03, caption=0.2, grounded=4, listed=4, maps=1.0, noises=2),
        Optimisation(steps=2000, lr=1e-3, matrix_lr=2e-3, decay=0.0, ema=0.99),
        seed=21, trains_vision=False,
    ),
    # worked traces under every policy, and maps still
    "interleaved": StageSettings(
        Mix(
            tokens=680, modes=(("interleaved", 0.55), ("direct", 0.41), ("text", 0.02), ("perception", 0.02)),
            told=0.03, caption=0.2, grounded=4, listed=4, maps=1.0, noises=2, traced_targets=0.3,
        ),
        Optimisation(steps=1900, lr=8e-4, matrix_lr=1.6e-3, decay=0.97, ema=0.995),
        seed=22, trains_vision=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Workspace:
    """Where a training run keeps its things."""

    run: Path
    train: Path
    """Shards to train on."""
    validation: Path
    """Shards of other seeds, for contact sheets and figures on the way."""

    def stage(self, name: str) -> Path:
        return self.run / name


def train_autoencoder(space: Workspace, optimisation: Optimisation = AUTOENCODER, quiet: bool = False) -> Autoencoder:
    """Train (or go on training, or just load) the autoencoder; its config then holds its scale and shift."""
    images = SceneImages(space.train)
    torch.manual_seed(0)
    model = Autoencoder(tiny().autoencoder).initialise().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    Trainer(model, AutoencoderStage(images, optimisation, batch_size=9), optimisation, space.stage("autoencoder")).run(
        quiet
    )
    normalised(model, images)
    polish = AutoencoderStage(images, DECODER, batch_size=12, whole_from=0.7, chroma=2.0, seed=1, decoder_only=True)
    Trainer(model, polish, DECODER, space.stage("decoder")).run(quiet)
    model.requires_grad_(False)
    if not quiet:
        error = depth_error(model, SceneImages(space.validation))
        show(f"autoencoder: AbsRel of depth after encoding and decoding {error:.4f} (100 validation scenes)")
    return model


def train_vision(
    model: UnifiedModel, space: Workspace, optimisation: Optimisation = VISION, quiet: bool = False
) -> UnifiedModel:
    """Teach the model's vision transformer to see, in place."""
    torch.manual_seed(0)
    stage = VisionStage(SceneImages(space.train), SceneImages(space.validation), batch_size=128)
    Trainer(Seer(model), stage, optimisation, space.stage("vision"), dtype=fast_dtype()).run(quiet)
    settle(model, stage.images)
    return model


def tokenizer_of(space: Workspace) -> Tokenizer:
    """The run's tokenizer, made at first use."""
    path = space.run / "tokenizer.json"
    config = tiny()

    def make() -> None:
        if not path.exists():
            shards = SceneImages(space.train).shards
            train_tokenizer(shards, config.decoder.vocabulary, config.modalities).save(str(path))

    once(make)
    return Tokenizer.from_file(str(path))


def train_stage(
    name: str, model: UnifiedModel, space: Workspace, latents: Callable[[SceneImages, Path], Latents],
    settings: StageSettings, quiet: bool = False,
) -> UnifiedModel:  # fmt: skip
    """One stage on the unified model, in place."""
    sequencer = Sequencer(tokenizer_of(space), model.config)
    sets = []
    for folder in (space.train, space.validation):
        images = SceneImages(folder)
        made = latents(images, folder)
        for kind in ("picture", *(model.config.modalities if settings.mix.draws_maps else ())):
            once(partial(made.make, kind, quiet=quiet))
        sets.append(SceneRows(images, made, sequencer, settings.mix, model.config.time_shift))
    stage = UnifiedStage(name, sets[0], sets[1], settings)
    trainer = Trainer(
        model, stage, settings.optimisation, space.stage(name), dtype=fast_dtype(),
        sheet_every=settings.sheet_every,
    )  # fmt: skip
    trainer.run(quiet)
    return model


def stage_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of a stage's last checkpoint."""
    tensors = load_file(folder / "state.safetensors")
    return {k.removeprefix("average/"): t for k, t in tensors.items() if k.startswith("average/")}


def train_tiny(
    space: Workspace, stages: dict[str, StageSettings] = STAGES, processes: int = 1, quiet: bool = False
) -> Path:
    """Every stage, from nothing. Interrupted, it goes on where it was. Returns the model's folder, `run/tiny`."""
    space.run.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        return _all_stages(space, stages, quiet)
    meeting = space.run / f".meeting-{uuid.uuid4().hex}"  # where the processes find each other
    try:
        torch.multiprocessing.spawn(_process, (processes, str(meeting), space, stages, quiet), processes)
    finally:
        meeting.unlink(missing_ok=True)
    return space.run / "tiny"


def _process(
    rank: int, world: int, meeting: str, space: Workspace, stages: dict[str, StageSettings], quiet: bool
) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    try:
        _all_stages(space, stages, quiet or rank > 0)
    finally:
        dist.destroy_process_group()


def _all_stages(space: Workspace, stages: dict[str, StageSettings], quiet: bool) -> Path:
    autoencoder = train_autoencoder(space, quiet=quiet)
    model = train_vision(model_around(autoencoder), space, quiet=quiet)
    patch = model.config.latent_patch
    for name, settings in stages.items():
        train_stage(name, model, space, lambda i, folder: Latents(i, folder, autoencoder, patch), settings, quiet)
    out, tokenizer = space.run / "tiny", tokenizer_of(space)
    once(lambda: save_native(model, tokenizer, out, torch.bfloat16))
    return out


def once(work: Callable[[], None]) -> None:
    """Do something in the first of several processes only; the others wait for it."""
    if Share.mine().rank == 0:
        work()
    if dist.is_initialized():
        dist.barrier()


def model_around(autoencoder: Autoencoder, seed: int = 0) -> UnifiedModel:
    """A fresh tiny model with a trained autoencoder."""
    model = UnifiedModel(replace(tiny(), autoencoder=autoencoder.config)).initialise(seed)
    model.autoencoder.load_state_dict(autoencoder.state_dict())
    return model
