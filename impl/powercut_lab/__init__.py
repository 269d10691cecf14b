"""Experiments on checkpoint protocols: crashes, damage, latency, and a save seen layer by layer.

They repeat the source paper (arXiv 2511.18323) with its defects repaired, and go on from there.
`powercut experiment` runs them; this package knows the library, the model and the rig, and none of
them knows it.
"""
