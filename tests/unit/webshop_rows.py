"""Rows of the raw WebShop files, and products made of them."""

from __future__ import annotations

from typing import Any

from hiper.benchmarks.webshop.products import Product, parse_product


def raw_product(asin: str = "B000000001", **changes: Any) -> dict[str, Any]:
    """An entry of `items_shuffle.json` with two options, some of its fields changed."""
    row = {
        "asin": asin,
        "name": "Acme Walking Shoes",
        "full_description": "For long walks.",
        "small_description": ["Rubber Sole", "washable"],
        "pricing": "$25.50",
        "category": "fashion",
        "query": " Walking Shoes ",
        "product_category": "Clothing \u203a Shoes \u203a Walking",
        "customization_options": {
            "Size": [{"value": " 8 ", "image": None}, {"value": "9/10"}],
            "Color": [{"value": "Navy"}, {"value": "coal"}],
            "Fit": None,
        },
        "images": ["a.jpg"],
    }
    return {**row, **changes}


def raw_instruction(**changes: Any) -> dict[str, Any]:
    """An entry of `items_ins_v2.json`."""
    wanted = ["rubber sole", "arch support"]
    return {"attributes": wanted, "instruction": "Find me shoes", "instruction_attributes": wanted, **changes}


def product(asin: str = "B000000001", entry: dict[str, Any] | None = None, **changes: Any) -> Product:
    """The parsed product with those changes; `entry` stands in the instruction file, by default `raw_instruction()`."""
    return parse_product(raw_product(asin, **changes), {asin: entry or raw_instruction()}, "test")


def options(**values: list[str]) -> dict[str, list[dict[str, str]]]:
    """`customization_options` with these values."""
    return {name: [{"value": value} for value in listed] for name, listed in values.items()}
