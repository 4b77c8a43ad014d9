"""The 20 segments of the workload: counts, windows, traits, nested conditions; entered and never left."""

from __future__ import annotations

from typing import Any

SEGMENTS: tuple[dict[str, Any], ...] = tuple(
    {"key": key, "name": key.replace("-", " ").capitalize(), "purpose": purpose, "rule": rule}
    for key, purpose, rule in (
        ("first-order", "marketing", {"event": "Order Completed", "count": {"op": "gte", "value": 1}}),
        ("three-orders", "marketing", {"event": "Order Completed", "count": {"op": "gte", "value": 3}}),
        ("ten-orders", "marketing", {"event": "Order Completed", "count": {"op": "gte", "value": 10}}),
        ("five-orders", "marketing", {"event": "Order Completed", "count": {"op": "gte", "value": 5}}),
        ("two-orders-lately", "marketing",
         {"event": "Order Completed", "count": {"op": "gte", "value": 2}, "within": {"days": 7}}),
        ("viewed-3", "personalization", {"event": "Product Viewed", "count": {"op": "gte", "value": 3}}),
        ("viewed-10", "personalization", {"event": "Product Viewed", "count": {"op": "gte", "value": 10}}),
        ("viewed-50", "personalization", {"event": "Product Viewed", "count": {"op": "gte", "value": 50}}),
        ("viewed-lately", "personalization",
         {"event": "Product Viewed", "count": {"op": "gte", "value": 5}, "within": {"days": 30}}),
        ("searched-3", "analytics", {"event": "Products Searched", "count": {"op": "gte", "value": 3}}),
        ("searched-20", "analytics", {"event": "Products Searched", "count": {"op": "gte", "value": 20}}),
        ("carts-3", "marketing",
         {"event": "Product Added", "count": {"op": "gte", "value": 3}, "within": {"days": 7}}),
        ("carts-no-order", "marketing", {"all": [
            {"event": "Product Added", "count": {"op": "gte", "value": 5}},
            {"not": {"event": "Subscription Cancelled", "count": {"op": "gte", "value": 1}}}]}),
        ("pages-10", "analytics", {"event": "$page", "count": {"op": "gte", "value": 10}}),
        ("pages-100", "analytics", {"event": "$page", "count": {"op": "gte", "value": 100}}),
        ("berliners", "marketing", {"trait": "address.city", "op": "eq", "value": "Berlin"}),
        ("gold-plan", "marketing", {"trait": "plan", "op": "eq", "value": "gold"}),
        ("vip-berlin", "marketing", {"all": [
            {"trait": "address.city", "op": "in", "value": ["Berlin", "Hamburg"]},
            {"trait": "plan", "op": "in", "value": ["basic", "gold"]},
            {"event": "Order Completed", "count": {"op": "gte", "value": 2}, "within": {"days": 30}}]}),
        ("grown-up-buyers", "marketing", {"all": [
            {"trait": "age", "op": "gte", "value": 40},
            {"event": "Product Added", "count": {"op": "gte", "value": 2}}]}),
        ("engaged", "analytics", {"any": [
            {"event": "$page", "count": {"op": "gte", "value": 30}},
            {"all": [{"trait": "email", "op": "exists"},
                     {"event": "Products Searched", "count": {"op": "gte", "value": 5}}]}]}),
    )
)  # fmt: skip
