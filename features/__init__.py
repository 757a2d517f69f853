"""What Holdfast promises, in sentences that run.

Folders follow the nouns of the domain. `steps` has one module a noun and the
world they share; `test_features` runs everything. `README.md` tells which
situation of the reference stands where. May import anything.
"""
