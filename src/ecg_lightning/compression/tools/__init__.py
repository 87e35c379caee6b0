"""Tools that several stages use: quantizers, heads, masks, shapes and schedules."""
