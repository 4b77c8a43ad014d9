"""The demo: a shop of real purchases played through a real SDK, and an account of what came of it.

``python -m deploy.demo`` against a running stack, or ``candor demo``. Who does what:

- ``data/`` the fixtures and where they come from (ORIGIN.md); ``make_data`` makes them
- ``shop`` the people and purchases, dates moved to end yesterday
- ``plan`` pure: the calls in their order and whom they belong to; ``ledger`` what must come of them
- ``player`` sends the plan through segment-analytics-python and posts the opt-outs
- ``observe`` measures from outside: topics, the SSE stream, /metrics and the APIs
- ``account`` pure: measurements and ledger to figures and checks; ``screen`` prints them
- ``run`` the order of it all
"""
