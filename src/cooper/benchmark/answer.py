"""`cooper bench answer`: the time of one scripted answer, and of eight rollouts of one question, by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

from cooper.benchmark.machine import gflop, matmul_peak, randomised
from cooper.benchmark.script import PARTS, RunStats, Script, play, random_model
from cooper.hardware import describe, threads
from cooper.inference.flow import FlowSettings
from cooper.model.config import PRECISIONS, Precision
from cooper.model.precision import put_in

#: 30 time points, guidance 4.0 / 2.0 in 0.4..1: how the published model draws in rollouts
ROLLOUT_FLOW = FlowSettings(30, 3.0, 4.0, 2.0, (0.4, 1.0), "global")
GROUPS = {"one": 1, "eight": 8}


def bench_answer(
    preset: str = "bench",
    thread_counts: Sequence[int] = (1, 2),
    dtypes: Sequence[Precision] = PRECISIONS,
    repeats: int = 2,
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Medians of `repeats` runs, for every dtype and number of threads, and the best of them.

    A first run counts the operations, and warms up.

    "peak_share" is the share of the GFLOP/s that large matrix products of that dtype reach on that many threads.
    """
    if repeats < 1 or not thread_counts or not dtypes:
        raise ValueError("a benchmark needs at least one repeat, one number of threads and one dtype")
    runs = []
    for dtype in dtypes:
        model = random_model(preset)
        randomised(model)
        put_in(model, dtype)
        script = Script(ROLLOUT_FLOW, model.config.latent_sizes.longest)
        for count in thread_counts:
            with threads(count):
                peak = matmul_peak(dtype)
                run: dict[str, Any] = {"dtype": dtype, "threads": count, "peak_gflops": round(peak, 1)}
                for name, rows in GROUPS.items():
                    on_progress(f"{dtype}, {count} threads, {name}")
                    run[name] = _measure(partial(play, model, script, range(rows)), repeats, peak)
                runs.append(run)
    best = {
        dtype: {name: _best([r for r in runs if r["dtype"] == dtype], name) for name in GROUPS} for dtype in dtypes
    }
    fastest = {name: _best(runs, name) for name in GROUPS}
    return {
        "machine": describe(), "preset": preset, "repeats": repeats, "best": {**best, "fastest": fastest}, "runs": runs,
    }  # fmt: skip


def _measure(run: Callable[[], RunStats], repeats: int, peak: float) -> dict[str, Any]:
    work = gflop(run)
    runs = [run() for _ in range(repeats)]
    seconds = median(stats.total for stats in runs)
    return {
        "seconds": round(seconds, 4),
        "parts": {part: round(median(stats.seconds[part] for stats in runs), 4) for part in PARTS},
        "gflop": round(work, 2), "peak_share": round(work / seconds / peak, 4),
        "cache_bytes": runs[0].cache_bytes,
    }  # fmt: skip


def _best(runs: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    run = min(runs, key=lambda r: r[name]["seconds"])
    return {"seconds": run[name]["seconds"], "dtype": run["dtype"], "threads": run["threads"]}
