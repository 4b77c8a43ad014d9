"""Textbook consent: opt-outs in a Table; events of people who opted out are dropped."""

from __future__ import annotations

import faust

from tests.bench.textbook.models import PREFIX, Decision, Event, make_app

app = make_app("consent")
decisions_topic = app.topic(PREFIX + "decisions", key_type=str, value_type=Decision)
events_topic = app.topic(PREFIX + "events", key_type=str, value_type=Event)
permitted_topic = app.topic(PREFIX + "permitted", key_type=str, value_type=Event)
opted_out = app.Table("opted_out", default=bool)


@app.agent(decisions_topic)
async def decide(decisions: faust.StreamT[Decision]) -> None:
    async for decision in decisions:
        opted_out[decision.person] = decision.denied


@app.agent(events_topic)
async def gate(events: faust.StreamT[Event]) -> None:
    async for event in events:
        if not opted_out[event.person]:
            await permitted_topic.send(key=event.person, value=event)
