"""Training rows of examples that readers give (`cooper.data`): a picture and its maps, a question, a whole trace."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cooper.data.examples import Example, MapExample, QuestionExample
from cooper.data.mixture import Unbroken
from cooper.data.tables import BadRow
from cooper.layout import Node, Noised, Piece, merge
from cooper.modalities import modality
from cooper.model.autoencoder import Autoencoder, patchify
from cooper.sequence import Sequencer
from cooper.trace import Drawing, Picture, Segment, Text, Trace
from cooper.training.noise import noised
from cooper.training.pointing import Pointer

#: Texts of an example may have so many times the tokens that the model writes in a trace: they are read as well, and
#: another tokenizer may have made fewer of what another model wrote.
_ROOM = 4


@dataclass(frozen=True)
class Shaping:
    """How examples become rows."""

    noises: int = 2
    """Noise times at which each map is drawn; the picture they share is most of the cost."""
    spread: float = 1.0
    """Deviation of the noise times' logit; published models have 1."""
    flip: float = 0.5
    """Share of the pictures with maps that are mirrored, left to right (docs/method.md, section 3)."""
    mode: str = "interleaved"
    """The mode whose system prompt traces begin with, unless they have their own."""


class ExampleRows:
    """Row k is draw k of a mixture; an example is a row.

    Rows are made in processes of their own, so all of this can be sent to one: of the model, its autoencoder alone.
    """

    def __init__(
        self, examples: Unbroken[Example], autoencoder: Autoencoder, sequencer: Sequencer,
        shaping: Shaping = Shaping(),
    ):  # fmt: skip
        self.examples, self.autoencoder, self.sequencer, self.shaping = examples, autoencoder, sequencer, shaping
        self.mode = "direct"  # a question is followed by its answer

    def encode(self, image: np.ndarray) -> Tensor:
        """Drawing tokens (tokens, latent_dim) of an image, uint8 (H, W, 3)."""
        with torch.no_grad():
            z = self.autoencoder.encode(self.sequencer.for_latent(image)[None])
        return patchify(z, self.sequencer.config.latent_patch)[0].float()

    def row(self, k: int, seed: int, rng: np.random.Generator, pointing: bool) -> tuple[list[Node], list[Pointer]]:
        """Nobody has said where the things are that words name, so no word learns to point."""
        return self.nodes(self.examples.example(k, self.check), rng), []

    def check(self, example: Example) -> None:
        """Raises `BadRow` if the example's texts are far longer than any that the model could write.

        A row is one example, whatever it takes; random numbers are drawn only for those that pass.
        """
        if isinstance(example, MapExample):
            return
        if isinstance(example, QuestionExample):
            texts = [Text(example.question), Text(example.answer)]
        else:
            texts = [s for s in self._own(example.trace).segments if isinstance(s, Text)]
        tokens = sum(len(self.sequencer.ids(text.text) if text.ids is None else text.ids) for text in texts)
        most = _ROOM * self.sequencer.config.trace_tokens
        if tokens > most:
            raise BadRow(example.name, f"its texts have {tokens} tokens, and may have {most}; shorten them")

    def nodes(self, example: Example, rng: np.random.Generator) -> list[Node]:
        """One example, laid out."""
        shared: dict[int, list[Piece]] = {}
        encoded: dict[int, Tensor] = {}
        valid: np.ndarray | None = None
        if isinstance(example, MapExample):
            picture, target, valid = example.picture, example.target, example.valid
            if rng.random() < self.shaping.flip:
                picture, target, valid = (np.ascontiguousarray(a[:, ::-1]) for a in (picture, target, valid))
            call = Text(self.sequencer.prompts.call(modality(example.modality)))
            drawing = Drawing(example.modality, target, target=True, shown=False)
            traces = [Trace((Picture(picture), call, drawing))] * self.shaping.noises
        elif isinstance(example, QuestionExample):
            answer = Text(f"<answer>\\boxed{{{example.answer}}}</answer>", "model")
            traces = [Trace((Picture(example.picture), Text(example.question), answer))]
        else:
            traces = [self._addressed(self._own(example.trace))]

        def encode(image: np.ndarray) -> Tensor:  # a target is drawn at several noise times
            if id(image) not in encoded:
                encoded[id(image)] = self.encode(image)
            return encoded[id(image)]

        def target_of(tokens: Tensor, grid: tuple[int, int]) -> Noised:
            weight = None if valid is None else known(valid, grid)
            return noised(tokens, grid, rng, self.shaping.spread, self.sequencer.config.time_shift, weight)

        return merge([self.sequencer.pieces(trace, encode, target_of, shared) for trace in traces])

    def _own(self, trace: Trace) -> Trace:
        """A trace in this model's tokens and latents: another model may have written it. Ids are kept where they say
        the same here, because a text that is tokenised again need not give what the model wrote; maps are encoded again
        from their images."""

        def own(segment: Segment) -> Segment:
            if isinstance(segment, Drawing):
                return replace(segment, latent=None)
            if isinstance(segment, Text) and segment.ids is not None and not self._says(segment.ids, segment.text):
                return replace(segment, ids=None)
            return segment

        return replace(trace, segments=tuple(map(own, trace.segments)))

    def _says(self, ids: tuple[int, ...], text: str) -> bool:
        # ids that the tokenizer does not know are nothing in its text
        known = all(0 <= i < self.sequencer.config.decoder.vocabulary for i in ids)
        return known and self.sequencer.text(list(ids)) == text

    def _addressed(self, trace: Trace) -> Trace:
        system = self.sequencer.prompts.policy(self.shaping.mode).system
        if system is None or any(isinstance(s, Text) and s.role == "system" for s in trace.segments):
            return trace
        start: tuple[Segment, ...] = (Text(system, "system"),)
        return Trace(start + trace.segments, trace.meta)

    def pictures(self, n: int) -> list[list[np.ndarray]]:
        """Of each of the first so many draws that show one, a picture, and the map that should be drawn of it."""
        found: list[list[np.ndarray]] = []
        for k in range(8 * n):
            example = self.examples.example(k, self.check)
            if isinstance(example, MapExample):
                found.append([example.picture, example.target])
            if len(found) == n:
                break
        return found

    def orders(self, n: int) -> list[tuple[np.ndarray, list[tuple[str, np.ndarray]]]]:
        """None: own data have no pictures drawn changed."""
        return []

    def asked(self, n: int) -> list[tuple[np.ndarray, str, str]]:
        """Of the first draws, those that are questions: they are learned from, too."""
        drawn = [self.examples.example(k, self.check) for k in range(2 * n)]
        return [(e.picture, e.question, e.answer) for e in drawn if isinstance(e, QuestionExample)][:n]


def known(valid: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """(tokens,): the share of each drawing token's pixels whose truth is known, which is what it counts in the loss."""
    rows, columns = grid
    shares = Image.fromarray(valid.astype(np.float32)).resize((columns, rows), Image.Resampling.BOX)
    return torch.from_numpy(np.array(shares, dtype=np.float32)).flatten()
