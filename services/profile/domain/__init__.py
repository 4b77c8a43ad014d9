"""Pure decisions about identity and golden records.

observation: what one event says · facet: what is known through one identifier · forest: which facets are one
profile · golden: the fold of a profile's facets.
"""
