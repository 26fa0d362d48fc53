"""A model class for lmms-eval (0.7 or newer), which finds it by itself where both are installed:

    lmms-eval --model cooper --model_args model=tiny,mode=interleaved --tasks ...

Options are those of `Answerer`. Tasks that need likelihoods, films or several pictures cannot be asked.
"""

from __future__ import annotations

from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest

from cooper.integrations.answering import Answerer, known_options

#: what the entry point of the group "lmms_eval.models" names
MANIFEST = ModelManifest("cooper", simple_class_path="cooper.integrations.lmms_eval.CooperModel")


class CooperModel(lmms):
    """Asks a COOPER, `batch_size` questions at a time."""

    def __init__(self, batch_size: int | str = 8, **options: Any):
        super().__init__()
        self.batch = int(batch_size)
        self.answerer = Answerer(**known_options(options))

    def generate_until(self, requests: list[Any]) -> list[str]:
        """One text for each request: (prompt, settings, what makes its pictures, number, task, split)."""
        answers: list[str] = []
        for first in range(0, len(requests), self.batch):
            asked = []
            for request in requests[first : first + self.batch]:
                prompt, _, pictures, number, task, split = request.args
                asked.append((list(pictures(self.task_dict[task][split][number])), prompt))
            answers += self.answerer.answers(asked)
        return answers

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        raise NotImplementedError("questions of several rounds cannot be asked")

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError("answers are written, not chosen by their likelihood; take a task that generates")
