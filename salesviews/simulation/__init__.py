"""Simulated sales: a shop, its market, what goes wrong with messages, and producing them."""
