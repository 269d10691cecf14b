"""The contracts that CrossHair confirms, and whose mutants it refutes: `make contracts`.

A contract is a function whose leading asserts are its domain and whose later ones are what it
promises.  CrossHair runs it on symbolic values.  README.md has the table of what it said.
"""
