"""Time and its accounts: `Histogram`, a high-dynamic-range histogram."""
