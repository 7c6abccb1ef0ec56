"""How rankings' seconds are counted: transformers export by these bounds, guardrails and plans read by them."""

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Upper bounds of the histogram `sightline_arm_seconds`; above the last one a 99th percentile cannot be told."""
