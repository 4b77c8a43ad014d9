"""Textbook ingest: a web view of Faust that sends each event of a batch to a topic."""

from __future__ import annotations

from faust.web import Request, Response, View

from tests.bench.textbook.models import PREFIX, Event, make_app

app = make_app("ingest")
events_topic = app.topic(PREFIX + "events", key_type=str, value_type=Event)


@app.page("/v1/batch")
class Batch(View):
    async def post(self, request: Request) -> Response:
        for item in (await request.json())["batch"]:
            event = Event.from_data(item)
            await events_topic.send(key=event.person, value=event)
        return self.json({"success": True})
