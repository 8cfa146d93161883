"""Private updates, the protocol alone: masks, shares, words, projections, scores. No network, no file, no clock.

Masked sums by Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (CCS), on the sparse
graph of Bell et al. 2020, "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead" (CCS). The scores are ours: an inner
product is linear, so that of a masked update less those of its masks is exact, and no update is opened for it.
"""
