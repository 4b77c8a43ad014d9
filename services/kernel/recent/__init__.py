"""What became of the events that just came in: seen from outside, in the topics and the stages' commits.

Nothing is added to the way of an event, and nothing runs but while somebody looks. ``following`` sees,
``book`` puts together, ``naming`` says what may be shown.
"""
