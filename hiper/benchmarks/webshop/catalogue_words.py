"""The words of the generated catalogue: few, and chosen so that the reward can tell them apart.

No attribute occurs in another's text or in what a product says beyond its attributes. An option's value either is one
of the reward's colours or holds none of them: otherwise no choice on the page could match it (see `reward`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One category: `types` maps what one product is called to its plural, which is also the query; `options` maps a
    name to all values that a product may offer."""

    category: str
    label: str
    types: Mapping[str, str]
    attributes: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]


LINES = (
    Line(
        "beauty",
        "Beauty & Care",
        {"shampoo": "shampoos", "lotion": "lotions", "soap": "soaps", "serum": "serums"},
        (
            "vegan",
            "gentle",
            "herbal",
            "foaming",
            "calming",
            "hydrating",
            "mineral",
            "soothing",
            "oil free",
            "long lasting",
        ),
        {"scent": ("vanilla", "jasmine", "citrus", "cedar", "honey"), "volume": ("mini", "regular", "jumbo")},
    ),
    Line(
        "electronics",
        "Electronics & Gadgets",
        {"speaker": "speakers", "charger": "chargers", "keyboard": "keyboards", "headset": "headsets"},
        (
            "wireless",
            "waterproof",
            "portable",
            "quiet",
            "compact",
            "magnetic",
            "backlit",
            "adjustable",
            "fast pairing",
            "low power",
        ),
        {"color": ("black", "white", "silver", "blue"), "version": ("basic", "deluxe", "studio")},
    ),
    Line(
        "fashion",
        "Clothing & Shoes",
        {"shirt": "shirts", "jacket": "jackets", "dress": "dresses", "hat": "hats"},
        (
            "cotton",
            "slim",
            "striped",
            "stretchy",
            "casual",
            "vintage",
            "breathable",
            "knitted",
            "quick dry",
            "machine washable",
        ),
        {"color": ("black", "navy", "purple", "yellow", "olive"), "size": ("small", "medium", "large")},
    ),
    Line(
        "garden",
        "Home & Garden",
        {"lamp": "lamps", "planter": "planters", "bench": "benches", "rug": "rugs"},
        (
            "rustic",
            "modern",
            "sturdy",
            "outdoor",
            "round",
            "stackable",
            "handwoven",
            "padded",
            "stain resistant",
            "easy assembly",
        ),
        {"color": ("white", "gray", "green", "brown"), "finish": ("matte", "glossy", "brushed")},
    ),
    Line(
        "grocery",
        "Grocery & Pantry",
        {"tea": "teas", "cookie": "cookies", "cracker": "crackers", "granola": "granolas"},
        (
            "organic",
            "kosher",
            "roasted",
            "spiced",
            "unsweetened",
            "crunchy",
            "wholesome",
            "smoky",
            "gluten free",
            "plant based",
        ),
        {"flavor": ("ginger", "cherry", "maple", "almond", "garlic"), "pack": ("single", "double", "bulk")},
    ),
)

BRANDS = (
    "Ardo",
    "Belmi",
    "Corva",
    "Dunley",
    "Elvo",
    "Fenna",
    "Grako",
    "Holmi",
    "Ister",
    "Jorvik",
    "Kelda",
    "Lumo",
    "Morva",
    "Nelko",
    "Orvy",
    "Pelham",
    "Quill",
    "Rilko",
    "Sorva",
    "Tavi",
    "Ulmo",
    "Verdo",
    "Wexa",
    "Zanni",
)

PRICES = (4.5, 6.0, 8.25, 9.99, 12.0, 15.5, 18.0, 21.75, 24.0, 29.5, 35.0, 42.0, 55.0, 68.0)  # dollars

INSTRUCTIONS = ("i need {}", "find me {}", "i am looking for {}", "please show me {}", "i want to buy {}")

USES = ("daily use", "the weekend", "a holiday", "the office", "your family", "a new home")

BULLETS = (
    "A good gift for any friend",
    "Comes in a plain paper box",
    "Backed by a one year warranty",
    "Ships from our own store",
    "Tested by our team",
    "Made in small batches",
)
