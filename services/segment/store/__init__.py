"""Postgres of the segment service: writing judgements, reading for the API and the stream, definitions."""
