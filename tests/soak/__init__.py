"""A million mixed exchanges with an id of their own in everything: nothing of one may show up in another.

`python -m tests.soak --exchanges 1000000 --engine native`; a shorter run is `tests/gateway/test_soak.py`.
"""
