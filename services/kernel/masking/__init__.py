"""What must not be stored, found and taken out. Pure, for all that comes from outside.

``cleaner`` is the whole search of JSON and texts, ``look`` the cheap look at bytes before it, which decides
whether that is needed. ``cards`` and ``issuers`` know card data, ``secrets`` and ``names`` members by their
names, ``queries`` the parameters of URLs, ``rules`` the file that lists those.
"""
