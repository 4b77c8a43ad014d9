"""The tracking plan on the command line, against events that a running system has seen."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.outside import Outside, eventually, track


async def test_a_plan_is_guessed_from_what_was_seen_and_checked_against_it(
    candor: Outside, tmp_path: Path
) -> None:
    user = candor.name("planned")
    orders = [track(user, "Order Completed", f"{user}-{n}") | {"properties": {"total": n}} for n in range(3)]
    orders[0]["properties"]["coupon"] = "X"
    await candor.accepted(*orders)

    async def applied() -> bool:
        return await candor.count(f"user_id:{user}", "Order Completed") == 3

    await eventually(applied)
    file = tmp_path / "plan.yaml"
    file.write_text(await candor.command("plan", "guess", "--source", "demo-web"))
    plan = yaml.safe_load(file.read_text())
    schema = plan["sources"]["demo-web"]["events"]["Order Completed"]["schema"]
    assert schema["required"] == ["total"]
    assert schema["properties"] == {"total": {"type": "integer"}, "coupon": {"type": "string"}}
    assert "3 events seen, 0 depart from it" in await candor.command(
        "plan", "check", str(file), "--seen", "1000"
    )
    schema["required"].append("coupon")
    file.write_text(yaml.safe_dump(plan))
    found = await candor.command("plan", "check", str(file), "--seen", "1000", code=1)
    assert "3 events seen, 2 depart from it" in found
    assert "demo-web  Order Completed  $.properties: coupon is missing  (report)" in found
    file.write_text("version: 1\nsources: {web: {events: 3}}")
    assert "plan.yaml: sources.web: Expected `object`" in await candor.command(
        "plan", "check", str(file), code=1
    )
