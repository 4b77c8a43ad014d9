"""Textbook segment: judges every segment after every change of a profile and publishes what changed."""

from __future__ import annotations

import time

import faust

from tests.bench.rules import compile_rule
from tests.bench.segments import SEGMENTS
from tests.bench.textbook.models import PREFIX, Profile, Transition, make_app
from tests.bench.workload import SECONDS_A_DAY

app = make_app("segment")
profiles_topic = app.topic(PREFIX + "profiles", key_type=str, value_type=Profile)
transitions_topic = app.topic(PREFIX + "transitions", key_type=str, value_type=Transition)
memberships = app.Table("memberships", default=list)
segments = {each["key"]: compile_rule(each["rule"], int(time.time() // SECONDS_A_DAY)) for each in SEGMENTS}


@app.agent(profiles_topic)
async def judge(profiles: faust.StreamT[Profile]) -> None:
    async for profile in profiles:
        facts = {"traits": profile.traits, "activity": profile.activity}
        now = [key for key, matches in segments.items() if matches(facts)]
        before = memberships[profile.person]
        if now == before:
            continue
        memberships[profile.person] = now
        for key in set(now) ^ set(before):
            await transitions_topic.send(
                key=profile.person, value=Transition(segment=key, person=profile.person, member=key in now)
            )
