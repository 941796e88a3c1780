"""The fused scan: any elementwise step as one compiled loop over time. README.md shows the way."""
