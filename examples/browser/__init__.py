"""A page on which an exported network reads the digits that its visitor draws: ``make browser``."""
