"""The fused scan: any elementwise step as one compiled loop over time, forward and backward. README.md shows the way."""
