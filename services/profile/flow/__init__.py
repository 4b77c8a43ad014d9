"""The paths of records: applying events, taking in decisions, publishing what changed."""
