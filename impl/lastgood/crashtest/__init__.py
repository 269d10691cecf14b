"""What powercut drives: lastgood and the paper's protocol as subjects."""
