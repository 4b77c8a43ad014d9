"""Profiles: who a person is across identifiers, and what is known of them."""
