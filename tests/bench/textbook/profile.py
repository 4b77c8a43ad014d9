"""Textbook profile: traits and counts of each person in a Table, published after every event."""

from __future__ import annotations

from datetime import date

import faust

from tests.bench.textbook.models import PREFIX, Event, Profile, make_app

app = make_app("profile")
permitted_topic = app.topic(PREFIX + "permitted", key_type=str, value_type=Event)
profiles_topic = app.topic(PREFIX + "profiles", key_type=str, value_type=Profile)
EPOCH = date(1970, 1, 1).toordinal()
profiles = app.Table("profiles", key_type=str, value_type=Profile)


@app.agent(permitted_topic)
async def build(events: faust.StreamT[Event]) -> None:
    async for event in events:
        person = event.person
        profile = profiles.get(person) or Profile(person=person, traits={}, activity={})
        if event.type == "identify":
            profile.traits.update(event.traits or {})
        else:
            count(profile, event)
        profiles[person] = profile
        await profiles_topic.send(key=person, value=profile)


def count(profile: Profile, event: Event) -> None:
    """Count the event under its name, by day, and add up its total."""
    name = event.event or f"${event.type}"
    seen = profile.activity.setdefault(name, {"count": 0, "sum": {}, "days": {}, "last": ""})
    seen["count"] += 1
    day = str(days_since_epoch(event.timestamp))
    seen["days"][day] = seen["days"].get(day, 0) + 1
    seen["last"] = max(seen["last"], event.timestamp)
    total = (event.properties or {}).get("total")
    if total is not None:
        seen["sum"]["total"] = seen["sum"].get("total", 0) + total


def days_since_epoch(timestamp: str) -> int:
    return date.fromisoformat(timestamp[:10]).toordinal() - EPOCH
