"""From a picture of any size to what the image branches of the model take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cooper.images import MODEL_PIXELS, fit_size, prepare


@pytest.mark.parametrize(
    ("picture", "branch", "expected"),
    [
        ((512, 512), (16, 1024, 512), (512, 512)),
        ((600, 900), (16, 1024, 512), (608, 896)),  # 37.5 and 56.25 patches
        ((480, 640), (16, 1024, 512), (512, 688)),  # short side up to 512, long side 682.7
        ((3000, 4000), (16, 1024, 512), (768, 1024)),
        ((4000, 3000), (16, 1024, 512), (1024, 768)),
        ((100, 100), (16, 1024, 512), (512, 512)),
        ((1000, 4000), (16, 1024, 512), (256, 1024)),  # both cannot hold: the longest does
        ((1, 10_000), (16, 1024, 512), (16, 1024)),
        ((480, 640), (14, 518, 224), (392, 518)),  # 388.5 -> 27.75 patches
        ((128, 128), (14, 518, 224), (224, 224)),
        ((128, 128), (16, 128, 128), (128, 128)),
        ((480, 640), (16, 128, 128), (96, 128)),
        ((1, 1), (8, 128, 64), (64, 64)),
    ],
)
def test_fit_size(picture: tuple[int, int], branch: tuple[int, int, int], expected: tuple[int, int]) -> None:
    assert fit_size(*picture, *branch) == expected


def test_fit_size_with_few_pixels() -> None:
    assert fit_size(400, 400, 10, 400, 100, 10_000) == (100, 100)
    assert fit_size(400, 400, 10, 400, 200, 10_000) == (100, 100)
    assert fit_size(200, 400, 10, 400, 100, 10_000) == (70, 140)  # 70.7 x 141.4
    assert fit_size(1, 9000, 10, 400, 10, 1000) == (10, 100)


@given(
    height=st.integers(1, 20_000), width=st.integers(1, 20_000), stride=st.integers(1, 32),
    patches=st.tuples(st.integers(0, 64), st.integers(1, 64)), pixels=st.integers(1024, MODEL_PIXELS),
)  # fmt: skip
def test_fit_size_keeps_its_word(
    height: int, width: int, stride: int, patches: tuple[int, int], pixels: int
) -> None:
    shortest, longest = sorted(patches)
    longest, shortest = max(longest, 1) * stride, shortest * stride
    size = fit_size(height, width, stride, longest, shortest, pixels)
    assert size[0] % stride == size[1] % stride == 0 and min(size) >= stride
    assert max(size) <= longest and size[0] * size[1] <= pixels
    assert (size[0] - size[1]) * (height - width) >= 0
    assert fit_size(width, height, stride, longest, shortest, pixels) == size[::-1]
    aspect = max(height, width) / min(height, width)
    if shortest * aspect <= longest and shortest**2 * aspect <= pixels / 4:
        assert min(size) >= shortest


@pytest.mark.parametrize("bad", [(0, 9, 16, 64, 32), (9, 9, 16, 60, 32), (9, 9, 16, 64, 30), (9, 9, 16, 32, 64),
                                 (9, 9, 0, 64, 32), (9, 9, 16, 64, 32, 100)])  # fmt: skip
def test_fit_size_refuses(bad: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        fit_size(*bad)


def test_prepare() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    same = prepare(rgb, (24, 40))
    assert same.dtype == np.float32 and same.shape == (3, 24, 40) and same.flags.c_contiguous
    np.testing.assert_allclose(same, rgb.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert same.min() >= -1 and same.max() <= 1

    smaller = prepare(rgb, (12, 20))
    expected = np.asarray(Image.fromarray(rgb).resize((20, 12), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(np.rint((smaller + 1) * 127.5), expected.transpose(2, 0, 1))
