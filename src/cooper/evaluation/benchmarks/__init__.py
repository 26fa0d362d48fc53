"""Benchmarks, a file each. A new one is a new file, its name below, and a command (CONTRIBUTING.md)."""

from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.benchmarks.cv_bench import CV_BENCH
from cooper.evaluation.benchmarks.mm_vet import MM_VET
from cooper.evaluation.benchmarks.mmbench import MMBENCH
from cooper.evaluation.benchmarks.mmvp import MMVP
from cooper.evaluation.benchmarks.q_spatial import Q_SPATIAL
from cooper.evaluation.benchmarks.sibench import SIBENCH
from cooper.evaluation.benchmarks.three_dsr import THREE_DSR
from cooper.evaluation.benchmarks.tsv import TSV
from cooper.evaluation.benchmarks.vsi import VSI

BENCHMARKS = {b.name: b for b in (SIBENCH, Q_SPATIAL, MMVP, MMBENCH, MM_VET, VSI, CV_BENCH, THREE_DSR, TSV)}

__all__ = ["BENCHMARKS", "Benchmark", "Reading"]
