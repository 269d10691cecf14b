"""The steps of the protocol, their order and its guarantees. `plan.py` is all of the protocol."""
