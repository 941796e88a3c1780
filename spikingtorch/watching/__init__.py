"""What a network does: records, counts while it trains, and what it costs."""
