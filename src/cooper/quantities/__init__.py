"""Reading a number, and its unit of length, out of an answer in words."""

from cooper.quantities.normal import FORMATTING, narrow, plain_text, tidy
from cooper.quantities.numbers import (
    parse_number,
    square_metres,
    to_metres,
    unit_after,
    whole_count,
    whole_quantity,
    without_areas,
)
from cooper.quantities.stated import area_given, quantity
from cooper.quantities.writing import METRES

__all__ = [
    "FORMATTING", "METRES", "area_given", "narrow", "parse_number", "plain_text", "quantity", "square_metres", "tidy",
    "to_metres", "unit_after", "whole_count", "whole_quantity", "without_areas",
]  # fmt: skip
