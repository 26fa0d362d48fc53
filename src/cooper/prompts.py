"""The words that a model was trained to be addressed with: system prompts, orders of maps, what follows a map.

Published weights know the exact strings of their release. They are not part of this library: a user reads them out of
their own copy of the release (`cooper prompts import`), into a `prompts.json` beside the weights.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cooper.files import new_file
from cooper.modalities import Modality, modality
from cooper.policy import Policy, policy

FILE = "prompts.json"


class WordingWarning(UserWarning):
    """A model is addressed in words that it was not trained with."""


@dataclass(frozen=True)
class Prompts:
    """What differs from the wording of the tiny model; nothing, by default."""

    system: Mapping[str, str] = field(default_factory=dict)
    """System prompts, by mode."""
    reflection: str | None = None
    """The text after each map."""
    orders: Mapping[str, str] = field(default_factory=dict)
    """What stands in the tag that calls for a map, by modality."""

    def policy(self, mode: str | Policy) -> Policy:
        """A mode with this wording; a policy of one's own as it is. Raises ValueError, naming the known ones, if there
        is no mode, or no map that it calls for, of that name. Warns (`WordingWarning`) if there are words, but none for
        this mode."""
        ours = policy(mode)
        if isinstance(mode, Policy):
            for name in mode.calls:
                modality(name)
            return mode
        if self.system and mode not in self.system and ours.system is not None:
            warnings.warn(
                f"the mode {mode} has no words in {FILE}: the tiny model's are used. If the release has any, give "
                f"their name to cooper prompts import --{mode} NAME",
                WordingWarning, stacklevel=3,
            )  # fmt: skip
        reflection = ours.reflection if self.reflection is None else self.reflection
        return replace(ours, system=self.system.get(mode, ours.system), reflection=reflection)

    def call(self, kind: Modality) -> str:
        """The text that calls for a map."""
        return f"<{kind.tag}>{self.orders.get(kind.name, kind.instruction)}</{kind.tag}>"

    @property
    def fingerprint(self) -> str:
        """A short name of these words: the same for the same words."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=4).hexdigest()

    def save(self, path: Path) -> None:
        with new_file(path) as file:
            file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_prompts(path: str | Path) -> Prompts:
    """What `Prompts.save` wrote. Raises ValueError if the file is something else."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        made = Prompts(**data)
        if not (isinstance(made.system, dict) and isinstance(made.orders, dict)):
            raise TypeError("system and orders are texts by name")
        texts = [*made.system.values(), *made.orders.values()]
        texts += [] if made.reflection is None else [made.reflection]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a prompt is a text")
        for text in texts:
            text.encode()  # what JSON can escape, such as half of a letter, need not be text
        if made.reflection == "":
            raise ValueError("the reflection is empty")
        for mode in made.system:
            policy(mode)
        for name in made.orders:
            modality(name)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; make it with cooper prompts import") from None
    except (ValueError, TypeError, AttributeError, IsADirectoryError, RecursionError) as error:
        raise ValueError(f"{path} does not hold prompts (system, reflection, orders): {error}") from None
    return made
