"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: called with what is being done, how much of it is done, and how much there is
OnProgress: TypeAlias = Callable[[str, int, int], None]
