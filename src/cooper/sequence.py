"""From a Trace to the pieces that `layout` lays out: text is tokenised, images are resized and encoded.

Training, inference and replayed rollouts all go through `Sequencer`, so a map is looked at in the same way everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from cooper.images import fit_size, prepare
from cooper.layout import Clean, Noised, Piece, Seen, Words, tokens_of
from cooper.model.autoencoder import patchify
from cooper.model.config import ModelConfig
from cooper.model.unified import UnifiedModel
from cooper.policy import Policy
from cooper.prompts import Prompts
from cooper.trace import Drawing, Picture, Text, Trace

#: a uint8 image (H, W, 3) to its drawing tokens (tokens, latent_dim), such as `Sequencer.encoder(model)`
Encode = Callable[[np.ndarray], Tensor]
#: drawing tokens and their grid to a target for the flow loss
Target = Callable[[Tensor, tuple[int, int]], Noised]


@dataclass(frozen=True)
class Sequencer:
    """Turns traces into pieces.

    Pictures enter through both branches: autoencoder (clean), then vision transformer. Maps do too, or through the
    vision transformer alone, as the model's config says.
    """

    tokenizer: Tokenizer
    config: ModelConfig
    prompts: Prompts = Prompts()

    def __post_init__(self) -> None:
        # the layout sets the frame's tokens; in a text, which may be anybody's, they are letters
        self.tokenizer.encode_special_tokens = True
        # whole, too: transformers keeps in the file how somebody once cut and padded texts
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def opening(self, *tags: str) -> tuple[int, ...] | None:
        """The tokens that open these tags, if each is one."""
        ids = [self.ids(f"<{tag}>") for tag in tags]
        return tuple(one[0] for one in ids) if all(len(one) == 1 for one in ids) else None

    def callable_in(self, policy: Policy) -> tuple[str, ...]:
        """The maps that this model may call for under a policy: others it does not draw, and may have no tags for."""
        return tuple(name for name in policy.calls if name in self.config.modalities)

    def text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def pieces(
        self, trace: Trace, encode: Encode, target: Target | None = None,
        shared: dict[int, list[Piece]] | None = None,
    ) -> list[Piece]:  # fmt: skip
        """All pieces of a trace. Drawings that are targets need `target`; without it they are an error.

        Traces of one row are given one `shared` dict: a picture (the same array) then has the same pieces in all of
        them, and is held once when they are merged.
        """
        out: list[Piece] = []
        for segment in trace.segments:
            if isinstance(segment, Text):
                ids = self.ids(segment.text) if segment.ids is None else segment.ids
                out.append(Words(ids, loss=segment.role == "model", end=not segment.cut))
            elif isinstance(segment, Picture):
                known = {} if shared is None else shared
                if id(segment.image) not in known:
                    known[id(segment.image)] = self.picture(segment.image, encode)
                out += known[id(segment.image)]
            else:
                out += self.drawing(segment, encode, target)
        return out

    def tokens(self, trace: Trace) -> int:
        """How many tokens a trace is read as, without the frames of its pieces."""
        return sum(tokens_of(piece, self.config) for piece in self.pieces(trace, lambda _: torch.zeros(0)))

    def picture(self, image: np.ndarray, encode: Encode) -> list[Piece]:
        return [Clean(encode(image), self.latent_grid(image)), Seen(self.for_vision(image))]

    def drawing(self, drawing: Drawing, encode: Encode, target: Target | None) -> list[Piece]:
        grid = self.latent_grid(drawing.image)
        shown_as_latent = drawing.shown and self.config.maps_through == "both"
        out: list[Piece] = []
        if drawing.target or shown_as_latent:
            if drawing.latent is None:
                tokens = encode(drawing.image)
            else:
                tokens = patchify(torch.from_numpy(drawing.latent), self.config.latent_patch)
            if drawing.target:
                if target is None:
                    raise ValueError("a trace with a target needs to be told its noise")
                out.append(target(tokens, grid))
            if shown_as_latent:
                out.append(Clean(tokens, grid))
        if drawing.shown:
            out.append(Seen(self.for_vision(drawing.image)))
        return out

    def encoder(self, model: UnifiedModel) -> Encode:
        """Encoding with a model's own autoencoder."""

        def encode(image: np.ndarray) -> Tensor:
            with torch.no_grad():
                return model.encode(self.for_latent(image)[None].to(model.device))[0].cpu()

        return encode

    def for_latent(self, image: np.ndarray) -> Tensor:
        """An image as the autoencoder takes it: float (3, H, W) in [-1, 1]."""
        return torch.from_numpy(prepare(image, self._latent_size(image)))

    def for_vision(self, image: np.ndarray) -> Tensor:
        """An image as the vision transformer takes it: float (3, H, W) in [-1, 1]."""
        (height, width), sizes = image.shape[:2], self.config.vision_sizes
        size = fit_size(height, width, self.config.vision.patch, sizes.longest, sizes.shortest)
        return torch.from_numpy(prepare(image, size))

    def latent_grid(self, image: np.ndarray) -> tuple[int, int]:
        """Rows and columns of drawing tokens of an image."""
        height, width = self._latent_size(image)
        return height // self.config.latent_stride, width // self.config.latent_stride

    def drawn_shape(self, image: np.ndarray) -> tuple[int, int, int]:
        """The shape of a map that is drawn of an image."""
        return (*self._latent_size(image), 3)

    def _latent_size(self, image: np.ndarray) -> tuple[int, int]:
        (height, width), sizes = image.shape[:2], self.config.latent_sizes
        return fit_size(height, width, self.config.latent_stride, sizes.longest, sizes.shortest)
