"""What all tests share. They read nothing but this repository and never the network."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

# Before anything imports torch: sleeping instead of spinning threads, and as many of them on every machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Shells have it ignored in what they start in the background, and tests interrupt themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The shapes that the model's functions promise are checked when a test calls them (`pytest_runtest_setup`).
SHAPED = ("attention", "autoencoder", "norm", "packed", "quantised", "strips", "transformer", "unified", "vision")
jaxtyping.install_import_hook([f"cooper.model.{name}" for name in SHAPED], "beartype.beartype")

# No deadline: the first example pays for imports and caches. The same examples every time, so that a run of the tests
# tells of the change it tests; `pytest --hypothesis-profile explore` looks for new ones.
settings.register_profile("cooper", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=3000)
settings.load_profile("cooper")


#: Files whose few tests take longest. They come first, so that no worker is left alone with one of them at the end.
LONGEST = ("test_reproduction.py", "test_pipeline.py", "test_cli.py", "test_tuning.py", "test_reinforcement.py")


#: The tests, of all in this folder, in which shapes are checked: those of the model and of what calls it. In others a
#: quarter of the time would go into that, and nothing else be checked.
CHECKING = ("model", "inference", "test_layout.py", "test_replay.py")
_checked: set[tuple[Path, str]] = set()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Turns checks of shapes on for the first case of each test that has them."""
    first = item.path.relative_to(Path(__file__).parent).parts[0]
    test = (item.path, getattr(item, "originalname", item.name))
    jaxtyping.config.update("jaxtyping_disable", first not in CHECKING or test in _checked)
    _checked.add(test)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: garbage is not looked for there again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small untrained model."""
    import torch
    from tests.helpers import random_model, tokenizer

    from cooper.checkpoints.native import save_native

    folder = tmp_path_factory.mktemp("models") / "dummy"
    save_native(random_model(), tokenizer(), folder, torch.float32)
    return str(folder)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of reference numbers: `COOPER_GOLDEN`, else tests/golden/a."""
    return Path(os.environ.get("COOPER_GOLDEN") or Path(__file__).parent / "golden" / "a")
