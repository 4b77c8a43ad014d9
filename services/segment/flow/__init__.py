"""A golden record's path: judge it, publish its transitions, stream them."""
