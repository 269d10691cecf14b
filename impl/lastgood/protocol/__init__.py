"""Which steps, in which order, with which guarantee; `plan.py` is the whole protocol."""
