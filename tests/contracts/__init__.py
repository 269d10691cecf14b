"""The contracts that CrossHair searches for counterexamples: `make contracts`.

A contract is a function whose leading asserts are preconditions and whose later ones are what it
promises.  CrossHair runs it on symbolic values.  "Not confirmed" means that no counterexample was
found within the budget, and is reported in exactly these words: it is not a proof.
"""
